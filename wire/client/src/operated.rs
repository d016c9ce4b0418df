//! What an operate answers. It owns the answer's bytes; bins are read from them in place.

use std::ops::Range;

use corelith_record::{Bin, BinList, BinsIter, ValueRef};
use corelith_wire::{Answer, FrameHeader, OperateAnswer, RecordMetadata};

use crate::client::decode;
use crate::error::{Refused, Unreadable};

/// What became of a record, and what the reading steps saw.
#[derive(Clone)]
pub struct Operated {
    metadata: Option<RecordMetadata>,
    bin_counts: Vec<u16>,
    /// The answer's body, with the list of bins at its end.
    bytes: Vec<u8>,
    list: Range<usize>,
}

impl Operated {
    /// What one row of a batch answers.
    pub(crate) fn of_row(answer: &OperateAnswer<'_>) -> Result<Self, Unreadable> {
        let parts = OperatedParts(Operated {
            metadata: answer.metadata,
            bin_counts: answer.bin_counts.iter().collect(),
            bytes: answer.bins.to_vec(),
            list: 0..answer.bins.len(),
        });
        parts.into_operated()
    }

    /// The record's metadata after the steps; `None` if it is no more.
    #[must_use]
    pub fn metadata(&self) -> Option<RecordMetadata> {
        self.metadata
    }

    /// How many of the steps read.
    #[must_use]
    pub fn read_count(&self) -> usize {
        self.bin_counts.len()
    }

    /// The bins that the reading step of this number saw, counted from zero: one for a step that reads a bin
    /// (nil if there is none of that name), all for one that reads all.
    pub fn read(&self, number: usize) -> impl Iterator<Item = Bin<'_>> {
        let before = self.bin_counts.iter().take(number);
        let skipped = before.map(|count| usize::from(*count)).sum();
        let count = self.bin_counts.get(number).copied().unwrap_or(0);
        self.bins().skip(skipped).take(usize::from(count))
    }

    /// All bins that were read, in the order of the steps.
    #[must_use]
    pub fn bins(&self) -> BinsIter<'_> {
        self.list().iter()
    }

    /// The value of a bin as the last step that read it saw it; `None` if no step did, or there was none.
    #[must_use]
    pub fn get(&self, bin: &str) -> Option<ValueRef<'_>> {
        let seen = self.bins().filter(|found| found.name().as_str() == bin);
        let value = seen.last()?.value();
        (!value.is_nil()).then(|| value.decode())
    }

    fn list(&self) -> BinList<'_> {
        let bytes = self.bytes.get(self.list.clone()).unwrap_or_default();
        // It was looked at when the answer came.
        BinList::parse(bytes).unwrap_or(BinList::EMPTY)
    }
}

impl std::fmt::Debug for Operated {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Operated")
            .field("metadata", &self.metadata)
            .field("bins", &self.list())
            .field("bin_counts", &self.bin_counts)
            .finish()
    }
}

/// An answer before its bins were looked at.
pub(crate) struct OperatedParts(Operated);

impl OperatedParts {
    pub(crate) fn into_operated(self) -> Result<Operated, Unreadable> {
        let Self(operated) = self;
        let bytes = operated.bytes.get(operated.list.clone());
        let list = BinList::parse(bytes.unwrap_or_default())?;
        let counted: usize = operated.bin_counts.iter().copied().map(usize::from).sum();
        if usize::from(list.len()) != counted {
            return Err(Unreadable::BinCount {
                expected: counted,
                found: list.len(),
            });
        }
        Ok(operated)
    }
}

/// Takes the whole body out of the slot, so that the bins are not copied again.
pub(crate) fn finish_operate(
    header: &FrameHeader,
    body: &mut Vec<u8>,
) -> Result<Result<OperatedParts, Refused>, Unreadable> {
    let answer = decode(header, body, |answer| match answer {
        Answer::Operated(answer) => Some((answer.metadata, answer.bin_counts.iter().collect())),
        _ => None,
    })?;
    Ok(answer.map(|(metadata, bin_counts)| {
        let start = header.table_length_bytes() as usize;
        let end = start + header.payload_length_bytes() as usize;
        OperatedParts(Operated {
            metadata,
            bin_counts,
            bytes: std::mem::take(body),
            list: start..end,
        })
    }))
}
