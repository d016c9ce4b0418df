//! The value that a bin has after some edits: the rules of add, append and prepend.
//!
//! Nothing is copied before the end: joined runs are kept as pieces of the bytes that they came in,
//! so a thousand appends cost what their bytes cost.

use std::collections::VecDeque;

use crate::bin_value::BinValue;
use crate::content_writer::ContentWriter;
use crate::edit::{Edit, Sum, add};
use crate::error::{ContentError, EditError, Operation};
use crate::kind::Kind;
use crate::name::BinName;
use crate::pace::Pace;

/// A bin's value in the making.
#[derive(Clone, Debug)]
pub(crate) enum NewValue<'a> {
    /// There is no such bin.
    Absent,
    /// One that exists somewhere already; never nil.
    Whole(BinValue<'a>),
    /// The result of additions.
    Sum(Sum),
    /// Two runs of one kind, one after the other: most joins are of two, and need no memory.
    Pair(Kind, [&'a [u8]; 2]),
    /// More than two.
    Joined(Kind, VecDeque<&'a [u8]>),
}

/// Which end a run is put to.
#[derive(Clone, Copy)]
enum End {
    Back,
    Front,
}

impl<'a> NewValue<'a> {
    /// What a record has; `None` for no such bin.
    pub(crate) fn of(old: Option<BinValue<'a>>) -> Self {
        match old {
            Some(value) if !value.is_nil() => Self::Whole(value),
            Some(_) | None => Self::Absent,
        }
    }

    /// Whether there is no such bin.
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value after one more edit.
    ///
    /// # Errors
    /// [`EditError::WrongKind`] where value and operand do not go together.
    pub(crate) fn edit(&mut self, edit: Edit<'a>) -> Result<(), EditError> {
        match edit {
            Edit::Write(value) => *self = Self::of(Some(value)),
            Edit::Add(operand) => *self = self.sum(operand)?,
            Edit::Append(operand) => self.join(Operation::Append, operand, End::Back)?,
            Edit::Prepend(operand) => self.join(Operation::Prepend, operand, End::Front)?,
        }
        Ok(())
    }

    /// Adds a bin with this value; nothing where there is none.
    pub(crate) fn put(
        &self,
        name: BinName<'_>,
        writer: &mut ContentWriter<'_>,
    ) -> Result<(), ContentError> {
        match self {
            Self::Absent => Ok(()),
            Self::Whole(value) => writer.put(name, *value),
            Self::Sum(Sum::Integer(sum)) => {
                writer.put_parts(name, Kind::Integer, &[&sum.to_be_bytes()])
            }
            Self::Sum(Sum::Double(sum)) => {
                writer.put_parts(name, Kind::Double, &[&sum.to_be_bytes()])
            }
            Self::Pair(kind, parts) => writer.put_parts(name, *kind, parts),
            Self::Joined(kind, pieces) => {
                let pieces: Vec<&[u8]> = pieces.iter().copied().collect();
                writer.put_parts(name, *kind, &pieces)
            }
        }
    }

    /// [`Self::put`] of a value that may be long.
    pub(crate) async fn put_in_pieces<P: AsyncFnMut()>(
        &self,
        name: BinName<'_>,
        writer: &mut ContentWriter<'_>,
        pace: &mut Pace<P>,
    ) -> Result<(), ContentError> {
        match self {
            Self::Absent | Self::Sum(_) => self.put(name, writer),
            Self::Whole(value) => {
                let parts = std::iter::once(value.as_bytes());
                writer
                    .put_parts_in_pieces((name, value.kind()), parts, pace)
                    .await
            }
            Self::Pair(kind, parts) => {
                let parts = parts.iter().copied();
                writer.put_parts_in_pieces((name, *kind), parts, pace).await
            }
            Self::Joined(kind, pieces) => {
                let parts = pieces.iter().copied();
                writer.put_parts_in_pieces((name, *kind), parts, pace).await
            }
        }
    }

    /// How many bytes the value takes.
    pub(crate) fn length_bytes(&self) -> usize {
        let sum = |parts: &mut dyn Iterator<Item = &&'a [u8]>| {
            parts.fold(0, |sum: usize, part| sum.saturating_add(part.len()))
        };
        match self {
            Self::Absent => 0,
            Self::Whole(value) => value.as_bytes().len(),
            Self::Sum(_) => 8,
            Self::Pair(_, parts) => sum(&mut parts.iter()),
            Self::Joined(_, pieces) => sum(&mut pieces.iter()),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Absent => Kind::Nil,
            Self::Whole(value) => value.kind(),
            Self::Sum(Sum::Integer(_)) => Kind::Integer,
            Self::Sum(Sum::Double(_)) => Kind::Double,
            Self::Pair(kind, _) | Self::Joined(kind, _) => *kind,
        }
    }

    fn sum(&self, operand: BinValue<'a>) -> Result<Self, EditError> {
        let sum = match self {
            Self::Absent if operand.kind().is_number() => return Ok(Self::Whole(operand)),
            Self::Whole(value) => return add(*value, operand).map(Self::Sum),
            Self::Sum(Sum::Integer(number)) => add(
                BinValue::from_checked(Kind::Integer, &number.to_be_bytes()),
                operand,
            )?,
            Self::Sum(Sum::Double(number)) => add(
                BinValue::from_checked(Kind::Double, &number.to_be_bytes()),
                operand,
            )?,
            Self::Absent | Self::Pair(..) | Self::Joined(..) => {
                return Err(wrong_kind(Operation::Add, self.kind(), operand));
            }
        };
        Ok(Self::Sum(sum))
    }

    fn join(
        &mut self,
        operation: Operation,
        operand: BinValue<'a>,
        end: End,
    ) -> Result<(), EditError> {
        let kind = self.kind();
        let goes_together = kind == Kind::Nil || kind == operand.kind();
        if !operand.kind().is_joinable() || !goes_together {
            return Err(wrong_kind(operation, kind, operand));
        }
        let run = operand.as_bytes();
        match self {
            Self::Absent => *self = Self::Whole(operand),
            Self::Whole(value) => {
                let old = value.as_bytes();
                *self = match end {
                    End::Back => Self::Pair(kind, [old, run]),
                    End::Front => Self::Pair(kind, [run, old]),
                };
            }
            Self::Pair(_, parts) => {
                let mut pieces = VecDeque::from(*parts);
                push(&mut pieces, run, end);
                *self = Self::Joined(kind, pieces);
            }
            Self::Joined(_, pieces) => push(pieces, run, end),
            // Numbers are not joinable, which was seen above.
            Self::Sum(_) => return Err(wrong_kind(operation, kind, operand)),
        }
        Ok(())
    }
}

fn push<'a>(pieces: &mut VecDeque<&'a [u8]>, run: &'a [u8], end: End) {
    match end {
        End::Back => pieces.push_back(run),
        End::Front => pieces.push_front(run),
    }
}

pub(crate) fn wrong_kind(operation: Operation, bin: Kind, operand: BinValue<'_>) -> EditError {
    EditError::WrongKind {
        operation,
        bin,
        operand: operand.kind(),
    }
}
