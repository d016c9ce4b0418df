//! One change of one bin: write, delete, add, append, prepend.
//!
//! A bin that is not there is created by each of them but delete. Values of unlike kinds are never
//! joined. Allocates only where the caller's buffer is too small.

use crate::bin_value::BinValue;
use crate::content::Content;
use crate::content_writer::ContentWriter;
use crate::error::{ContentError, EditError, Operation};
use crate::kind::Kind;
use crate::name::BinName;
use crate::value_ref::ValueRef;

/// What is to happen to a bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Its value becomes this; nil deletes it.
    Write(BinValue<'a>),
    /// A number is added to it: integers wrap around at 64 bits, doubles add as doubles.
    Add(BinValue<'a>),
    /// Text or bytes are put behind its own.
    Append(BinValue<'a>),
    /// Text or bytes are put before its own.
    Prepend(BinValue<'a>),
}

/// Appends to `out` what the record holds after `edit` of the bin `name`. Returns how many bins
/// are left; none means that the record is no more.
///
/// # Errors
/// [`EditError::WrongKind`] where bin and operand do not go together, [`EditError::Content`] where
/// the result is too large; `out` is then as it was.
pub fn edit(
    old: &Content<'_>,
    name: BinName<'_>,
    edit: Edit<'_>,
    out: &mut Vec<u8>,
) -> Result<u16, EditError> {
    let found = old.bins().find(name.as_bytes());
    let new = NewValue::of(found.map(|(_, bin)| bin.value()), edit)?;
    let mut writer = ContentWriter::new(out, old.key());
    for (ordinal, bin) in old.bins().enumerate() {
        match found {
            Some((place, _)) if place == ordinal => new.put(name, &mut writer)?,
            Some(_) | None => writer.put_bin(&bin)?,
        }
    }
    if found.is_some() && !new.is_nil() {
        return Ok(writer.finish_with_names_of(&old.bins())?);
    }
    if found.is_none() {
        new.put(name, &mut writer)?;
    }
    Ok(writer.finish_distinct()?)
}

/// The result of an addition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sum {
    /// Of two integers, wrapped around at 64 bits.
    Integer(i64),
    /// Of two doubles.
    Double(f64),
}

/// The sum of two numbers of one kind.
///
/// # Errors
/// [`EditError::WrongKind`] where they are no numbers, or of two kinds.
pub fn add(value: BinValue<'_>, operand: BinValue<'_>) -> Result<Sum, EditError> {
    match (value.decode(), operand.decode()) {
        (ValueRef::Integer(value), ValueRef::Integer(operand)) => {
            Ok(Sum::Integer(value.wrapping_add(operand)))
        }
        (ValueRef::Double(value), ValueRef::Double(operand)) => Ok(Sum::Double(value + operand)),
        _ => Err(wrong_kind(Operation::Add, value.kind(), operand)),
    }
}

/// The value that an edit leaves.
enum NewValue<'a> {
    /// One that exists somewhere already; nil for none.
    Whole(BinValue<'a>),
    /// The result of an addition.
    Sum(Sum),
    /// Two runs of one kind, one after the other.
    Joined(Kind, &'a [u8], &'a [u8]),
}

impl<'a> NewValue<'a> {
    fn of(old: Option<BinValue<'a>>, edit: Edit<'a>) -> Result<Self, EditError> {
        match edit {
            Edit::Write(value) => Ok(Self::Whole(value)),
            Edit::Add(operand) => Self::sum(old, operand),
            Edit::Append(operand) => {
                let old = Self::joinable(Operation::Append, old, operand)?;
                Ok(old.map_or(Self::Whole(operand), |old| {
                    Self::Joined(operand.kind(), old.as_bytes(), operand.as_bytes())
                }))
            }
            Edit::Prepend(operand) => {
                let old = Self::joinable(Operation::Prepend, old, operand)?;
                Ok(old.map_or(Self::Whole(operand), |old| {
                    Self::Joined(operand.kind(), operand.as_bytes(), old.as_bytes())
                }))
            }
        }
    }

    fn sum(old: Option<BinValue<'_>>, operand: BinValue<'a>) -> Result<Self, EditError> {
        match old {
            Some(old) => add(old, operand).map(Self::Sum),
            None if operand.kind().is_number() => Ok(Self::Whole(operand)),
            None => Err(wrong_kind(Operation::Add, Kind::Nil, operand)),
        }
    }

    /// The old value, if there is one, where it and the operand are runs of one kind.
    fn joinable(
        operation: Operation,
        old: Option<BinValue<'a>>,
        operand: BinValue<'a>,
    ) -> Result<Option<BinValue<'a>>, EditError> {
        let kind = old.map_or(Kind::Nil, |old| old.kind());
        if operand.kind().is_joinable() && (old.is_none() || kind == operand.kind()) {
            Ok(old)
        } else {
            Err(wrong_kind(operation, kind, operand))
        }
    }

    fn is_nil(&self) -> bool {
        matches!(self, Self::Whole(value) if value.is_nil())
    }

    fn put(&self, name: BinName<'_>, writer: &mut ContentWriter<'_>) -> Result<(), ContentError> {
        match self {
            Self::Whole(value) if value.is_nil() => Ok(()),
            Self::Whole(value) => writer.put(name, *value),
            Self::Sum(Sum::Integer(sum)) => {
                writer.put_parts(name, Kind::Integer, &[&sum.to_be_bytes()])
            }
            Self::Sum(Sum::Double(sum)) => {
                writer.put_parts(name, Kind::Double, &[&sum.to_be_bytes()])
            }
            Self::Joined(kind, first, second) => writer.put_parts(name, *kind, &[first, second]),
        }
    }
}

fn wrong_kind(operation: Operation, bin: Kind, operand: BinValue<'_>) -> EditError {
    EditError::WrongKind {
        operation,
        bin,
        operand: operand.kind(),
    }
}
