//! Merge, replace and project against an ordinary ordered list of bins.

use corelith_record::{
    BinName, BinValue, Content, Edit, Key, Update, Value, edit, merge, merged_length_bytes_max,
    project, replace,
};
use proptest::prelude::*;

use crate::samples::{Model, bin_values, builder_of, keys, models, scattered_name};

/// Some bins to write or delete, many of which the models have.
fn changes() -> impl Strategy<Value = Model> {
    let change = prop_oneof![3 => bin_values(), 1 => Just(Value::Nil)];
    prop_oneof![
        prop::collection::vec(("[a-h]{1,2}", change.clone()), 0..10),
        prop::collection::vec(("[a-z]{1,3}", change), 50..90),
    ]
    .prop_map(|mut changes| {
        let mut seen = std::collections::HashSet::new();
        changes.retain(|(name, _)| seen.insert(name.clone()));
        changes
    })
}

fn merge_model(model: &Model, changes: &Model) -> Model {
    let mut merged = model.clone();
    for (name, value) in changes {
        match merged.iter_mut().find(|(present, _)| present == name) {
            Some((_, present)) => *present = value.clone(),
            None => merged.push((name.clone(), value.clone())),
        }
    }
    merged.retain(|(_, value)| *value != Value::Nil);
    merged
}

fn with_key(model: &Model, key: Option<Key>) -> corelith_record::ContentBuilder {
    match key {
        Some(key) => builder_of(model).key(key),
        None => builder_of(model),
    }
}

/// Changes of a record whose names stand in a directory: what happens to its order by name.
#[test]
fn wide_records() {
    let model: Model = (0..100)
        .map(|index| (scattered_name(index), 7.into()))
        .collect();
    let old = builder_of(&model).finish_content().unwrap();
    let old = Content::parse(&old).unwrap();
    let (write, delete) = (Value::from("new"), Value::Nil);
    for changes in [
        vec![(3, write.clone())],
        vec![(3, delete.clone())],
        vec![(100, write.clone())],
        vec![(3, delete.clone()), (100, write.clone())],
        vec![(100, write.clone()), (3, delete.clone())],
        vec![
            (0, delete.clone()),
            (99, delete.clone()),
            (50, write.clone()),
        ],
        vec![(200, delete.clone())],
        (0..36).map(|index| (index, delete.clone())).collect(),
        (0..100).map(|index| (99 - index, write.clone())).collect(),
        (0..200)
            .map(|index| (index * 7 % 200, write.clone()))
            .collect(),
        (0..100).map(|index| (index, delete.clone())).collect(),
    ] {
        let changes: Model = changes
            .into_iter()
            .map(|(index, value)| (scattered_name(index), value))
            .collect();
        let update = builder_of(&changes).finish_update().unwrap();
        let expected = builder_of(&merge_model(&model, &changes))
            .finish_content()
            .unwrap();
        let mut out = Vec::new();
        merge(&old, &Update::parse(&update).unwrap(), &mut out).unwrap();
        assert_eq!(out, expected, "{changes:?}");

        let [(name, value)] = changes.as_slice() else {
            continue;
        };
        let update = Update::parse(&update).unwrap();
        let value = update.bins().get(name).filter(|_| *value != Value::Nil);
        let change = Edit::Write(value.unwrap_or(BinValue::NIL));
        let mut out = Vec::new();
        edit(&old, BinName::new(name).unwrap(), change, &mut out).unwrap();
        assert_eq!(out, expected, "{changes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn merges(model in models(), changes in changes(), old_key in keys(), new_key in keys()) {
        let old = with_key(&model, old_key.clone()).finish_content().unwrap();
        let update = with_key(&changes, new_key.clone()).finish_update().unwrap();
        let (old, update) = (Content::parse(&old).unwrap(), Update::parse(&update).unwrap());

        let mut out = Vec::with_capacity(6 + merged_length_bytes_max(&old, &update));
        let capacity = out.capacity();
        out.extend(b"before");
        let bin_count = merge(&old, &update, &mut out).unwrap();
        let expected = merge_model(&model, &changes);
        prop_assert_eq!(usize::from(bin_count), expected.len());
        let key = new_key.clone().or(old_key);
        prop_assert_eq!(&out[6..], with_key(&expected, key).finish_content().unwrap());
        prop_assert_eq!(out.capacity(), capacity, "a large enough buffer never grows");

        let mut out = Vec::new();
        let bin_count = replace(&update, &mut out).unwrap();
        let expected = merge_model(&Model::new(), &changes);
        prop_assert_eq!(usize::from(bin_count), expected.len());
        prop_assert_eq!(out, with_key(&expected, new_key).finish_content().unwrap());
    }

    #[test]
    fn projects(
        model in models(),
        names in prop::collection::vec("[a-h]{1,2}", 0..80),
        key in keys(),
    ) {
        let content = with_key(&model, key.clone()).finish_content().unwrap();
        let content = Content::parse(&content).unwrap();
        let mut out = b"before".to_vec();
        let bin_count = project(&content, names.iter().map(String::as_str), &mut out).unwrap();
        let mut expected = model.clone();
        expected.retain(|(name, _)| names.contains(name));
        prop_assert_eq!(usize::from(bin_count), expected.len());
        prop_assert_eq!(&out[6..], with_key(&expected, key).finish_content().unwrap());
    }
}
