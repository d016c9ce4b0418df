//! Records as lines of CSV: one column for each bin, as text.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use corelith_client::{ScannedRecord, ValueRef};

use crate::arguments::ExportArguments;
use crate::base64;
use crate::failure::{Exit, Failure};
use crate::json::{JsonKey, JsonValue};
use crate::output::unwritable;
use crate::record_json::ttl_s;

/// Names of the columns that --meta adds.
const META_COLUMNS: [&str; 5] = ["@key", "@digest", "@set", "@generation", "@ttl_s"];

/// A CSV file under way.
pub(super) struct CsvFile<W: Write> {
    writer: csv::Writer<W>,
    places: HashMap<String, usize>,
    /// Whether other bins than those of the columns are a fault, or were not asked for.
    is_complete: bool,
    has_meta: bool,
    null: String,
    /// The cells of one line, used again.
    cells: Vec<Option<String>>,
}

/// The bins of several records, in the order of their first appearance.
#[derive(Default)]
pub(super) struct Columns {
    names: Vec<String>,
    seen: HashSet<String>,
}

impl Columns {
    /// Adds the bins of a record.
    pub(super) fn add(&mut self, found: &ScannedRecord) {
        for bin in found.record.content().bins() {
            let name = bin.name();
            if !self.seen.contains(name.as_str()) {
                self.seen.insert(name.as_str().to_owned());
                self.names.push(name.as_str().to_owned());
            }
        }
    }

    /// Their names.
    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

impl<W: Write> CsvFile<W> {
    /// Writes the header.
    pub(super) fn new(
        writer: W,
        columns: Vec<String>,
        arguments: &ExportArguments,
    ) -> Result<Self, Failure> {
        let mut writer = csv::WriterBuilder::new()
            .buffer_capacity(256 << 10)
            .from_writer(writer);
        let meta: &[&str] = if arguments.meta { &META_COLUMNS } else { &[] };
        let header = meta
            .iter()
            .copied()
            .chain(columns.iter().map(String::as_str));
        // A file without a column has no header, and no line.
        if !(columns.is_empty() && meta.is_empty()) {
            writer.write_record(header).map_err(unwritable_csv)?;
        }
        Ok(Self {
            writer,
            cells: vec![None; columns.len()],
            places: columns.into_iter().zip(0..).collect(),
            is_complete: arguments.columns.is_empty(),
            has_meta: arguments.meta,
            null: arguments.null.clone(),
        })
    }

    /// Writes a record.
    pub(super) fn write(&mut self, found: &ScannedRecord) -> Result<(), Failure> {
        self.cells.fill(None);
        for bin in found.record.content().bins() {
            let name = bin.name();
            match self.places.get(name.as_str()) {
                Some(place) => self.cells[*place] = Some(text_of(bin.value().decode())),
                None if self.is_complete => return Err(appeared(name.as_str())),
                None => {}
            }
        }
        if self.has_meta {
            for cell in meta_of(found) {
                self.writer.write_field(cell).map_err(unwritable_csv)?;
            }
        }
        if self.cells.is_empty() && !self.has_meta {
            return Ok(());
        }
        for cell in &self.cells {
            let cell = cell.as_deref().unwrap_or(&self.null);
            self.writer.write_field(cell).map_err(unwritable_csv)?;
        }
        self.writer
            .write_record(None::<&[u8]>)
            .map_err(unwritable_csv)
    }

    /// Hands everything on.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| unwritable(&error))
    }
}

/// Text of a value: scalars as they are, bytes as base64, the rest as JSON.
fn text_of(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::String(text) => text.to_owned(),
        ValueRef::GeoJson(text) => text.to_owned(),
        ValueRef::Bytes(bytes) => base64::encode(bytes),
        ValueRef::Double(number) if number.is_nan() => "NaN".to_owned(),
        ValueRef::Double(number) if number.is_infinite() => number.to_string(),
        other => serde_json::to_string(&JsonValue(other)).unwrap_or_default(),
    }
}

fn meta_of(found: &ScannedRecord) -> [String; 5] {
    let key = match found.record.key().map(|key| (key, key.value())) {
        None => String::new(),
        Some((_, corelith_record::KeyValue::String(text))) => text.to_owned(),
        Some((_, corelith_record::KeyValue::Bytes(bytes))) => base64::encode(bytes),
        Some((key, _)) => serde_json::to_string(&JsonKey(key)).unwrap_or_default(),
    };
    [
        key,
        found.digest.to_string(),
        found.set.to_string(),
        found.record.generation().get().to_string(),
        ttl_s(&found.record)
            .map(|seconds| seconds.to_string())
            .unwrap_or_default(),
    ]
}

fn appeared(name: &str) -> Failure {
    Failure::new(
        format!("the bin {name:?} was written while the export was under way"),
        "name the columns with --columns, export JSON lines, or try again",
    )
    .with_exit(Exit::Partial)
}

fn unwritable_csv(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => unwritable(&error),
        other => Failure::from_text(format!("{other:?}")),
    }
}
