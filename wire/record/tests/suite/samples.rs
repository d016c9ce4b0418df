//! Contents to test with: a few by hand, any number by strategy, and a second encoder, written
//! from `CONTENT.md` alone, to compare the crate's with.

use corelith_record::{ContentBuilder, Key, KeyRef, List, Map, OrderFlags, Value};
use proptest::prelude::*;

/// Bins by name, in order.
pub(crate) type Model = Vec<(String, Value)>;

/// A content with one bin of each kind, and a key.
pub(crate) fn one_of_each() -> Vec<u8> {
    builder_of(&values()).key("key").finish_content().unwrap()
}

/// One value of each kind, named after its place.
pub(crate) fn values() -> Model {
    let nested = Value::map(vec![
        (
            Value::from("list"),
            Value::list(vec![Value::Nil, Value::Integer(-300)]),
        ),
        (Value::from(vec![1_u8, 2]), Value::Unsigned(u64::MAX)),
        (
            Value::Bool(false),
            Value::Extension {
                kind: 9,
                data: vec![1, 2, 3],
            },
        ),
    ]);
    let ordered_list = List {
        order: Some(OrderFlags::LIST_ORDERED),
        items: vec![1.into(), 2.into()],
    };
    let ordered_map = Map {
        order: Some(OrderFlags::MAP_KEY_ORDERED),
        pairs: vec![(Value::from("k"), Value::Double(0.5))],
    };
    let values = [
        Value::Integer(i64::MIN),
        Value::Double(-0.0),
        Value::Bool(true),
        Value::from("text"),
        Value::from(""),
        Value::from(vec![0_u8, 255]),
        Value::HyperLogLog(vec![0, 4, 0]),
        Value::GeoJson("{}".to_owned()),
        Value::Opaque {
            kind_byte: 9,
            bytes: vec![0x80, 2],
        },
        nested,
        Value::List(ordered_list),
        Value::Map(ordered_map),
        Value::from("long".repeat(70)),
    ];
    values
        .into_iter()
        .enumerate()
        .map(|(index, value)| (format!("bin{index}"), value))
        .collect()
}

/// A content of so many small bins whose names do not stand in order.
pub(crate) fn many_bins(bin_count: u32) -> Vec<u8> {
    let bins: Model = (0..bin_count)
        .map(|index| (scattered_name(index), 7.into()))
        .collect();
    builder_of(&bins).finish_content().unwrap()
}

/// Distinct names in no order: multiplication by an odd number permutes the 32-bit integers.
pub(crate) fn scattered_name(index: u32) -> String {
    format!("n{:08x}", index.wrapping_mul(0x9e37_79b1))
}

pub(crate) fn builder_of(model: &[(String, Value)]) -> ContentBuilder {
    model
        .iter()
        .fold(ContentBuilder::new(), |builder, (name, value)| {
            builder.bin(name.clone(), value.clone())
        })
}

/// The encoding by the book: for bins given as kind and bytes.
pub(crate) fn encode_by_the_book(key: Option<KeyRef<'_>>, bins: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let length = |length: usize| match length {
        0..=254 => vec![u8::try_from(length).unwrap()],
        _ => [&[255], &u32::try_from(length).unwrap().to_le_bytes()[..]].concat(),
    };
    let count = u16::try_from(bins.len()).unwrap();
    let mut bytes = vec![1, key.map_or(0, |key| key.kind().to_byte())];
    bytes.extend(count.to_le_bytes());
    if let Some(key) = key {
        if key.kind().to_byte() > 2 {
            bytes.extend(length(key.as_bytes().len()));
        }
        bytes.extend(key.as_bytes());
    }
    let mut offsets = Vec::new();
    for (name, kind, value) in bins {
        offsets.push(u32::try_from(bytes.len()).unwrap());
        bytes.extend([*kind, u8::try_from(name.len()).unwrap()]);
        if ![0, 1, 2, 17].contains(kind) {
            bytes.extend(length(value.len()));
        }
        bytes.extend(name.as_bytes());
        bytes.extend(*value);
    }
    if bins.len() > 64 {
        bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
        let mut by_name: Vec<u16> = (0..count).collect();
        by_name.sort_by_key(|ordinal| bins[usize::from(*ordinal)].0.as_bytes());
        bytes.extend(by_name.iter().flat_map(|ordinal| ordinal.to_le_bytes()));
    }
    bytes
}

/// Any value that a bin can hold.
pub(crate) fn bin_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => scalars(),
        1 => elements().prop_filter("a list or map", |value| {
            matches!(value, Value::List(_) | Value::Map(_))
        }),
    ]
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (-300_i64..300).prop_map(Value::Integer),
        // NaN is not equal to itself, so a comparison of values would be none.
        any::<f64>()
            .prop_filter("a number", |number| !number.is_nan())
            .prop_map(Value::Double),
        any::<String>().prop_map(Value::String),
        "[a-z]{250,260}".prop_map(Value::String),
        any::<Vec<u8>>().prop_map(Value::Bytes),
        any::<Vec<u8>>().prop_map(Value::HyperLogLog),
        any::<String>().prop_map(Value::GeoJson),
        (
            prop::sample::select(vec![7_u8, 8, 9, 10, 11, 12, 16]),
            any::<Vec<u8>>()
        )
            .prop_map(|(kind_byte, bytes)| Value::Opaque { kind_byte, bytes }),
    ]
}

/// Any value that can stand inside a list or map.
pub(crate) fn elements() -> impl Strategy<Value = Value> {
    let leaves = prop_oneof![
        6 => scalars(),
        1 => Just(Value::Nil),
        1 => (1_u64 << 63..=u64::MAX).prop_map(Value::Unsigned),
        // Two bytes and more: one is a wildcard, none is an order.
        1 => (any::<i8>(), prop::collection::vec(any::<u8>(), 2..20))
            .prop_map(|(kind, data)| Value::Extension { kind, data }),
    ];
    leaves.prop_recursive(4, 40, 20, |inner| {
        let pairs = prop::collection::vec((inner.clone(), inner.clone()), 0..20);
        prop_oneof![
            (orders(), prop::collection::vec(inner, 0..20))
                .prop_map(|(order, items)| Value::List(List { order, items })),
            (orders(), pairs).prop_map(|(order, pairs)| Value::Map(Map { order, pairs })),
        ]
    })
}

fn orders() -> impl Strategy<Value = Option<OrderFlags>> {
    prop::option::of(any::<u8>().prop_map(OrderFlags::from_bits))
}

pub(crate) fn keys() -> impl Strategy<Value = Option<Key>> {
    prop::option::of(prop_oneof![
        any::<i64>().prop_map(Key::Integer),
        any::<f64>().prop_map(Key::Double),
        any::<String>().prop_map(Key::String),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Key::Bytes),
    ])
}

/// Bins with distinct names, on either side of the bound above which there is a directory.
pub(crate) fn models() -> impl Strategy<Value = Model> {
    prop_oneof![
        3 => named("[a-h]{1,2}", 0..12),
        1 => named("[^\0]{1,60}", 0..6),
        1 => named("[a-z]{1,3}", 60..90),
    ]
}

fn named(pattern: &'static str, bin_count: std::ops::Range<usize>) -> impl Strategy<Value = Model> {
    prop::collection::vec((pattern, bin_values()), bin_count).prop_map(|mut bins| {
        let mut seen = std::collections::HashSet::new();
        bins.retain(|(name, _)| seen.insert(name.clone()));
        bins
    })
}
