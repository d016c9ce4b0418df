//! Files of rows: each row becomes a key and the encoded bins of one record. Both formats share what
//! a [`RowPlan`] says; neither holds more than a row in memory.
//!
//! A row that cannot become a record is a [`RowFault`] and the next one follows; only a file that
//! cannot be read ends the reading. Rows are numbered from 0 in the order of the file, headers and
//! empty lines not counted, faulty rows counted.

mod csv_rows;
mod json_rows;

use std::collections::HashMap;
use std::io::BufRead;

use corelith_record::{
    BinError, BinName, BinValue, CompositeError, ContentError, ContentWriter, Key, Kind, NameError,
    Value, ValueError, join_columns,
};

use crate::cell::Cell;
use crate::given_type::{GivenType, TypeMismatch};
use crate::key_text::{KeyTextError, KeyType};

pub use csv_rows::{CsvForm, CsvRows};
pub use json_rows::JsonRows;

/// What becomes of the columns of each row.
#[derive(Clone, Debug)]
pub struct RowPlan {
    /// The columns that are the key, in their order; several are joined into one string.
    pub key_columns: Vec<String>,
    /// What the text of a single key column stands for.
    pub key_type: KeyType,
    /// Types of columns that are not inferred.
    pub types: HashMap<String, GivenType>,
    /// Texts that stand for "no value": such a column becomes no bin.
    pub nulls: Vec<String>,
    /// Whether the key's columns become bins as well.
    pub key_bins: bool,
    /// Whether the key is kept with the record.
    pub store_key: bool,
}

/// One row as it goes to the node. Used again for the next, so that a row allocates next to nothing.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its place in the file, from 0.
    pub number: u64,
    /// The record's key.
    pub key: Key,
    /// The record's bins, and its key if it is to be kept, as an update.
    pub content: Vec<u8>,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            number: 0,
            key: Key::Integer(0),
            content: Vec::new(),
        }
    }
}

/// What came next in a file.
#[derive(Debug)]
pub enum Next {
    /// A row; it is in the place that was given.
    Row,
    /// A row that cannot become a record.
    Fault(RowFault),
    /// Nothing.
    End,
}

/// A row that cannot become a record.
#[derive(Debug, thiserror::Error)]
#[error("row {number}: {reason}")]
pub struct RowFault {
    /// Its place in the file, from 0.
    pub number: u64,
    /// Why.
    pub reason: RowError,
}

/// Why a row cannot become a record.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// More or fewer cells than columns.
    #[error("{found} cells where there are {expected} columns")]
    CellCount {
        /// In the header.
        expected: usize,
        /// In the row.
        found: usize,
    },
    /// A line that is no JSON object of our kind.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Text that is not UTF-8.
    #[error("byte {valid_up_to} of the row is not UTF-8")]
    NotUtf8 {
        /// Where it begins.
        valid_up_to: usize,
    },
    /// The one column of the key is not there, or stands for "no value".
    #[error("the key column {column:?} has no value")]
    NoKey {
        /// Which.
        column: String,
    },
    /// A key column holds a list, a map or the like.
    #[error("the key column {column:?} is neither text nor number")]
    KeyShape {
        /// Which.
        column: String,
    },
    /// The key's text is not of its type.
    #[error(transparent)]
    Key(#[from] KeyTextError),
    /// The key's columns cannot be joined.
    #[error(transparent)]
    Composite(#[from] CompositeError),
    /// A cell is not of the type given for its column.
    #[error("column {column:?}: {mismatch}")]
    Type {
        /// Which.
        column: String,
        /// How.
        mismatch: TypeMismatch,
    },
    /// A column's name cannot be a bin's.
    #[error("the name {name:?} cannot be a bin's: {error}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        error: NameError,
    },
    /// The record as a whole breaks a rule.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// A file that cannot be read further, or not at all.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The system said so.
    #[error("the input cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The CSV reader said so.
    #[error("the input cannot be read as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// A column of the key or of a type is not in the header.
    #[error("there is no column {column:?} among {columns}")]
    NoColumn {
        /// The one asked for.
        column: String,
        /// Those that are there.
        columns: String,
    },
    /// Two columns of one name.
    #[error("the column {column:?} comes twice")]
    Twice {
        /// The name.
        column: String,
    },
    /// A column's name cannot be a bin's.
    #[error("the column {column:?} cannot be a bin: {error}")]
    Name {
        /// The name.
        column: String,
        /// Why.
        error: NameError,
    },
}

/// A file of either format.
pub enum Rows {
    /// Comma-separated values with a header.
    Csv(CsvRows<Box<dyn BufRead>>),
    /// One JSON object a line.
    Json(JsonRows<Box<dyn BufRead>>),
}

impl Rows {
    /// Reads the next row into `row`.
    ///
    /// # Errors
    /// [`RowsError`] when the file cannot be read further.
    pub fn next(&mut self, row: &mut Row) -> Result<Next, RowsError> {
        match self {
            Self::Csv(rows) => rows.next(row),
            Self::Json(rows) => rows.next(row),
        }
    }

    /// Passes over `count` rows, or as many as there are.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn skip(&mut self, count: u64) -> Result<(), RowsError> {
        match self {
            Self::Csv(rows) => rows.skip(count),
            Self::Json(rows) => rows.skip(count),
        }
    }
}

impl RowPlan {
    fn is_null(&self, text: &str) -> bool {
        self.nulls.iter().any(|null| null == text)
    }

    fn is_composite(&self) -> bool {
        self.key_columns.len() > 1
    }

    fn is_key(&self, column: &str) -> bool {
        self.key_columns.iter().any(|key| key == column)
    }

    /// Puts the key that these texts are into `key`, using its memory again. `None` is "no value".
    fn set_key(&self, columns: &[Option<&str>], key: &mut Key) -> Result<(), RowError> {
        if self.is_composite() {
            *key = Key::String(join_columns(columns)?);
            return Ok(());
        }
        let Some(text) = columns.first().copied().flatten() else {
            return Err(RowError::NoKey {
                column: self.key_columns.first().cloned().unwrap_or_default(),
            });
        };
        match (self.key_type, key) {
            (KeyType::String, Key::String(old)) if text.len() <= old.capacity() => {
                old.clear();
                old.push_str(text);
            }
            (key_type, key) => *key = key_type.parse(text)?,
        }
        Ok(())
    }
}

/// Adds a bin whose value is inferred from its text.
fn put_cell(
    writer: &mut ContentWriter<'_>,
    name: BinName<'_>,
    text: &str,
) -> Result<(), ContentError> {
    match Cell::infer(text) {
        Cell::String(text) => put_scalar(writer, name, Kind::String, text.as_bytes()),
        Cell::Integer(number) => put_scalar(writer, name, Kind::Integer, &number.to_be_bytes()),
        Cell::Double(number) => put_scalar(writer, name, Kind::Double, &number.to_be_bytes()),
        Cell::Bool(truth) => put_scalar(writer, name, Kind::Bool, &[u8::from(truth)]),
    }
}

fn put_scalar(
    writer: &mut ContentWriter<'_>,
    name: BinName<'_>,
    kind: Kind,
    bytes: &[u8],
) -> Result<(), ContentError> {
    let value = BinValue::parse(kind.to_byte(), bytes).map_err(|error| in_bin(error, name))?;
    writer.put(name, value)
}

/// An error of a value of our own making: it cannot come, but is no reason to stop a load.
fn in_bin(error: ValueError, _name: BinName<'_>) -> ContentError {
    ContentError::Bin {
        ordinal: 0,
        error: BinError::Value(error),
    }
}

/// Adds a bin of the type given for its column.
fn put_given(
    writer: &mut ContentWriter<'_>,
    name: BinName<'_>,
    given: GivenType,
    text: &str,
) -> Result<(), RowError> {
    if given == GivenType::Auto {
        return Ok(put_cell(writer, name, text)?);
    }
    let value = given.parse(text).map_err(|mismatch| RowError::Type {
        column: name.as_str().to_owned(),
        mismatch,
    })?;
    if value != Value::Nil {
        writer.put_value(name, &value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
