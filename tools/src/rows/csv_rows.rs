//! Rows of a CSV file (RFC 4180: quotes, doubled quotes, line breaks in quotes), whose first line
//! names the columns unless the caller does.

use std::collections::HashSet;
use std::io::Read;

use corelith_record::{BinName, ContentWriter};
use csv::StringRecord;

use super::{Next, Row, RowError, RowFault, RowPlan, RowsError, put_given};
use crate::given_type::GivenType;

/// How a CSV file is written.
#[derive(Clone, Debug)]
pub struct CsvForm {
    /// What stands between cells.
    pub delimiter: u8,
    /// The columns' names where the file has no header.
    pub columns: Option<Vec<String>>,
}

/// The reader.
pub struct CsvRows<R> {
    reader: csv::Reader<R>,
    record: StringRecord,
    columns: Vec<Column>,
    /// Places of the key's columns.
    key_places: Vec<usize>,
    plan: RowPlan,
    next_number: u64,
}

struct Column {
    name: String,
    given: GivenType,
    is_bin: bool,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`RowsError`] for a header that cannot be read or does not have what the plan asks for.
    pub fn new(input: R, plan: RowPlan, form: CsvForm) -> Result<Self, RowsError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(form.columns.is_none())
            .delimiter(form.delimiter)
            .flexible(true)
            .buffer_capacity(256 << 10)
            .from_reader(input);
        let names = match form.columns {
            Some(names) => names,
            None => reader.headers()?.iter().map(str::to_owned).collect(),
        };
        let key_places = check(&names, &plan)?;
        let columns = names.into_iter().map(|name| Column {
            given: plan.types.get(&name).copied().unwrap_or_default(),
            is_bin: plan.key_bins || !plan.is_key(&name),
            name,
        });
        Ok(Self {
            columns: columns.collect(),
            reader,
            record: StringRecord::new(),
            key_places,
            plan,
            next_number: 0,
        })
    }

    /// As [`Rows::next`](super::Rows::next).
    ///
    /// # Errors
    /// [`RowsError`] when the file cannot be read further.
    pub fn next(&mut self, row: &mut Row) -> Result<Next, RowsError> {
        let number = self.next_number;
        let fault = |reason| Ok(Next::Fault(RowFault { number, reason }));
        match self.reader.read_record(&mut self.record) {
            Ok(false) => return Ok(Next::End),
            Ok(true) => self.next_number += 1,
            Err(error) => {
                let csv::ErrorKind::Utf8 { err, .. } = error.kind() else {
                    return Err(error.into());
                };
                self.next_number += 1;
                let valid_up_to = err.valid_up_to();
                return fault(RowError::NotUtf8 { valid_up_to });
            }
        }
        row.number = number;
        match self.fill(row) {
            Ok(()) => Ok(Next::Row),
            Err(reason) => fault(reason),
        }
    }

    /// As [`Rows::skip`](super::Rows::skip).
    ///
    /// # Errors
    /// [`RowsError`] when the file cannot be read further.
    pub fn skip(&mut self, count: u64) -> Result<(), RowsError> {
        let mut record = csv::ByteRecord::new();
        for _ in 0..count {
            if !self.reader.read_byte_record(&mut record)? {
                break;
            }
            self.next_number += 1;
        }
        Ok(())
    }

    fn fill(&self, row: &mut Row) -> Result<(), RowError> {
        let (expected, found) = (self.columns.len(), self.record.len());
        if expected != found {
            return Err(RowError::CellCount { expected, found });
        }
        self.fill_key(row)?;
        row.content.clear();
        let key = self
            .plan
            .store_key
            .then(|| row.key.as_key_ref())
            .transpose();
        let key = key.map_err(crate::key_text::KeyTextError::from)?;
        let mut writer = ContentWriter::new(&mut row.content, key);
        for (column, text) in self.columns.iter().zip(&self.record) {
            if !column.is_bin || self.plan.is_null(text) {
                continue;
            }
            let name = BinName::new(&column.name).map_err(|error| RowError::Name {
                name: column.name.clone(),
                error,
            })?;
            put_given(&mut writer, name, column.given, text)?;
        }
        writer.finish_update()?;
        Ok(())
    }

    fn fill_key(&self, row: &mut Row) -> Result<(), RowError> {
        let text = |place: &usize| {
            let text = self.record.get(*place).unwrap_or_default();
            (!self.plan.is_null(text)).then_some(text)
        };
        match self.key_places.as_slice() {
            [place] => self.plan.set_key(&[text(place)], &mut row.key),
            places => {
                let columns: Vec<Option<&str>> = places.iter().map(text).collect();
                self.plan.set_key(&columns, &mut row.key)
            }
        }
    }
}

/// Places of the key's columns in the header.
fn check(names: &[String], plan: &RowPlan) -> Result<Vec<usize>, RowsError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(RowsError::Twice {
                column: name.clone(),
            });
        }
        if plan.key_bins || !plan.is_key(name) {
            BinName::new(name).map_err(|error| RowsError::Name {
                column: name.clone(),
                error,
            })?;
        }
    }
    let place = |column: &String| {
        let place = names.iter().position(|name| name == column);
        place.ok_or_else(|| RowsError::NoColumn {
            column: column.clone(),
            columns: names.join(", "),
        })
    };
    plan.types
        .keys()
        .try_for_each(|column| place(column).map(drop))?;
    plan.key_columns.iter().map(place).collect()
}
