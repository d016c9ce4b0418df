//! Steps: what an operate does to one record, in order.
//!
//! A step is a code, and for most of them a bin that stands in a [`BinList`] beside the codes. The
//! numbers are on the wire; codes below [`StepKind::FIRST_WRITING`] read, the others write.

use crate::bin_list::BinList;
use crate::bin_value::BinValue;
use crate::bins::BinsIter;
use crate::edit::Edit;
use crate::error::StepsError;
use crate::key_ref::KeyRef;
use crate::limits::STEP_COUNT_MAX;
use crate::name::BinName;
use crate::pace::Pace;

/// What one step does, without the bin that it does it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Reads one bin.
    Read,
    /// Reads all bins.
    ReadAll,
    /// Asks for what is known of the record beside its bins, and nothing else.
    ReadMetadata,
    /// Gives a bin another value; nil removes it.
    Write,
    /// Adds a number to a bin.
    Add,
    /// Puts text or bytes behind a bin's own.
    Append,
    /// Puts text or bytes before a bin's own.
    Prepend,
    /// Writes the record anew, which must be there.
    Touch,
    /// Removes all bins: later steps begin with none.
    Delete,
}

impl StepKind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::ReadAll,
        Self::ReadMetadata,
        Self::Write,
        Self::Add,
        Self::Append,
        Self::Prepend,
        Self::Touch,
        Self::Delete,
    ];

    /// The smallest code of a step that writes.
    pub const FIRST_WRITING: u8 = 16;

    /// The code as it travels.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::ReadAll => 2,
            Self::ReadMetadata => 3,
            Self::Write => 16,
            Self::Add => 17,
            Self::Append => 18,
            Self::Prepend => 19,
            Self::Touch => 32,
            Self::Delete => 33,
        }
    }

    /// The kind of this code, if this release knows it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Read,
            2 => Self::ReadAll,
            3 => Self::ReadMetadata,
            16 => Self::Write,
            17 => Self::Add,
            18 => Self::Append,
            19 => Self::Prepend,
            32 => Self::Touch,
            33 => Self::Delete,
            _ => return None,
        })
    }

    /// Whether it makes a new version of the record.
    #[must_use]
    pub const fn is_write(self) -> bool {
        self.code() >= Self::FIRST_WRITING
    }

    /// Whether it is done to one bin, which it takes from the list.
    #[must_use]
    pub const fn takes_bin(self) -> bool {
        match self {
            Self::Read | Self::Write | Self::Add | Self::Append | Self::Prepend => true,
            Self::ReadAll | Self::ReadMetadata | Self::Touch | Self::Delete => false,
        }
    }
}

/// One step with the bin that it is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Reads a bin; one that is not there reads as nil.
    Read(BinName<'a>),
    /// Reads all bins.
    ReadAll,
    /// Asks for the record's metadata.
    ReadMetadata,
    /// Changes a bin.
    Edit(BinName<'a>, Edit<'a>),
    /// Writes the record anew.
    Touch,
    /// Removes all bins.
    Delete,
}

/// The steps of one operate, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps<'a> {
    codes: &'a [u8],
    arguments: BinList<'a>,
}

impl<'a> Steps<'a> {
    /// Checks codes and arguments that came from a peer, and that they belong to each other.
    ///
    /// # Errors
    /// [`StepsError`] says what is wrong and with which step.
    pub fn parse(codes: &'a [u8], arguments: &'a [u8]) -> Result<Self, StepsError> {
        check_count(codes)?;
        Self::join(codes, BinList::parse(arguments)?)
    }

    /// [`Self::parse`] of arguments that may be long, in pieces.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub async fn parse_in_pieces<P: AsyncFnMut()>(
        codes: &'a [u8],
        arguments: &'a [u8],
        pace: &mut Pace<P>,
    ) -> Result<Self, StepsError> {
        check_count(codes)?;
        Self::join(codes, BinList::parse_in_pieces(arguments, pace).await?)
    }

    /// Checks that codes and arguments belong to each other.
    fn join(codes: &'a [u8], arguments: BinList<'a>) -> Result<Self, StepsError> {
        let mut bins = arguments.iter();
        for (step, code) in (0_u16..).zip(codes) {
            let Some(kind) = StepKind::from_code(*code) else {
                return Err(StepsError::Unknown { step, found: *code });
            };
            if !kind.takes_bin() {
                continue;
            }
            let Some(bin) = bins.next() else {
                return Err(StepsError::BinMissing { step });
            };
            if kind == StepKind::Read && !bin.value().is_nil() {
                return Err(StepsError::ReadWithValue { step });
            }
        }
        match bins.len() {
            0 => Ok(Self { codes, arguments }),
            left => Err(StepsError::BinsLeft { left }),
        }
    }

    /// The bins that they take, as they came.
    #[must_use]
    pub const fn arguments(&self) -> &'a [u8] {
        self.arguments.as_bytes()
    }

    /// How many there are: 1 to `STEP_COUNT_MAX`.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.codes.len()
    }

    /// Never: a list of steps has one at least.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The user key, where it is to be kept with the record.
    #[must_use]
    pub const fn key(&self) -> Option<KeyRef<'a>> {
        self.arguments.key()
    }

    /// The steps in order.
    #[must_use]
    pub fn iter(&self) -> StepsIter<'a> {
        StepsIter {
            codes: self.codes.iter(),
            bins: self.arguments.iter(),
        }
    }

    /// Whether one of them makes a new version.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.kinds().any(StepKind::is_write)
    }

    /// Whether one of them needs a record that is there.
    #[must_use]
    pub fn has_touch(&self) -> bool {
        self.kinds().any(|kind| kind == StepKind::Touch)
    }

    /// Whether what the record holds decides what comes of them: not if they ask for metadata alone,
    /// or remove all bins before they look at one.
    #[must_use]
    pub fn need_content(&self) -> bool {
        let mut has_touch = false;
        for kind in self.kinds() {
            match kind {
                StepKind::ReadMetadata => {}
                StepKind::Touch => has_touch = true,
                StepKind::Delete => return false,
                StepKind::Read
                | StepKind::ReadAll
                | StepKind::Write
                | StepKind::Add
                | StepKind::Append
                | StepKind::Prepend => return true,
            }
        }
        has_touch
    }

    fn kinds(&self) -> impl Iterator<Item = StepKind> + use<'a> {
        self.codes
            .iter()
            .filter_map(|code| StepKind::from_code(*code))
    }
}

const fn check_count(codes: &[u8]) -> Result<(), StepsError> {
    match codes.len() {
        0 => Err(StepsError::None),
        1..=STEP_COUNT_MAX => Ok(()),
        found => Err(StepsError::TooMany { found }),
    }
}

impl<'a> IntoIterator for Steps<'a> {
    type Item = Step<'a>;
    type IntoIter = StepsIter<'a>;

    fn into_iter(self) -> StepsIter<'a> {
        self.iter()
    }
}

/// The steps in order.
#[derive(Clone, Debug)]
pub struct StepsIter<'a> {
    codes: std::slice::Iter<'a, u8>,
    bins: BinsIter<'a>,
}

impl<'a> Iterator for StepsIter<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        // Codes and bins were compared when the list was checked: neither runs out early.
        let kind = StepKind::from_code(*self.codes.next()?)?;
        let mut edit = |of: fn(BinValue<'a>) -> Edit<'a>| {
            let bin = self.bins.next()?;
            Some(Step::Edit(bin.name(), of(bin.value())))
        };
        match kind {
            StepKind::Read => Some(Step::Read(self.bins.next()?.name())),
            StepKind::ReadAll => Some(Step::ReadAll),
            StepKind::ReadMetadata => Some(Step::ReadMetadata),
            StepKind::Write => edit(Edit::Write),
            StepKind::Add => edit(Edit::Add),
            StepKind::Append => edit(Edit::Append),
            StepKind::Prepend => edit(Edit::Prepend),
            StepKind::Touch => Some(Step::Touch),
            StepKind::Delete => Some(Step::Delete),
        }
    }
}
