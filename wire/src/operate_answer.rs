//! The answer to an operate: the record's metadata, and what the reading steps saw. The bins are in the
//! payload, how many of them belong to each step in the table.

use corelith_index::{ExpirySeconds, Generation};
use flatbuffers::Vector;

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::OPERATE_STEPS_MAX;
use crate::record::{LastUpdateMs, RecordMetadata};
use crate::verify::verified;

/// What became of a record, and what was read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperateAnswer<'a> {
    /// The record's metadata after the steps; `None` if it is no more.
    pub metadata: Option<RecordMetadata>,
    /// How many bins each reading step saw, in the order of the steps; at most 1,024 of them.
    pub bin_counts: BinCounts<'a>,
    /// The bins, one reading step after the other, as a list of bins in the encoding of `corelith-record`.
    pub bins: &'a [u8],
}

impl<'a> OperateAnswer<'a> {
    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        let found = verified::<table::OperateAnswer<'a>>(body.table()?)?;
        let counts = found.bin_counts();
        let field = "OperateAnswer.bin_counts";
        check_length(
            field,
            counts.map_or(0, |counts| counts.len()),
            OPERATE_STEPS_MAX,
        )?;
        let metadata = Generation::new(found.generation()).map(|generation| RecordMetadata {
            generation,
            expiry: ExpirySeconds::new(found.expiry_s()),
            last_update: LastUpdateMs::new(found.last_update_ms()),
        });
        Ok(OperateAnswer {
            metadata,
            bin_counts: BinCounts(counts.map_or(Source::Slice(&[]), Source::Table)),
            bins: body.payload,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        let field = "OperateAnswer.bin_counts";
        encode_length(field, self.bin_counts.len(), OPERATE_STEPS_MAX)?;
        let bin_counts =
            (!self.bin_counts.is_empty()).then(|| scratch.numbers(self.bin_counts.iter()));
        let metadata = self.metadata;
        let root = table::OperateAnswer::create(
            scratch.builder,
            &table::OperateAnswerArgs {
                generation: metadata.map_or(0, |metadata| metadata.generation.get()),
                expiry_s: metadata.map_or(0, |metadata| metadata.expiry.get()),
                last_update_ms: metadata
                    .and_then(|metadata| metadata.last_update)
                    .map_or(0, LastUpdateMs::get),
                bin_counts,
            },
        );
        Ok(root.as_union_value())
    }
}

/// How many bins each reading step saw, borrowed from a caller's slice or from a frame.
#[derive(Clone, Copy)]
pub struct BinCounts<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Slice(&'a [u16]),
    Table(Vector<'a, u16>),
}

impl<'a> BinCounts<'a> {
    /// The counts of a slice.
    #[must_use]
    pub const fn new(counts: &'a [u16]) -> Self {
        BinCounts(Source::Slice(counts))
    }

    /// How many reading steps there were.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Slice(counts) => counts.len(),
            Source::Table(counts) => counts.len(),
        }
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The counts in the order of the steps.
    pub fn iter(&self) -> impl Iterator<Item = u16> + 'a {
        let (slice, table) = match self.0 {
            Source::Slice(counts) => (counts, None),
            Source::Table(counts) => (&[][..], Some(counts)),
        };
        let table = table.into_iter().flat_map(|counts| counts.iter());
        slice.iter().copied().chain(table)
    }
}

impl PartialEq for BinCounts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for BinCounts<'_> {}

impl std::fmt::Debug for BinCounts<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
