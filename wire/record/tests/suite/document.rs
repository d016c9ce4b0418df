//! `CONTENT.md` against the code: its limits, its kinds, its golden bytes.

use corelith_record::{ContentBuilder, Kind, List, Map, OrderFlags, Update, Value, limits};

const DOCUMENT: &str = include_str!("../../CONTENT.md");

/// The cells of the table rows under a heading.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = DOCUMENT.split_once(&format!("\n{heading}\n")).unwrap();
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    table
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn limits_are_those_of_the_code() {
    let documented: Vec<(String, usize)> = rows("## Limits")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].parse().unwrap()))
        .collect();
    let expected = [
        ("CONTENT_LENGTH_BYTES_MAX", limits::CONTENT_LENGTH_BYTES_MAX),
        ("BIN_COUNT_MAX", usize::from(limits::BIN_COUNT_MAX)),
        (
            "BIN_NAME_LENGTH_BYTES_MAX",
            limits::BIN_NAME_LENGTH_BYTES_MAX,
        ),
        ("KEY_LENGTH_BYTES_MAX", limits::KEY_LENGTH_BYTES_MAX),
        ("VALUE_DEPTH_MAX", limits::VALUE_DEPTH_MAX),
        (
            "WALKED_BIN_COUNT_MAX",
            usize::from(limits::WALKED_BIN_COUNT_MAX),
        ),
        (
            "COMPOSITE_COLUMN_COUNT_MAX",
            limits::COMPOSITE_COLUMN_COUNT_MAX,
        ),
        ("STEP_COUNT_MAX", limits::STEP_COUNT_MAX),
    ];
    assert_eq!(
        documented,
        expected.map(|(name, value)| (name.to_owned(), value))
    );
}

#[test]
fn kinds_are_those_of_the_code() {
    let documented = rows("## Values");
    let kinds: Vec<Kind> = (0..=u8::MAX)
        .filter_map(|byte| Kind::from_byte(byte).ok())
        .collect();
    assert_eq!(documented.len(), kinds.len());
    for (row, kind) in documented.iter().zip(kinds) {
        assert_eq!(
            row[..2],
            [kind.to_byte().to_string(), kind.name().to_owned()]
        );
        if let Some(length) = kind.fixed_length_bytes() {
            let documented = if length == 0 {
                "none".to_owned()
            } else {
                length.to_string()
            };
            assert_eq!(row[2], documented, "{kind}");
        } else {
            assert!(["any", "3 or more"].contains(&row[2].as_str()), "{kind}");
        }
    }
}

#[test]
fn header_offsets_are_those_of_the_code() {
    let fields: Vec<(String, String)> = rows("## A content")
        .into_iter()
        .map(|row| (row[0].clone(), row[2].clone()))
        .collect();
    let expected = [
        ("0", "format"),
        ("1", "key kind"),
        ("2", "bin count"),
        ("4", "key"),
    ];
    assert_eq!(
        fields[..4],
        expected.map(|(offset, field)| (offset.to_owned(), field.to_owned()))
    );
    // A content in which each field shows: format 1, an integer key, 258 bins.
    let bins = (0..258).map(|index| (format!("{index}"), Value::Bool(true)));
    let builder = bins.fold(ContentBuilder::new().key(-1), |builder, (name, value)| {
        builder.bin(name, value)
    });
    let bytes = builder.finish_content().unwrap();
    assert_eq!(bytes[0], 1);
    assert_eq!(bytes[1], 1);
    assert_eq!(bytes[2..4], 258_u16.to_le_bytes());
    assert_eq!(bytes[4..12], [0xff; 8]);
}

#[test]
fn golden_bytes() {
    let new = ContentBuilder::new;
    let list = Value::list(vec![1.into(), "a".into(), Value::Nil]);
    let order = Some(OrderFlags::MAP_KEY_ORDERED);
    let map = Value::Map(Map {
        order,
        pairs: vec![("k".into(), 9.into())],
    });
    let java = Value::Opaque {
        kind_byte: 7,
        bytes: vec![0xff],
    };
    let built = [
        new(),
        new().key("k1").bin("a", 1).bin("s", "xyz"),
        new().key(5).bin("d", 1.5).bin("t", true),
        new()
            .key(vec![0, 255])
            .bin("b", b"zz".as_slice())
            .bin("e", ""),
        new()
            .key(corelith_record::Key::Double(2.0))
            .bin("l", list)
            .bin("m", map),
        new()
            .bin("g", Value::GeoJson("{}".to_owned()))
            .bin("h", Value::HyperLogLog(vec![10]))
            .bin("j", java),
        new().delete("a"),
    ];
    let documented = rows("## Golden bytes");
    assert_eq!(documented.len(), built.len());
    for (row, builder) in documented.iter().zip(built) {
        let bytes = builder.finish_update().unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, row[1].replace(' ', ""), "{}", row[0]);
        assert_eq!(format!("{:?}", Update::parse(&bytes).unwrap()), row[0]);
    }
}

#[test]
fn values_of_unmodified_clients() {
    // As recorded between clients and another server: a list, an ordered list, two maps.
    let ordered = |order, items| Value::List(List { order, items });
    for (kind, hex, expected) in [
        (20, "920102", Value::list(vec![1.into(), 2.into()])),
        (
            20,
            "9301a20361c0",
            Value::list(vec![1.into(), "a".into(), Value::Nil]),
        ),
        (
            20,
            "92c7000105",
            ordered(Some(OrderFlags::LIST_ORDERED), vec![5.into()]),
        ),
        (19, "81a2036b01", Value::map(vec![("k".into(), 1.into())])),
        (
            19,
            "82c70001c0a2036101",
            Value::Map(Map {
                order: Some(OrderFlags::MAP_KEY_ORDERED),
                pairs: vec![("a".into(), 1.into())],
            }),
        ),
    ] {
        let bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
            .collect();
        let content = crate::samples::encode_by_the_book(None, &[("v", kind, &bytes)]);
        let content = corelith_record::Content::parse(&content).unwrap();
        let value = content.get("v").unwrap();
        assert_eq!(value.as_bytes(), bytes);
        assert_eq!(value.decode().to_value(), expected);
        // These clients write the shortest form, and so do we.
        let written = ContentBuilder::new()
            .bin("v", expected)
            .finish_content()
            .unwrap();
        assert_eq!(written, content.as_bytes());
    }
}
