//! The newest version of a key, wherever it is: in a batch on its way, on a device, or nowhere.

use std::ops::Range;
use std::rc::Rc;

use corelith_index::{Entry, RecordAddress};
use corelith_io::FrozenBuffer;

use crate::format::record_header::RecordFlags;
use crate::outcome::Outcome;
use crate::record::Record;
use crate::state::{Pending, length_of};
use crate::store_clock::StoreClock;
use crate::writer::Current;

/// The newest version, wherever it is.
pub(crate) enum Newest {
    Absent {
        /// The place of a truncated version that the index still holds for the key.
        previous: Option<RecordAddress>,
        twin: bool,
    },
    /// A truncation is on its way that will delete it.
    Truncating(Rc<Outcome>),
    Durable {
        entry: Entry,
        record: Option<Record>,
        twin: bool,
    },
    Pending {
        pending: Pending,
        content: PendingContent,
    },
}

/// The content of a version that is on its way.
pub(crate) enum PendingContent {
    /// Copied from its batch, or not asked for.
    Copied(Vec<u8>),
    /// The bytes of the batch that it has for itself, and where in them the content stands.
    Shared(FrozenBuffer, Range<usize>),
}

impl Newest {
    /// What a decision sees: `None` for an absent, deleted or expired record.
    pub(crate) fn current(&self, clock: &StoreClock) -> Option<Current<'_>> {
        let current = match self {
            Self::Absent { .. } | Self::Truncating(_) => return None,
            Self::Durable { entry, .. } => Current {
                generation: entry.generation,
                expiry: entry.expiry,
                set: entry.set,
                content: self.content(),
            },
            Self::Pending { pending, .. } => {
                let row = &pending.appended.row;
                if row.flags.contains(RecordFlags::TOMBSTONE) {
                    return None;
                }
                Current {
                    generation: row.generation,
                    expiry: row.expiry,
                    set: row.set,
                    content: self.content(),
                }
            }
        };
        if clock.is_past(current.expiry) {
            None
        } else {
            Some(current)
        }
    }

    pub(crate) fn content(&self) -> &[u8] {
        match self {
            Self::Absent { .. } | Self::Truncating(_) => &[],
            Self::Durable { record, .. } => record.as_ref().map_or(&[], |record| record.content()),
            Self::Pending { content, .. } => match content {
                PendingContent::Copied(content) => content,
                PendingContent::Shared(buffer, range) => {
                    buffer.get(range.clone()).unwrap_or_default()
                }
            },
        }
    }

    /// The address that the index will hold for the key when this version is settled.
    pub(crate) fn previous(&self) -> Option<RecordAddress> {
        match self {
            Self::Absent { previous, .. } => *previous,
            Self::Truncating(_) => None,
            Self::Durable { entry, .. } => Some(entry.address),
            Self::Pending { pending, .. } => {
                let row = &pending.appended.row;
                let deleted = row.flags.contains(RecordFlags::TOMBSTONE);
                (!deleted).then_some(pending.appended.address)
            }
        }
    }

    /// What it counts as live, in bytes.
    pub(crate) fn live_bytes(&self) -> u64 {
        match self {
            Self::Absent { .. } | Self::Truncating(_) => 0,
            Self::Durable { entry, .. } => entry.length.bytes_max().into(),
            Self::Pending { pending, .. } => {
                let row = &pending.appended.row;
                if row.flags.contains(RecordFlags::TOMBSTONE) {
                    return 0;
                }
                length_of(&pending.appended).bytes_max().into()
            }
        }
    }

    pub(crate) fn is_twin(&self) -> bool {
        match self {
            Self::Absent { twin, .. } => *twin,
            Self::Truncating(_) => false,
            Self::Durable { twin, .. } => *twin,
            Self::Pending { pending, .. } => pending.appended.row.flags.contains(RecordFlags::TWIN),
        }
    }

    /// True if it is on its way and its writer was answered.
    pub(crate) fn is_acknowledged(&self) -> bool {
        match self {
            Self::Pending { pending, .. } => pending.appended.is_acknowledged,
            Self::Absent { .. } | Self::Durable { .. } | Self::Truncating(_) => false,
        }
    }

    /// True if a version built on this one stands above one whose writer was answered.
    pub(crate) fn is_above_acknowledged(&self) -> bool {
        match self {
            Self::Pending { pending, .. } => {
                let appended = &pending.appended;
                appended.is_acknowledged || appended.is_above_acknowledged
            }
            Self::Absent { .. } | Self::Durable { .. } | Self::Truncating(_) => false,
        }
    }

    /// The batch that this version is in, if it is not durable yet.
    pub(crate) fn outcome(&self) -> Option<Rc<Outcome>> {
        match self {
            Self::Absent { .. } | Self::Durable { .. } | Self::Truncating(_) => None,
            Self::Pending { pending, .. } => Some(Rc::clone(&pending.outcome)),
        }
    }
}
