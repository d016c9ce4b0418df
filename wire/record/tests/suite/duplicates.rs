//! Two bins of one name are refused wherever they stand, with a directory and without.

use corelith_record::{Content, ContentBuilder, ContentError};
use proptest::prelude::*;

use crate::samples::{encode_by_the_book, scattered_name};

#[track_caller]
fn check(bin_count: usize, first: usize, second: usize) {
    let mut names: Vec<String> = (0..).map(scattered_name).take(bin_count).collect();
    names[second] = names[first].clone();
    let expected = Err(ContentError::DuplicateName {
        ordinal: u16::try_from(second).unwrap(),
    });

    let builder = names
        .iter()
        .fold(ContentBuilder::new(), |builder, name| builder.bin(name, 1));
    assert_eq!(builder.finish_content().map(drop), expected);
    assert_eq!(builder.finish_update().map(drop), expected);

    let one = 1_i64.to_be_bytes();
    let bins: Vec<(&str, u8, &[u8])> = names.iter().map(|name| (&**name, 1, &one[..])).collect();
    let bytes = encode_by_the_book(None, &bins);
    assert_eq!(Content::parse(&bytes).map(drop), expected);
}

#[test]
fn first_and_last_among_few_and_many() {
    for bin_count in [2, 3, 63, 64, 65, 66, 1_000] {
        let last = bin_count - 1;
        check(bin_count, 0, last);
        check(bin_count, last - 1, last);
        check(bin_count, 0, 1);
    }
}

#[test]
fn names_that_look_alike_are_no_duplicates() {
    let names = [
        "a",
        "A",
        "aa",
        "b",
        "\u{e9}",
        "e\u{301}",
        "abcdefgh",
        "abcdefghi",
        " a",
        "a ",
    ];
    let builder = names
        .iter()
        .fold(ContentBuilder::new(), |builder, name| builder.bin(*name, 1));
    let bytes = builder.finish_content().unwrap();
    assert_eq!(Content::parse(&bytes).unwrap().bins().len(), 10);
}

#[test]
fn the_writer_leaves_its_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    let name = corelith_record::BinName::new("a").unwrap();
    let mut writer = corelith_record::ContentWriter::new(&mut out, None);
    writer.put_value(name, &1.into()).unwrap();
    writer.put_value(name, &2.into()).unwrap();
    assert_eq!(
        writer.finish_content(),
        Err(ContentError::DuplicateName { ordinal: 1 })
    );
    assert_eq!(out, b"before");
}

proptest! {
    #[test]
    fn anywhere(bin_count in 2_usize..140, picks: (prop::sample::Index, prop::sample::Index)) {
        let (first, second) =
            (picks.0.index(bin_count), picks.1.index(bin_count));
        if first != second {
            check(bin_count, first.min(second), first.max(second));
        }
    }
}
