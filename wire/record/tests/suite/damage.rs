//! Bytes that were valid once: cut short, flipped, or made up. Nothing panics, and what is still
//! accepted keeps every promise (the fuzzers' entry checks them).

use corelith_record::fuzzing::fuzz_content;
use corelith_record::{Content, ContentBuilder, Update, Value};
use proptest::prelude::*;

use crate::samples::{many_bins, models, one_of_each};

fn samples() -> Vec<Vec<u8>> {
    vec![
        Content::EMPTY_BYTES.to_vec(),
        ContentBuilder::new()
            .key(5)
            .bin("a", 1)
            .finish_content()
            .unwrap(),
        ContentBuilder::new()
            .bin("a", "x")
            .delete("b")
            .finish_update()
            .unwrap(),
        ContentBuilder::new()
            .key(vec![7; 300])
            .bin("a", 1)
            .finish_content()
            .unwrap(),
        one_of_each(),
        many_bins(65),
    ]
}

#[test]
fn every_truncation_is_an_error() {
    for sample in samples() {
        assert!(Update::parse(&sample).is_ok());
        for length in 0..sample.len() {
            assert!(
                Update::parse(&sample[..length]).is_err(),
                "{length} of {}",
                sample.len()
            );
            fuzz_content(&sample[..length]);
        }
    }
}

#[test]
fn every_byte_too_many_is_an_error() {
    for mut sample in samples() {
        sample.push(0);
        assert!(Update::parse(&sample).is_err());
        fuzz_content(&sample);
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_another_valid_content() {
    for mut sample in samples() {
        let original = sample.clone();
        for at in 0..sample.len() {
            for flip in [0x01, 0x02, 0x10, 0x20, 0x80, 0xff] {
                sample[at] ^= flip;
                if let Ok(update) = Update::parse(&sample) {
                    assert_eq!(update.as_bytes(), sample);
                }
                fuzz_content(&sample);
                sample[at] ^= flip;
            }
        }
        assert_eq!(sample, original);
    }
}

#[test]
fn every_value_of_every_header_byte() {
    for mut sample in samples() {
        for at in 0..4.min(sample.len()) {
            let original = sample[at];
            for byte in 0..=u8::MAX {
                sample[at] = byte;
                fuzz_content(&sample);
            }
            sample[at] = original;
        }
    }
}

#[test]
fn no_flip_in_a_directory_is_accepted() {
    let mut sample = many_bins(65);
    let directory = sample.len() - 65 * 6;
    for at in directory..sample.len() {
        for flip in 1..=u8::MAX {
            sample[at] ^= flip;
            assert!(
                Content::parse(&sample).is_err(),
                "byte {at} flipped by {flip:#x}"
            );
            sample[at] ^= flip;
        }
    }
    assert!(Content::parse(&sample).is_ok());
}

#[test]
fn deep_values_are_refused_when_written_and_when_read() {
    let deep =
        |depth: usize| (1..depth).fold(Value::list(vec![]), |value, _| Value::list(vec![value]));
    let bytes = ContentBuilder::new()
        .bin("a", deep(128))
        .finish_content()
        .unwrap();
    fuzz_content(&bytes);
    assert!(
        ContentBuilder::new()
            .bin("a", deep(129))
            .finish_content()
            .is_err()
    );

    let mut value = vec![0x91; 128];
    value.push(0x90);
    let bytes = crate::samples::encode_by_the_book(None, &[("a", 20, &value)]);
    let error = Content::parse(&bytes).unwrap_err().to_string();
    assert_eq!(
        error,
        "bin 0: value: msgpack at byte 128: nested deeper than 128"
    );
    // The reader for stored bytes does not look into values; what walks them stops all the same.
    value.splice(0..0, vec![0x91; 1_000_000]);
    let bytes = crate::samples::encode_by_the_book(None, &[("a", 20, &value)]);
    fuzz_content(&bytes);
}

proptest! {
    #[test]
    fn made_up_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_content(&bytes);
        // Past the header's door.
        if bytes.len() > 3 {
            bytes[0] = 1;
            bytes[1] = 0;
            bytes[2] %= 8;
            bytes[3] = 0;
            fuzz_content(&bytes);
        }
    }

    #[test]
    fn two_damages_at_once(
        model in models(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 2),
    ) {
        let mut bytes = crate::samples::builder_of(&model).finish_content().unwrap();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzz_content(&bytes);
    }
}
