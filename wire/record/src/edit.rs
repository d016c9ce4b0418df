//! One change of one bin: write, delete, add, append, prepend.
//!
//! A bin that is not there is created by each of them but delete. Values of unlike kinds are never
//! joined. Several edits of one record are [`operate`](crate::operate)'s.

use crate::bin_value::BinValue;
use crate::content::Content;
use crate::error::{EditError, Operation};
use crate::name::BinName;
use crate::new_value::wrong_kind;
use crate::operate::{Effect, Reads, operate};
use crate::step::Step;
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
    let steps = [Step::Edit(name, edit)];
    match operate(old, None, steps, out, &mut Reads::default()) {
        Ok(Effect::Written(bin_count)) => Ok(bin_count),
        Ok(Effect::Nothing | Effect::Touched) => Ok(old.bins().len()),
        Err(failed) => Err(failed.error),
    }
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
