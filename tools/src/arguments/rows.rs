//! `corelith load` and `corelith export`: what they take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use corelith_client::Ttl;

use super::PlaceArguments;
use super::commit::CommitArguments;
use crate::given_type::GivenType;
use crate::key_text::KeyType;
use crate::set_name::parse_set;
use crate::ttl_text::parse_ttl;

/// Formats of files of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum FileFormat {
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// What to load, and how.
#[derive(Args, Debug)]
#[command(
    after_help = "Each row becomes one record and replaces what is there (see --mode). All columns become bins, the key's columns too \
unless --no-key-bins says otherwise. Several key columns are joined into one string key by `|`; `|` and `\\` in a column get \
a `\\` before them, and a column without a value is `\\N`.

Types. In CSV each cell is looked at by itself:
  integer  digits that do not begin with a zero, or 0, with a minus or not, that fit 64 bits: 7, -33
  double   such a number with a point and digits, an exponent, or both: 1.5, -0.0, 1e5
  bool     true, false
  string   everything else: 0123, +1, -0, .5, 1., NaN, 9223372036854775808, TRUE, the empty cell
In JSON lines values keep their types: a number without point and exponent is an integer, null is no bin, bytes are \
{\"$bytes\": \"base64\"} and so on as `corelith export` writes them. --type COLUMN=TYPE overrides both, with the types integer, \
double, bool, string, bytes (base64), hex, json, geojson, auto. The text of a key is that of its cell; in JSON a number is \
taken as it is printed.

Rows are numbered from 0 in the order of the file; headers and empty lines are not counted, --skip does not change the \
numbers. --acknowledged appends the number of each row, one a line, once the node has acknowledged it.

The load stops when the connection is lost, and after --failures-max rows that cannot be loaded. Exit code 2 says that a \
part was loaded; the summary says how many rows were sent, acknowledged, left in doubt and failed.

Examples:
  corelith load flights.csv --set flights --key carrier,flight,time_hour --null NA
  corelith load users.jsonl --key id --key-type integer --store-key --ttl 30d
  zcat big.csv.gz | corelith load - --format csv --key id --type zip=string --json"
)]
pub struct LoadArguments {
    /// The file, or - for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// The columns that are the key.
    #[arg(long, required = true, value_name = "COLUMN,..", value_delimiter = ',')]
    pub key: Vec<String>,

    /// What the text of a single key column stands for. Several columns are always one string.
    #[arg(long, value_name = "TYPE", default_value = "string")]
    pub key_type: KeyType,

    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,

    /// The records' set.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = parse_set)]
    pub set: String,

    /// The file's format [default: by its name: csv, tsv; jsonl, ndjson, json]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FileFormat>,

    /// What stands between the cells of a CSV file: one character, or `tab` [default: a comma; a tab for .tsv]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_delimiter)]
    pub delimiter: Option<u8>,

    /// Names of the columns of a CSV file without a header.
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub columns: Vec<String>,

    /// The type of a column that is not to be inferred; repeat for each.
    #[arg(long = "type", value_name = "COLUMN=TYPE", value_parser = parse_column_type)]
    pub types: Vec<(String, GivenType)>,

    /// A text that stands for "no value": no bin; repeat for several. --null '' makes empty cells no bins.
    #[arg(long = "null", value_name = "TEXT")]
    pub nulls: Vec<String>,

    /// Do not make bins of the key's columns.
    #[arg(long)]
    pub no_key_bins: bool,

    /// Keep the key with each record, so that scans and exports show it.
    #[arg(long)]
    pub store_key: bool,

    /// What to do with a record that is there.
    #[arg(long, value_name = "MODE", default_value = "replace")]
    pub mode: LoadMode,

    /// Time to live: seconds, or with s, m, h, d; `never`, `keep`, or `default` (the namespace's).
    #[arg(long, value_name = "TIME", default_value = "default", value_parser = parse_ttl)]
    pub ttl: Ttl,

    /// When rows are answered.
    #[command(flatten)]
    pub commit: CommitArguments,

    /// Load at most so many rows.
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,

    /// Pass over so many rows first.
    #[arg(long, value_name = "N", default_value = "0")]
    pub skip: u64,

    /// Append the number of each acknowledged row to this file, one a line.
    #[arg(long, value_name = "FILE")]
    pub acknowledged: Option<PathBuf>,

    /// Rows on their way at once.
    #[arg(long, value_name = "N", default_value = "512", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: u32,

    /// Stop after so many rows that cannot be loaded.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub failures_max: u64,
}

/// What a load does with records that are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LoadMode {
    /// The row becomes the whole record.
    Replace,
    /// The row's bins join those of the record.
    Merge,
    /// The row fails.
    CreateOnly,
    /// As merge, and the row fails if there is no record.
    UpdateOnly,
}

/// What to export, and how.
#[derive(Args, Debug)]
#[command(
    after_help = "JSON lines hold every value exactly: one object of bins a record, or with --meta one object with key, digest, set, \
generation, ttl_s and bins. What JSON has no form for is an object with one member that begins with $:
  {\"$bytes\": \"base64\"}  {\"$double\": \"NaN\"}  {\"$geojson\": \"text\"}  {\"$hyperloglog\": \"base64\"}
  {\"$map\": [[key, value], ..]} for maps whose keys are not all plain strings; with \"order\" if one is claimed
  {\"$list\": [..], \"order\": 1} for lists with a claimed order

CSV has one column for each bin that any record has (the namespace is read twice to find them, unless --columns names them). \
Strings, numbers and bools stand as they are, bytes as base64, lists and maps as JSON; a bin that a record lacks is the --null \
text. Types are lost: the string 5 and the integer 5 look alike.

Examples:
  corelith export --set flights --output flights.jsonl
  corelith export --format csv --columns carrier,flight,dep_delay --null NA > delays.csv"
)]
pub struct ExportArguments {
    /// Node and namespace.
    #[command(flatten)]
    pub place: PlaceArguments,

    /// Only records of this set; the empty name is for records without one.
    #[arg(long, value_name = "NAME", value_parser = parse_set)]
    pub set: Option<String>,

    /// The format.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    pub format: FileFormat,

    /// The file; it appears when the export is complete [default: standard output, as for `-`]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Key, digest, set, generation and time to live as well. In CSV: columns @key, @digest and so on.
    #[arg(long)]
    pub meta: bool,

    /// Only these bins; in CSV in this order.
    #[arg(
        long,
        value_name = "BIN,..",
        value_delimiter = ',',
        visible_alias = "bins"
    )]
    pub columns: Vec<String>,

    /// CSV: what stands for a bin that a record does not have.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub null: String,
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [character] if !matches!(character, b'"' | b'\n' | b'\r') => Ok(*character),
        _ => Err("write one ASCII character, or tab".to_owned()),
    }
}

fn parse_column_type(text: &str) -> Result<(String, GivenType), String> {
    let Some((column, name)) = text.rsplit_once('=') else {
        return Err("write COLUMN=TYPE".to_owned());
    };
    match GivenType::from_name(name) {
        Some(given) => Ok((column.to_owned(), given)),
        None => Err(format!(
            "there is no type {name:?}{}; the types are {}",
            GivenType::nearest_name(name),
            GivenType::all_names()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters() {
        assert_eq!(parse_delimiter(";"), Ok(b';'));
        assert_eq!(parse_delimiter("tab"), Ok(b'\t'));
        for text in ["", ";;", "\"", "\n", "\u{e9}"] {
            assert!(parse_delimiter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn types_of_columns() {
        assert_eq!(
            parse_column_type("a=b=string"),
            Ok(("a=b".to_owned(), GivenType::String))
        );
        assert!(parse_column_type("a").is_err());
        assert!(parse_column_type("a=int").unwrap_err().contains("integer"));
    }
}
