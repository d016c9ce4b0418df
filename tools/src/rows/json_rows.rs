//! Rows of a file with one JSON object a line. Lines of white space are passed over.
//!
//! Strings stay strings and numbers numbers; the rule of cells does not apply. Where a type is given
//! for a column, the text of a string, number or bool is read as that type. null is "no value".

use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;

use corelith_record::{BinName, ContentWriter, Kind, Value};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Next, Row, RowError, RowFault, RowPlan, RowsError, put_given, put_scalar};
use crate::given_type::GivenType;
use crate::json::ValueVisitor;
use crate::key_text::KeyTextError;

/// The reader.
pub struct JsonRows<R> {
    input: R,
    line: Vec<u8>,
    plan: RowPlan,
    next_number: u64,
}

impl<R: BufRead> JsonRows<R> {
    /// Reads nothing yet: lines have no header.
    pub fn new(input: R, plan: RowPlan) -> Self {
        Self {
            input,
            line: Vec::new(),
            plan,
            next_number: 0,
        }
    }

    /// As [`Rows::next`](super::Rows::next).
    ///
    /// # Errors
    /// [`RowsError`] when the file cannot be read further.
    pub fn next(&mut self, row: &mut Row) -> Result<Next, RowsError> {
        if !self.read_line()? {
            return Ok(Next::End);
        }
        let number = self.next_number;
        self.next_number += 1;
        row.number = number;
        match self.fill(row) {
            Ok(()) => Ok(Next::Row),
            Err(reason) => Ok(Next::Fault(RowFault { number, reason })),
        }
    }

    /// As [`Rows::skip`](super::Rows::skip).
    ///
    /// # Errors
    /// [`RowsError`] when the file cannot be read further.
    pub fn skip(&mut self, count: u64) -> Result<(), RowsError> {
        for _ in 0..count {
            if !self.read_line()? {
                break;
            }
            self.next_number += 1;
        }
        Ok(())
    }

    /// The next line that is not white space. False at the end.
    fn read_line(&mut self) -> Result<bool, RowsError> {
        loop {
            self.line.clear();
            if self.input.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    fn fill(&self, row: &mut Row) -> Result<(), RowError> {
        // Checked as a whole: checking each string by itself takes longer.
        let text = std::str::from_utf8(&self.line).map_err(|error| RowError::NotUtf8 {
            valid_up_to: error.valid_up_to(),
        })?;
        let Members(members) = serde_json::from_str(text)?;
        self.fill_key(&members, row)?;
        row.content.clear();
        let key = self
            .plan
            .store_key
            .then(|| row.key.as_key_ref())
            .transpose();
        let mut writer = ContentWriter::new(&mut row.content, key.map_err(KeyTextError::from)?);
        for (name, cell) in &members {
            if self.is_null(cell) || (!self.plan.key_bins && self.plan.is_key(name)) {
                continue;
            }
            let given = self
                .plan
                .types
                .get(name.as_ref())
                .copied()
                .unwrap_or_default();
            let name = BinName::new(name).map_err(|error| RowError::Name {
                name: name.clone().into_owned(),
                error,
            })?;
            cell.put(&mut writer, name, given)?;
        }
        writer.finish_update()?;
        Ok(())
    }

    fn fill_key(
        &self,
        members: &[(Cow<'_, str>, JsonCell<'_>)],
        row: &mut Row,
    ) -> Result<(), RowError> {
        let text = |column: &String| {
            let member = members.iter().find(|(name, _)| name == column);
            match member.filter(|(_, cell)| !self.is_null(cell)) {
                None => Ok(None),
                Some((_, cell)) => match cell.text() {
                    Some(text) => Ok(Some(text)),
                    None => Err(RowError::KeyShape {
                        column: column.clone(),
                    }),
                },
            }
        };
        let texts: Vec<Option<Cow<'_, str>>> = self
            .plan
            .key_columns
            .iter()
            .map(text)
            .collect::<Result<_, _>>()?;
        match texts.as_slice() {
            [text] => self.plan.set_key(&[text.as_deref()], &mut row.key),
            texts => {
                let columns: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
                self.plan.set_key(&columns, &mut row.key)
            }
        }
    }

    fn is_null(&self, cell: &JsonCell<'_>) -> bool {
        match cell {
            JsonCell::Nil => true,
            JsonCell::String(text) => self.plan.is_null(text),
            _ => false,
        }
    }
}

/// The members of a line's object, in their order.
struct Members<'a>(Vec<(Cow<'a, str>, JsonCell<'a>)>);

/// A member's value. Strings stay in the line where they have no escapes.
enum JsonCell<'a> {
    Nil,
    Bool(bool),
    Integer(i64),
    Double(f64),
    String(Cow<'a, str>),
    /// Lists, maps, and what only they may hold.
    Other(Value),
}

impl JsonCell<'_> {
    /// A scalar as text: a number as JSON has it.
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) => Some(Cow::Borrowed(text)),
            Self::Integer(number) => Some(Cow::Owned(number.to_string())),
            Self::Double(number) => serde_json::to_string(number).ok().map(Cow::Owned),
            Self::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
            Self::Nil | Self::Other(_) => None,
        }
    }

    fn put(
        &self,
        writer: &mut ContentWriter<'_>,
        name: BinName<'_>,
        given: GivenType,
    ) -> Result<(), RowError> {
        if given != GivenType::Auto
            && let Some(text) = self.text()
        {
            return put_given(writer, name, given, &text);
        }
        match self {
            Self::Nil => {}
            Self::Bool(truth) => put_scalar(writer, name, Kind::Bool, &[u8::from(*truth)])?,
            Self::Integer(number) => {
                put_scalar(writer, name, Kind::Integer, &number.to_be_bytes())?;
            }
            Self::Double(number) => put_scalar(writer, name, Kind::Double, &number.to_be_bytes())?,
            Self::String(text) => put_scalar(writer, name, Kind::String, text.as_bytes())?,
            Self::Other(value) => writer.put_value(name, value)?,
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object: one row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((Text(name), cell)) = object.next_entry()? {
            members.push((name, cell));
        }
        Ok(Members(members))
    }
}

/// A string, borrowed where it can be.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for JsonCell<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = JsonCell<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(JsonCell::Nil)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(JsonCell::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(JsonCell::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        let number = i64::try_from(number).map_err(|_| number);
        Ok(number.map_or_else(
            |large| JsonCell::Other(Value::Unsigned(large)),
            JsonCell::Integer,
        ))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(JsonCell::Double(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(JsonCell::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(JsonCell::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        ValueVisitor.visit_seq(array).map(JsonCell::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        ValueVisitor.visit_map(object).map(JsonCell::Other)
    }
}
