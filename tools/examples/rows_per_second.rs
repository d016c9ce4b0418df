//! How fast a file of rows becomes keys and encoded bins on one core, without a node:
//! `cargo run --release -p corelith-tools --example rows_per_second -- FILE KEY,COLUMNS [NULL]`.

use std::collections::HashMap;
use std::io::BufRead;

use corelith_tools::key_text::KeyType;
use corelith_tools::rows::{CsvForm, CsvRows, JsonRows, Next, Row, RowPlan, Rows};

const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (path, key) = match arguments.as_slice() {
        [path, key, ..] => (path, key),
        _ => return Err("give a file and its key's columns".into()),
    };
    let plan = RowPlan {
        key_columns: key.split(',').map(str::to_owned).collect(),
        key_type: KeyType::String,
        types: HashMap::new(),
        nulls: arguments.get(2).cloned().into_iter().collect(),
        key_bins: true,
        store_key: false,
    };
    let text = std::fs::read(path)?;
    for _ in 0..RUNS {
        let input: Box<dyn BufRead> = Box::new(std::io::Cursor::new(text.clone()));
        let mut rows = if path.ends_with(".csv") {
            let form = CsvForm {
                delimiter: b',',
                columns: None,
            };
            Rows::Csv(CsvRows::new(input, plan.clone(), form)?)
        } else {
            Rows::Json(JsonRows::new(input, plan.clone()))
        };
        let clock = corelith_io::Clock::real();
        let start_ns = clock.monotonic_ns();
        let (mut row, mut row_count, mut fault_count, mut bytes) = (Row::default(), 0, 0, 0);
        loop {
            match rows.next(&mut row)? {
                Next::Row => row_count += 1,
                Next::Fault(_) => fault_count += 1,
                Next::End => break,
            }
            bytes += row.content.len();
        }
        let seconds = (clock.monotonic_ns() - start_ns) as f64 / 1e9;
        let rate = f64::from(row_count) / seconds;
        println!("{row_count} rows, {fault_count} faults, {bytes} bytes: {rate:.0} rows/s");
    }
    Ok(())
}
