//! Rows of both formats: what becomes of keys, cells, nulls, types and faults.

use corelith_record::{Content, Update};

use super::*;

fn plan(key: &[&str]) -> RowPlan {
    RowPlan {
        key_columns: key.iter().map(|name| (*name).to_owned()).collect(),
        key_type: KeyType::String,
        types: HashMap::new(),
        nulls: vec!["NA".to_owned()],
        key_bins: true,
        store_key: false,
    }
}

fn form() -> csv_rows::CsvForm {
    csv_rows::CsvForm {
        delimiter: b',',
        columns: None,
    }
}

fn csv(text: &str, plan: RowPlan) -> Result<Rows, RowsError> {
    let input: Box<dyn BufRead> = Box::new(std::io::Cursor::new(text.as_bytes().to_vec()));
    CsvRows::new(input, plan, form()).map(Rows::Csv)
}

fn json(text: &str, plan: RowPlan) -> Rows {
    let input: Box<dyn BufRead> = Box::new(std::io::Cursor::new(text.as_bytes().to_vec()));
    Rows::Json(JsonRows::new(input, plan))
}

/// What all rows become, in words: "number key bins", or the fault.
fn read(mut rows: Rows) -> Vec<String> {
    let mut row = Row::default();
    let mut found = Vec::new();
    loop {
        match rows.next(&mut row).unwrap() {
            Next::Row => {
                let update = Update::parse(&row.content).unwrap();
                let content: Content<'_> = update.as_content().unwrap();
                found.push(format!("{} {:?} {content}", row.number, row.key));
            }
            Next::Fault(fault) => found.push(fault.to_string()),
            Next::End => return found,
        }
    }
}

#[track_caller]
fn check(rows: Rows, expected: &[&str]) {
    assert_eq!(read(rows), expected);
}

const FLIGHTS: &str = "\
year,carrier,flight,tailnum,delay,time_hour
2013,UA,1545,N14228,2,2013-01-01T10:00:00Z
2013,9E,3538,NA,-1.5,2013-01-01T10:00:00Z
";

#[test]
fn csv_with_a_composite_key() {
    check(
        csv(FLIGHTS, plan(&["carrier", "flight", "time_hour"])).unwrap(),
        &[
            r#"0 "UA|1545|2013-01-01T10:00:00Z" {"year": 2013, "carrier": "UA", "flight": 1545, "tailnum": "N14228", "delay": 2, "time_hour": "2013-01-01T10:00:00Z"}"#,
            r#"1 "9E|3538|2013-01-01T10:00:00Z" {"year": 2013, "carrier": "9E", "flight": 3538, "delay": -1.5, "time_hour": "2013-01-01T10:00:00Z"}"#,
        ],
    );
}

#[test]
fn the_same_rows_as_json_lines() {
    let text = r#"
{"year": 2013, "carrier": "UA", "flight": 1545, "tailnum": "N14228", "delay": 2, "time_hour": "2013-01-01T10:00:00Z"}

{"year": 2013, "carrier": "9E", "flight": 3538, "tailnum": "NA", "delay": -1.5, "time_hour": "2013-01-01T10:00:00Z"}
"#;
    let key = ["carrier", "flight", "time_hour"];
    let expected = read(csv(FLIGHTS, plan(&key)).unwrap());
    assert_eq!(read(json(text, plan(&key))), expected);
}

#[test]
fn key_columns_without_bins_and_keys_that_are_kept() {
    let mut plan = plan(&["id"]);
    plan.key_bins = false;
    plan.store_key = true;
    plan.key_type = KeyType::Integer;
    let expected = [r#"0 7 7 {"a": 1}"#, r#"1 8 8 {}"#];
    check(csv("id,a\n7,1\n8,NA\n", plan.clone()).unwrap(), &expected);
    check(json("{\"id\":7,\"a\":1}\n{\"id\":\"8\"}", plan), &expected);
}

#[test]
fn types_that_are_given() {
    let mut plan = plan(&["k"]);
    for (column, given) in [
        ("i", GivenType::Integer),
        ("s", GivenType::String),
        ("d", GivenType::Double),
        ("j", GivenType::Json),
        ("b", GivenType::Bytes),
    ] {
        plan.types.insert(column.to_owned(), given);
    }
    let expected = [
        r#"0 "a" {"k": "a", "i": 7, "s": "7", "d": 7.0, "j": [1, {"x": 2}], "b": 0x0001}"#,
        r#"row 1: column "i": "x" is not of the type integer"#,
    ];
    let text = "k,i,s,d,j,b\na,007,7,7,\"[1,{\"\"x\"\":2}]\",AAE=\nb,x,,1,null,\n";
    check(csv(text, plan.clone()).unwrap(), &expected);
    let text = "{\"k\":\"a\",\"i\":\"007\",\"s\":7,\"d\":7,\"j\":[1,{\"x\":2}],\"b\":\"AAE=\"}\n\
                {\"k\":\"b\",\"i\":\"x\"}";
    check(json(text, plan), &expected);
}

#[test]
fn a_bad_row_does_not_stop_the_next() {
    check(
        csv("k,a\nx\ny,1,2\n,\"\"\nNA,1\nz,3\n", plan(&["k"])).unwrap(),
        &[
            "row 0: 1 cells where there are 2 columns",
            "row 1: 3 cells where there are 2 columns",
            r#"2 "" {"k": "", "a": ""}"#,
            r#"row 3: the key column "k" has no value"#,
            r#"4 "z" {"k": "z", "a": 3}"#,
        ],
    );
    let found = read(json(
        "{\"k\":1,\"a\":1}\n[1]\n{\"k\"\n{\"a\":1}\n{\"k\":[1]}\n{\"k\":1,\"a\":1,\"a\":2}\n\
         {\"k\":1,\"a\":18446744073709551615}\n{\"k\":1.5,\"a\":{\"$bytes\":\"AA==\"}}",
        plan(&["k"]),
    ));
    for (line, words) in found.iter().zip([
        r#"0 "1" {"k": 1, "a": 1}"#,
        "row 1: invalid type: sequence, expected a JSON object",
        "row 2: EOF",
        r#"row 3: the key column "k" has no value"#,
        r#"row 4: the key column "k" is neither text nor number"#,
        "row 5: ",
        "row 6: ",
        r#"7 "1.5" {"k": 1.5, "a": 0x00}"#,
    ]) {
        assert!(
            line.starts_with(words),
            "{line} does not begin with {words}"
        );
    }
    assert_eq!(found.len(), 8);
}

#[test]
fn text_that_is_not_utf_8_is_a_fault_of_its_row() {
    let input: Box<dyn BufRead> = Box::new(&b"k\n\xff\nb\n"[..]);
    let rows = CsvRows::new(input, plan(&["k"]), form())
        .map(Rows::Csv)
        .unwrap();
    check(
        rows,
        &[
            "row 0: byte 0 of the row is not UTF-8",
            r#"1 "b" {"k": "b"}"#,
        ],
    );
    let input: Box<dyn BufRead> = Box::new(&b"{\"k\":\"\xff\"}\n{\"k\":\"b\"}"[..]);
    let rows = Rows::Json(JsonRows::new(input, plan(&["k"])));
    check(
        rows,
        &[
            "row 0: byte 6 of the row is not UTF-8",
            r#"1 "b" {"k": "b"}"#,
        ],
    );
}

#[test]
fn nulls_in_a_composite_key_and_separators_in_its_columns() {
    check(
        csv("a,b\nx|y,NA\nNA,NA\n", plan(&["a", "b"])).unwrap(),
        &[r#"0 "x\\|y|\\N" {"a": "x|y"}"#, r#"1 "\\N|\\N" {}"#],
    );
}

#[test]
fn skipped_rows_keep_their_numbers() {
    let mut rows = csv("k\na\nb\nc\n", plan(&["k"])).unwrap();
    rows.skip(2).unwrap();
    check(rows, &[r#"2 "c" {"k": "c"}"#]);
    let mut rows = json("{\"k\":1}\n\n{\"k\":2}\n", plan(&["k"]));
    rows.skip(1).unwrap();
    check(rows, &[r#"1 "2" {"k": 2}"#]);
    let mut rows = csv("k\na\n", plan(&["k"])).unwrap();
    rows.skip(9).unwrap();
    check(rows, &[]);
}

#[test]
fn the_form_of_a_csv_file() {
    let input: Box<dyn BufRead> = Box::new(&b"1;\"a;\"\"b\nc\"\n2;x\r\n"[..]);
    let form = csv_rows::CsvForm {
        delimiter: b';',
        columns: Some(vec!["k".to_owned(), "t".to_owned()]),
    };
    check(
        CsvRows::new(input, plan(&["k"]), form)
            .map(Rows::Csv)
            .unwrap(),
        &[
            r#"0 "1" {"k": 1, "t": "a;\"b\nc"}"#,
            r#"1 "2" {"k": 2, "t": "x"}"#,
        ],
    );
    // The mark of byte order that spreadsheets write is no part of the first name.
    check(
        csv("\u{feff}k\na\n", plan(&["k"])).unwrap(),
        &[r#"0 "a" {"k": "a"}"#],
    );
}

#[test]
fn headers_that_cannot_be() {
    for (text, key, words) in [
        ("a,b\n", "k", r#"no column "k" among a, b"#),
        ("a,a\n", "a", r#""a" comes twice"#),
        ("a,\n", "a", "cannot be a bin"),
        ("", "a", "no column \"a\""),
    ] {
        let Err(error) = csv(text, plan(&[key])) else {
            panic!("{text:?} was taken")
        };
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut wrong = plan(&["a"]);
    wrong.types.insert("b".to_owned(), GivenType::String);
    assert!(csv("a\n", wrong).is_err());
}

#[test]
fn a_row_used_again_holds_nothing_of_the_last() {
    let mut rows = csv("k,a\nlonger key,1\nb,NA\n", plan(&["k"])).unwrap();
    let mut row = Row {
        key: Key::String("previous".to_owned()),
        ..Row::default()
    };
    assert!(matches!(rows.next(&mut row).unwrap(), Next::Row));
    assert!(matches!(rows.next(&mut row).unwrap(), Next::Row));
    assert_eq!(row.key, Key::from("b"));
    let update = Update::parse(&row.content).unwrap();
    assert_eq!(update.as_content().unwrap().to_string(), r#"{"k": "b"}"#);
}
