//! Add, append, prepend and write on one bin.

use corelith_record::{
    BinName, BinValue, Content, ContentBuilder, Edit, EditError, Operation, Value, edit,
};

#[derive(Clone, Copy, Debug)]
enum Change {
    Write,
    Add,
    Append,
    Prepend,
}

/// Edits bin `b`, which holds `old` (nil: there is none), between two others.
fn run(change: Change, old: &Value, operand: &Value) -> Result<Value, EditError> {
    let mut builder = ContentBuilder::new().key("key").bin("a", 1);
    if *old != Value::Nil {
        builder = builder.bin("b", old.clone());
    }
    let bytes = builder.bin("c", 3).finish_content().unwrap();
    let content = Content::parse(&bytes).unwrap();
    let operand = ContentBuilder::new()
        .bin("b", operand.clone())
        .finish_update()
        .unwrap();
    let operand = corelith_record::Update::parse(&operand)
        .unwrap()
        .bins()
        .get("b")
        .unwrap();
    let change = match change {
        Change::Write => Edit::Write(operand),
        Change::Add => Edit::Add(operand),
        Change::Append => Edit::Append(operand),
        Change::Prepend => Edit::Prepend(operand),
    };
    let mut out = b"before".to_vec();
    let result = edit(&content, BinName::new("b").unwrap(), change, &mut out);
    if result.is_err() {
        assert_eq!(out, b"before");
    }
    let bin_count = result?;
    let edited = Content::parse(&out[6..]).unwrap();
    assert_eq!(edited.key(), content.key());
    assert_eq!(edited.bins().len(), bin_count);
    assert_eq!(
        (edited.get("a"), edited.get("c")),
        (content.get("a"), content.get("c"))
    );
    let names: Vec<&str> = edited
        .bins()
        .iter()
        .map(|bin| bin.name().as_str())
        .collect();
    match (old, edited.get("b")) {
        (Value::Nil, Some(_)) => assert_eq!(names, ["a", "c", "b"]),
        (_, Some(_)) => assert_eq!(names, ["a", "b", "c"]),
        (_, None) => assert_eq!(names, ["a", "c"]),
    }
    Ok(edited
        .get("b")
        .map_or(Value::Nil, |value| value.decode().to_value()))
}

#[track_caller]
fn check(change: Change, old: impl Into<Value>, operand: impl Into<Value>, new: impl Into<Value>) {
    assert_eq!(run(change, &old.into(), &operand.into()), Ok(new.into()));
}

#[test]
fn additions() {
    check(Change::Add, 5, -7, -2);
    check(Change::Add, i64::MAX, 1, i64::MIN);
    check(Change::Add, i64::MIN, -1, i64::MAX);
    check(Change::Add, 0.5, 0.25, 0.75);
    check(Change::Add, f64::MAX, f64::MAX, f64::INFINITY);
    check(Change::Add, Value::Nil, 5, 5);
    check(Change::Add, Value::Nil, 0.5, 0.5);
}

#[test]
fn joins() {
    check(Change::Append, "ab", "cd", "abcd");
    check(Change::Prepend, "ab", "cd", "cdab");
    check(Change::Append, vec![1], vec![2, 3], vec![1, 2, 3]);
    check(Change::Prepend, vec![1], vec![2, 3], vec![2, 3, 1]);
    check(Change::Append, Value::Nil, "cd", "cd");
    check(Change::Prepend, Value::Nil, vec![1], vec![1]);
    // Across the edge between the two forms of a length.
    check(
        Change::Append,
        "x".repeat(254),
        "y",
        format!("{}y", "x".repeat(254)),
    );
    let python = |bytes: &[u8]| Value::Opaque {
        kind_byte: 9,
        bytes: bytes.to_vec(),
    };
    check(Change::Append, python(&[1]), python(&[2]), python(&[1, 2]));
}

#[test]
fn writes() {
    check(Change::Write, 5, "text", "text");
    check(Change::Write, Value::Nil, 5, 5);
    check(Change::Write, 5, Value::Nil, Value::Nil);
    check(Change::Write, Value::Nil, Value::Nil, Value::Nil);
}

#[track_caller]
fn check_refused(change: Change, old: impl Into<Value>, operand: impl Into<Value>) {
    let (old, operand) = (old.into(), operand.into());
    let expected = EditError::WrongKind {
        operation: match change {
            Change::Add => Operation::Add,
            Change::Append => Operation::Append,
            Change::Prepend => Operation::Prepend,
            Change::Write => panic!("any value can be written"),
        },
        bin: old.kind().unwrap(),
        operand: operand.kind().unwrap(),
    };
    assert_eq!(run(change, &old, &operand), Err(expected));
}

#[test]
fn unlike_kinds_are_refused() {
    check_refused(Change::Add, 1, 0.5);
    check_refused(Change::Add, 0.5, 1);
    check_refused(Change::Add, "1", 1);
    check_refused(Change::Add, 1, "1");
    check_refused(Change::Add, Value::Nil, "1");
    check_refused(Change::Add, Value::Nil, Value::Nil);
    check_refused(Change::Add, 1, Value::Nil);
    check_refused(Change::Append, "a", vec![1]);
    check_refused(Change::Append, vec![1], "a");
    check_refused(Change::Append, Value::list(vec![]), Value::list(vec![]));
    check_refused(Change::Prepend, 1, "a");
    check_refused(Change::Prepend, Value::Nil, 1);
    check_refused(Change::Prepend, "a", Value::Nil);
    let blob = |kind_byte| Value::Opaque {
        kind_byte,
        bytes: vec![1],
    };
    check_refused(Change::Append, blob(9), blob(7));
    check_refused(Change::Append, blob(16), blob(16));
}

#[test]
fn the_last_bin_leaves_none() {
    let bytes = ContentBuilder::new().bin("b", 1).finish_content().unwrap();
    let content = Content::parse(&bytes).unwrap();
    let mut out = Vec::new();
    let name = BinName::new("b").unwrap();
    assert_eq!(
        edit(&content, name, Edit::Write(BinValue::NIL), &mut out),
        Ok(0)
    );
    assert_eq!(out, Content::EMPTY_BYTES);
    let one = BinValue::parse(1, &[0, 0, 0, 0, 0, 0, 0, 1]).unwrap();
    let mut out = Vec::new();
    assert_eq!(
        edit(&Content::empty(), name, Edit::Add(one), &mut out),
        Ok(1)
    );
    assert_eq!(out, bytes);
}
