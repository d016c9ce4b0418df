//! Contents at their bounds: the longest, the most bins, the longest names and keys.

use corelith_record::limits::{BIN_COUNT_MAX, CONTENT_LENGTH_BYTES_MAX, KEY_LENGTH_BYTES_MAX};
use corelith_record::{
    BinName, BinValue, Content, ContentBuilder, ContentError, Edit, EditError, KeyError, Update,
    edit, merge, project,
};

use crate::samples::{builder_of, many_bins, scattered_name};

#[test]
fn the_longest_content_and_one_byte_more() {
    // Header 4, bin 2, length 5, name 1.
    let longest = CONTENT_LENGTH_BYTES_MAX - 12;
    let bytes = ContentBuilder::new()
        .bin("a", vec![7; longest])
        .finish_content()
        .unwrap();
    assert_eq!(bytes.len(), CONTENT_LENGTH_BYTES_MAX);
    let content = Content::parse(&bytes).unwrap();
    assert_eq!(content.get("a").unwrap().as_bytes().len(), longest);

    let too_large = ContentError::TooLarge {
        length_bytes: CONTENT_LENGTH_BYTES_MAX + 1,
    };
    let built = ContentBuilder::new()
        .bin("a", vec![7; longest + 1])
        .finish_content();
    assert_eq!(built, Err(too_large));
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Content::parse(&longer), Err(too_large));

    let mut out = b"before".to_vec();
    let operand = BinValue::parse(4, &[1]).unwrap();
    let edited = edit(
        &content,
        BinName::new("a").unwrap(),
        Edit::Append(operand),
        &mut out,
    );
    assert_eq!(edited, Err(EditError::Content(too_large)));
    let update = ContentBuilder::new()
        .bin("b", true)
        .finish_update()
        .unwrap();
    let merged = merge(&content, &Update::parse(&update).unwrap(), &mut out);
    assert!(matches!(merged, Err(ContentError::TooLarge { .. })));
    assert_eq!(out, b"before");
}

#[test]
fn the_most_bins_and_one_more() {
    let count = u32::from(BIN_COUNT_MAX);
    let bytes = many_bins(count);
    let content = Content::parse(&bytes).unwrap();
    assert_eq!(content.bins().len(), BIN_COUNT_MAX);
    for index in (0..count).step_by(97).chain([count - 1]) {
        assert!(content.get(&scattered_name(index)).is_some());
        assert!(content.get(&scattered_name(count + index)).is_none());
    }

    let mut out = Vec::new();
    let names: Vec<String> = (0..count).rev().step_by(2).map(scattered_name).collect();
    let found = project(&content, names.iter().map(String::as_str), &mut out);
    assert_eq!(found, Ok(BIN_COUNT_MAX / 2 + 1));
    assert_eq!(
        Content::parse(&out).unwrap().bins().len(),
        BIN_COUNT_MAX / 2 + 1
    );

    let mut out = Vec::new();
    let update = ContentBuilder::new().bin("new", 1).finish_update().unwrap();
    let merged = merge(&content, &Update::parse(&update).unwrap(), &mut out);
    let too_many = ContentError::TooManyBins {
        found: usize::from(BIN_COUNT_MAX) + 1,
    };
    assert_eq!(merged, Err(too_many));
    assert!(out.is_empty());
    let more: Vec<_> = (0..=count)
        .map(|index| (scattered_name(index), true.into()))
        .collect();
    assert_eq!(builder_of(&more).finish_content(), Err(too_many));
}

#[test]
fn a_count_with_its_reserved_bit_is_refused() {
    for count in [0x8000_u16, 0x8001, 0xffff] {
        let bytes = [&[1, 0][..], &count.to_le_bytes()].concat();
        let too_many = ContentError::TooManyBins {
            found: usize::from(count),
        };
        assert_eq!(Content::parse(&bytes), Err(too_many));
    }
}

#[test]
fn the_directory_counts_in_the_length() {
    let name = |index: usize| format!("{index:02}");
    let fill = |last: usize| {
        let small = (0..64).fold(ContentBuilder::new(), |builder, index| {
            builder.bin(name(index), true)
        });
        small.bin("last", vec![0; last]).finish_content()
    };
    // 64 bins of 5 bytes, the last one's 2, 5 and 4, the header's 4, and 65 directory entries.
    let longest = CONTENT_LENGTH_BYTES_MAX - 64 * 5 - 11 - 4 - 65 * 6;
    assert_eq!(fill(longest).unwrap().len(), CONTENT_LENGTH_BYTES_MAX);
    let length_bytes = CONTENT_LENGTH_BYTES_MAX + 1;
    assert_eq!(
        fill(longest + 1),
        Err(ContentError::TooLarge { length_bytes })
    );
}

#[test]
fn names_and_keys_at_their_bounds() {
    let name = "n".repeat(255);
    let key = vec![7_u8; KEY_LENGTH_BYTES_MAX];
    let bytes = ContentBuilder::new()
        .key(key.clone())
        .bin(&name, 1)
        .finish_content()
        .unwrap();
    let content = Content::parse(&bytes).unwrap();
    assert_eq!(content.key().unwrap().as_bytes(), key);
    assert!(content.get(&name).is_some());

    let error = ContentBuilder::new()
        .bin("n".repeat(256), 1)
        .finish_content()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "bin 0: name: 256 bytes long, at most 255 are allowed"
    );
    let length_bytes = KEY_LENGTH_BYTES_MAX + 1;
    let error = ContentBuilder::new()
        .key(vec![7; length_bytes])
        .finish_content();
    assert_eq!(
        error,
        Err(ContentError::Key(KeyError::TooLong { length_bytes }))
    );
    // The same key in bytes that a peer made.
    let mut bytes = vec![1, 4, 0, 0, 255];
    bytes.extend(u32::try_from(length_bytes).unwrap().to_le_bytes());
    bytes.resize(bytes.len() + length_bytes, 7);
    assert_eq!(
        Content::parse(&bytes),
        Err(ContentError::Key(KeyError::TooLong { length_bytes }))
    );
}
