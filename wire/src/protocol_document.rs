//! Tests that `PROTOCOL.md`, the schema and the code say the same. The document is read as a client's
//! author reads it: by its headings and tables.

use std::collections::BTreeMap;

use crate::header as h;
use crate::kind::MessageKind;
use crate::limits;
use crate::status::Status;

const DOCUMENT: &str = include_str!("../PROTOCOL.md");
const SCHEMA: &str = include_str!("../schema/corelith.fbs");

/// The rows of the first table below a heading, heads and rules left out.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let start = DOCUMENT
        .find(heading)
        .unwrap_or_else(|| panic!("no heading {heading}"));
    DOCUMENT[start..]
        .lines()
        .skip(1)
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn header_table_is_the_header() {
    let code = [
        (h::OFFSET_MARK, 2, "mark"),
        (h::OFFSET_KIND, 1, "kind"),
        (h::OFFSET_FLAGS, 1, "flags"),
        (h::OFFSET_NAMESPACE_OR_STATUS, 2, "namespace or status"),
        (h::OFFSET_PARTITION, 2, "partition"),
        (h::OFFSET_REQUEST_ID, 8, "request id"),
        (h::OFFSET_TABLE_LENGTH, 4, "table length"),
        (h::OFFSET_PAYLOAD_LENGTH, 4, "payload length"),
        (h::OFFSET_TIME, 4, "time"),
        (h::OFFSET_RESERVED, 4, "reserved"),
    ];
    let document: Vec<(usize, usize, &str)> = rows("\n## Header")
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2]))
        .collect();
    assert_eq!(document, code);
    let end = document.iter().fold(0, |end, (offset, size, name)| {
        assert_eq!(*offset, end, "{name} does not follow its predecessor");
        offset + size
    });
    assert_eq!(end, h::HEADER_SIZE);
    assert_eq!(h::FRAME_MARK.to_le_bytes(), [0xC0, 0x4C]);
}

#[test]
fn kinds_are_those_of_the_code() {
    let document: Vec<(u8, String)> = rows("\n## Kinds")
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1].to_owned()))
        .collect();
    let code: Vec<(u8, String)> = MessageKind::ALL
        .iter()
        .map(|kind| (kind.number(), format!("{kind:?}")))
        .collect();
    assert_eq!(document, code);
    for (number, _) in document {
        assert_eq!(
            MessageKind::from_number(number).map(MessageKind::number),
            Some(number)
        );
    }
}

#[test]
fn statuses_are_those_of_the_code() {
    let document: Vec<(u16, String)> = rows("\n## Statuses")
        .iter()
        .map(|row| (row[0].parse().unwrap(), row[1].to_owned()))
        .collect();
    let code: Vec<(u16, String)> = Status::ALL
        .iter()
        .map(|status| (status.number(), format!("{status:?}")))
        .collect();
    assert_eq!(document, code);
}

#[test]
fn limits_are_those_of_the_code() {
    let number = |figure: usize| u64::try_from(figure).unwrap();
    let code = [
        (
            "TABLE_LENGTH_BYTES_MAX",
            u64::from(limits::TABLE_LENGTH_BYTES_MAX),
        ),
        (
            "PAYLOAD_LENGTH_BYTES_MAX",
            u64::from(limits::PAYLOAD_LENGTH_BYTES_MAX),
        ),
        (
            "FRAME_LENGTH_BYTES_MAX",
            u64::from(limits::FRAME_LENGTH_BYTES_MAX),
        ),
        (
            "NAMESPACE_NAME_BYTES_MAX",
            number(limits::NAMESPACE_NAME_BYTES_MAX),
        ),
        ("NAMESPACES_MAX", number(limits::NAMESPACES_MAX)),
        ("SET_NAME_BYTES_MAX", number(limits::SET_NAME_BYTES_MAX)),
        ("BIN_NAME_BYTES_MAX", number(limits::BIN_NAME_BYTES_MAX)),
        ("BIN_NAMES_MAX", number(limits::BIN_NAMES_MAX)),
        ("TTL_S_MAX", u64::from(limits::TTL_S_MAX)),
        ("SCAN_ENTRIES_MAX", number(limits::SCAN_ENTRIES_MAX)),
        ("SCAN_SETS_MAX", number(limits::SCAN_SETS_MAX)),
        (
            "RESUME_TOKEN_BYTES_MAX",
            number(limits::RESUME_TOKEN_BYTES_MAX),
        ),
        ("BATCH_ROWS_MAX", number(limits::BATCH_ROWS_MAX)),
        ("OPERATE_STEPS_MAX", number(limits::OPERATE_STEPS_MAX)),
        ("PEER_NAME_BYTES_MAX", number(limits::PEER_NAME_BYTES_MAX)),
        (
            "REFUSAL_TEXT_BYTES_MAX",
            number(limits::REFUSAL_TEXT_BYTES_MAX),
        ),
        ("SHARDS_MAX", number(limits::SHARDS_MAX)),
        ("CORES_MAX", number(limits::CORES_MAX)),
    ];
    let document: Vec<(&str, u64)> = rows("\n## Limits")
        .iter()
        .map(|row| (row[0], row[1].parse().unwrap()))
        .collect();
    assert_eq!(document, code);
    assert!(DOCUMENT.contains(&format!("at most {} deep", limits::TABLE_DEPTH_MAX)));
    assert!(DOCUMENT.contains(&format!("at most {} in one section", limits::TABLES_MAX)));
}

/// The schema's blocks: keyword and name, then the lines between the braces.
fn schema_blocks() -> BTreeMap<&'static str, (&'static str, Vec<&'static str>)> {
    let mut blocks = BTreeMap::new();
    let mut rest = SCHEMA;
    while let Some(open) = rest.find('{') {
        let head = rest[..open].lines().last().unwrap().trim();
        let mut words = head.split([' ', ':']).filter(|word| !word.is_empty());
        let (keyword, name) = (words.next().unwrap(), words.next().unwrap());
        let close = rest.find('}').unwrap();
        let body = rest[open + 1..close].split([';', ',']).map(str::trim);
        blocks.insert(
            name,
            (keyword, body.filter(|line| !line.is_empty()).collect()),
        );
        rest = &rest[close + 1..];
    }
    blocks
}

/// Name, type and whether it is required, of one field of the schema.
fn field(line: &'static str) -> (&'static str, &'static str, bool) {
    let (name, rest) = line.split_once(':').unwrap();
    let (kind, required) = match rest.split_once('(') {
        Some((kind, attribute)) => (kind, attribute == "required)"),
        None => (rest, false),
    };
    (name.trim(), kind.trim(), required)
}

#[test]
fn tables_are_those_of_the_schema() {
    let mut table_count = 0;
    for (name, (keyword, lines)) in schema_blocks() {
        if keyword != "table" {
            continue;
        }
        table_count += 1;
        let document = rows(&format!("\n### {name}\n"));
        assert_eq!(document.len(), lines.len(), "fields of {name}");
        for (id, (row, line)) in document.iter().zip(lines).enumerate() {
            let (field_name, kind, required) = field(line);
            assert_eq!(row[0].parse(), Ok(id), "{name}.{field_name}");
            assert_eq!((row[1], row[2]), (field_name, kind), "{name}");
            assert_eq!(
                row[3].starts_with("required"),
                required,
                "{name}.{field_name}"
            );
        }
    }
    assert_eq!(table_count, 18);
    assert_eq!(
        DOCUMENT.matches("| id | field | type | rule |").count(),
        table_count
    );
}

#[test]
fn structs_are_those_of_the_schema() {
    let length_of = |kind: &str| -> usize {
        match kind {
            "[ubyte:20]" | "Digest" => 20,
            "ulong" => 8,
            "uint" => 4,
            "ushort" => 2,
            "Damage" | "DigestKnown" => 1,
            other => panic!("no size known for {other}"),
        }
    };
    let mut struct_count = 0;
    for (name, (keyword, lines)) in schema_blocks() {
        if keyword != "struct" {
            continue;
        }
        struct_count += 1;
        let mut offset = 0;
        let code: Vec<(usize, usize, &str)> = lines
            .iter()
            .map(|line| {
                let (field_name, kind, _) = field(line);
                let size = length_of(kind);
                offset += size;
                // Flatbuffers would put padding before an unaligned field; ours need none.
                assert!(
                    kind == "Digest" || (offset - size).is_multiple_of(size.min(8)),
                    "{name}"
                );
                (offset - size, size, field_name)
            })
            .collect();
        let document: Vec<(usize, usize, &str)> = rows(&format!("\n### {name}\n"))
            .iter()
            .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap(), row[2]))
            .collect();
        assert_eq!(document, code, "{name}");
    }
    assert_eq!(struct_count, 4);
    use crate::generated::corelith::native as table;
    assert_eq!(size_of::<table::ScanEntry>(), 40);
    assert_eq!(size_of::<table::ScanDamage>(), 24);
    assert_eq!(size_of::<table::Features>(), 24);
    assert_eq!(size_of::<table::Digest>(), 20);
}

#[test]
fn enumerations_are_those_of_the_schema() {
    for (name, (keyword, lines)) in schema_blocks() {
        if keyword != "enum" {
            continue;
        }
        let code: Vec<(&str, &str)> = lines
            .iter()
            .map(|line| line.split_once(" = ").unwrap())
            .collect();
        assert_eq!(code[0], ("Unset", "0"), "{name} must have no valid zero");
        let document: Vec<(&str, &str)> = rows(&format!("\n### {name}\n"))
            .iter()
            .map(|row| (row[1], row[0]))
            .collect();
        assert_eq!(document, code[1..], "{name}");
    }
}

/// The bytes of an annotated example: an offset, two spaces, bytes, two spaces, words.
#[track_caller]
fn check_example(after: &str, golden: &[u8]) {
    let start = DOCUMENT.find(after).unwrap();
    let block = DOCUMENT[start..].split("```text\n").nth(1).unwrap();
    let mut bytes = Vec::new();
    for line in block.split("```").next().unwrap().lines() {
        let mut columns = line.split("  ");
        let offset = usize::from_str_radix(columns.next().unwrap(), 16);
        assert_eq!(offset, Ok(bytes.len()), "{line}");
        for byte in columns.next().unwrap().split(' ') {
            bytes.push(u8::from_str_radix(byte, 16).unwrap());
        }
    }
    assert_eq!(bytes, golden);
}

#[test]
fn examples_are_golden_frames() {
    let put = include_bytes!("../tests/golden/request_put_merge.bin");
    check_example("This is `tests/golden/request_put_merge.bin`", put);
    let answer = include_bytes!("../tests/golden/answer_put.bin");
    check_example("The answer, `tests/golden/answer_put.bin`", answer);
}
