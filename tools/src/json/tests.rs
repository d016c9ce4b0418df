//! Values as JSON and back.

use corelith_record::{Content, ContentBuilder, List, Map, OrderFlags, Value};
use proptest::prelude::*;

use super::*;

/// The JSON of a value as a bin of a record holds it.
fn write(value: &Value) -> String {
    let bytes = ContentBuilder::new()
        .bin("b", value.clone())
        .finish_content()
        .unwrap();
    let content = Content::parse(&bytes).unwrap();
    serde_json::to_string(&JsonValue(content.get("b").unwrap().decode())).unwrap()
}

#[track_caller]
fn check(value: Value, json: &str) {
    assert_eq!(write(&value), json);
    assert_eq!(parse(json.as_bytes()).unwrap(), value, "{json}");
}

#[test]
fn the_table() {
    check(Value::Bool(true), "true");
    check(Value::Integer(-5), "-5");
    check(Value::Integer(i64::MIN), "-9223372036854775808");
    check(Value::Double(1.0), "1.0");
    check(Value::Double(1e300), "1e+300");
    check(Value::Double(f64::INFINITY), r#"{"$double":"Infinity"}"#);
    check(
        Value::Double(f64::NEG_INFINITY),
        r#"{"$double":"-Infinity"}"#,
    );
    check(Value::from("a\"b\u{e9}"), "\"a\\\"b\u{e9}\"");
    check(Value::Bytes(b"hello".to_vec()), r#"{"$bytes":"aGVsbG8="}"#);
    check(Value::list(vec![Value::Nil, 1.into()]), "[null,1]");
    check(Value::map(vec![("k".into(), 1.into())]), r#"{"k":1}"#);
    check(Value::map(vec![]), "{}");
    check(Value::GeoJson("{}".to_owned()), r#"{"$geojson":"{}"}"#);
    check(Value::HyperLogLog(vec![0]), r#"{"$hyperloglog":"AA=="}"#);
    let opaque = Value::Opaque {
        kind_byte: 7,
        bytes: vec![0],
    };
    check(opaque, r#"{"$opaque":"AA==","kind":7}"#);
}

#[test]
fn what_exists_only_nested() {
    check(
        Value::list(vec![Value::Unsigned(u64::MAX)]),
        "[18446744073709551615]",
    );
    let extension = Value::Extension {
        kind: -5,
        data: vec![0, 1],
    };
    check(
        Value::list(vec![extension]),
        r#"[{"$extension":"AAE=","kind":-5}]"#,
    );
}

#[test]
fn collections_that_json_has_no_form_for() {
    let pairs = vec![("k".into(), 1.into())];
    let order = Some(OrderFlags::MAP_KEY_ORDERED);
    check(
        Value::Map(Map { order, pairs }),
        r#"{"$map":[["k",1]],"order":1}"#,
    );
    check(
        Value::map(vec![(1.into(), 2.into())]),
        r#"{"$map":[[1,2]]}"#,
    );
    check(
        Value::map(vec![("$x".into(), 2.into())]),
        r#"{"$map":[["$x",2]]}"#,
    );
    let twice = vec![("k".into(), 1.into()), ("k".into(), 2.into())];
    check(Value::map(twice), r#"{"$map":[["k",1],["k",2]]}"#);
    let items = vec![1.into()];
    let order = Some(OrderFlags::LIST_ORDERED);
    check(
        Value::List(List { order, items }),
        r#"{"$list":[1],"order":1}"#,
    );
}

#[test]
fn a_nan_stays_one() {
    assert_eq!(write(&Value::Double(f64::NAN)), r#"{"$double":"NaN"}"#);
    let read = parse(br#"{"$double":"NaN"}"#).unwrap();
    assert!(matches!(read, Value::Double(number) if number.is_nan()));
}

#[test]
fn members_keep_their_order_and_marks_need_not_come_first() {
    let read = parse(br#"{"z":1,"a":2}"#).unwrap();
    assert_eq!(
        read,
        Value::map(vec![("z".into(), 1.into()), ("a".into(), 2.into())])
    );
    let read = parse(br#"{"kind":7,"$opaque":"AA=="}"#).unwrap();
    assert!(matches!(read, Value::Opaque { kind_byte: 7, .. }));
}

#[test]
fn what_is_refused() {
    for (json, words) in [
        ("", "EOF"),
        ("{", "EOF"),
        ("1 2", "trailing"),
        (r#"{"a":1,"a":2}"#, "comes twice"),
        (r#"{"$byte":"AA=="}"#, "$map"),
        (r#"{"$bytes":"AA==","x":1}"#, "$map"),
        (r#"{"$bytes":"AA==","$list":[]}"#, "$map"),
        (r#"{"$bytes":"A"}"#, "base64"),
        (r#"{"$bytes":1}"#, "string"),
        (r#"{"$double":"1"}"#, "NaN"),
        (r#"{"$opaque":"AA=="}"#, "$map"),
        (r#"{"$opaque":"AA==","kind":256}"#, "8 bits"),
        (r#"{"$extension":"AA==","kind":128}"#, "8 bits"),
        (r#"{"$list":1}"#, "array"),
        (r#"{"$map":[[1]]}"#, "key and a value"),
        (r#"{"$map":[1]}"#, "array"),
    ] {
        let error = parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(
        parse(deep.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("recursion")
    );
}

fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        any::<f64>()
            .prop_filter("a NaN is not itself", |n| !n.is_nan())
            .prop_map(Value::Double),
        "[$a-c\u{e9}\"\\\\\n]{0,6}".prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        let flags = prop::option::of(any::<u8>().prop_map(OrderFlags::from_bits));
        let items = prop::collection::vec(inner.clone(), 0..5);
        let key = prop_oneof![inner.clone(), "[$ab]{0,2}".prop_map(Value::String)];
        let pairs = prop::collection::vec((key, inner), 0..5);
        prop_oneof![
            (flags.clone(), items).prop_map(|(order, items)| Value::List(List { order, items })),
            (flags, pairs).prop_map(|(order, pairs)| Value::Map(Map { order, pairs })),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back(value in values()) {
        let json = write(&value);
        prop_assert_eq!(parse(json.as_bytes()).unwrap(), value, "{}", json);
    }
}
