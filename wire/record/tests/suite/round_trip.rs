//! What is written is read back: by the builder, by the second encoder, in both readers.

use corelith_record::{BinName, Content, ContentWriter, Key, Update, Value};
use proptest::prelude::*;

use crate::samples::{Model, bin_values, builder_of, encode_by_the_book, keys, models, values};

fn decode(content: &Content<'_>) -> Model {
    let bins = content.bins().iter();
    bins.map(|bin| {
        (
            bin.name().as_str().to_owned(),
            bin.value().decode().to_value(),
        )
    })
    .collect()
}

#[test]
fn one_value_of_each_kind() {
    let model = values();
    let bytes = builder_of(&model).finish_content().unwrap();
    assert_eq!(decode(&Content::parse(&bytes).unwrap()), model);
}

#[test]
fn values_that_stand_only_inside_are_refused_outside() {
    for value in [
        Value::Unsigned(u64::MAX),
        Value::Extension {
            kind: 1,
            data: vec![],
        },
        Value::Opaque {
            kind_byte: 5,
            bytes: vec![],
        },
        Value::list(vec![Value::Extension {
            kind: -1,
            data: vec![0],
        }]),
        Value::list(vec![Value::Opaque {
            kind_byte: 3,
            bytes: vec![0xff],
        }]),
    ] {
        let built = builder_of(&[("a".to_owned(), value.clone())]).finish_content();
        assert!(built.is_err(), "{value}");
    }
}

#[test]
fn nil_is_for_updates() {
    let builder = builder_of(&[("a".to_owned(), 1.into()), ("b".to_owned(), Value::Nil)]);
    let error = builder.finish_content().unwrap_err();
    assert_eq!(
        error.to_string(),
        "bin 1: nil is not a value that can be stored"
    );
    let bytes = builder.finish_update().unwrap();
    assert_eq!(Content::parse(&bytes), Err(error));
    assert_eq!(Update::parse(&bytes).unwrap().as_content(), None);
}

proptest! {
    #[test]
    fn contents(model in models(), key in keys()) {
        let mut builder = builder_of(&model);
        if let Some(key) = key.clone() {
            builder = builder.key(key);
        }
        let bytes = builder.finish_content().unwrap();
        let content = Content::parse(&bytes).unwrap();
        prop_assert_eq!(decode(&content), model.clone());
        prop_assert_eq!(content.key().map(|key| key.to_key()), key.clone());
        prop_assert_eq!(usize::from(content.bins().len()), model.len());
        for (name, value) in &model {
            prop_assert_eq!(&content.get(name).unwrap().decode().to_value(), value);
        }
        prop_assert_eq!(content.get("no such bin"), None);
        prop_assert_eq!(Content::from_stored(&bytes), Ok(content));
        prop_assert_eq!(Update::parse(&bytes).unwrap().as_content(), Some(content));

        let bins: Vec<(&str, u8, &[u8])> = model
            .iter()
            .map(|(name, _)| {
                let value = content.get(name).unwrap();
                (name.as_str(), value.kind().to_byte(), value.as_bytes())
            })
            .collect();
        let key = key.as_ref().map(Key::as_key_ref).transpose().unwrap();
        prop_assert_eq!(encode_by_the_book(key, &bins), bytes);
    }

    #[test]
    fn a_writer_appends(model in models(), before: Vec<u8>) {
        let mut out = before.clone();
        let mut writer = ContentWriter::new(&mut out, None);
        for (name, value) in &model {
            writer.put_value(BinName::new(name).unwrap(), value).unwrap();
        }
        prop_assert_eq!(usize::from(writer.finish_content().unwrap()), model.len());
        prop_assert_eq!(&out[..before.len()], &before[..]);
        prop_assert_eq!(&out[before.len()..], builder_of(&model).finish_content().unwrap());
    }

    #[test]
    fn text_for_people_is_one_bounded_line(value in bin_values()) {
        let bytes = builder_of(&[("a".to_owned(), value.clone())]).finish_content().unwrap();
        let content = Content::parse(&bytes).unwrap();
        let text = content.get("a").unwrap().to_string();
        prop_assert_eq!(&text, &value.to_string());
        prop_assert!(text.len() <= 1027, "{} bytes", text.len());
        prop_assert!(!text.contains('\n'));
        prop_assert!(content.to_string().len() <= 1027);
    }
}
