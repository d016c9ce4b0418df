//! The request for one page of a scan. A scan holds nothing on the node between two pages: each request
//! carries all that the next page needs, and the client's asking for it is the credit.

use corelith_index::PartitionId;
use flatbuffers::Vector;

use crate::bins::BinSelection;
use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::header::{FrameHeader, PARTITION_NONE};
use crate::limits::{RESUME_TOKEN_BYTES_MAX, SET_NAME_BYTES_MAX};
use crate::verify::verified;

/// Asks for the next records of some partitions of one shard; answered with [`ScanPage`](crate::ScanPage).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanRequest<'a> {
    /// The partitions to read, all of one shard. They are read in this order; the first is the one in the
    /// header.
    pub partitions: PartitionList<'a>,
    /// Where to go on within the first partition: the token of the page before, which belongs to exactly
    /// this list; empty to begin.
    pub resume: &'a [u8],
    /// Only records of this set; `None` for all sets, the empty name for records without a set.
    pub set: Option<&'a str>,
    /// Which bins of each record.
    pub selection: BinSelection<'a>,
    /// At most so many records on the page; zero leaves it to the node.
    pub records_max: u32,
    /// The node ends the page before its payload would pass this, but for a single record that is larger;
    /// zero leaves it to the node.
    pub payload_length_bytes_max: u32,
}

impl<'a> ScanRequest<'a> {
    pub(crate) fn decode(header: &FrameHeader, body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::ScanRequest<'a>>(body.table()?)?;
        let partitions = PartitionList::decode(header, found.partitions())?;
        let resume = found.resume().map_or(&[][..], |token| token.bytes());
        check_length("ScanRequest.resume", resume.len(), RESUME_TOKEN_BYTES_MAX)?;
        let set = found.set();
        check_length(
            "ScanRequest.set",
            set.map_or(0, str::len),
            SET_NAME_BYTES_MAX,
        )?;
        Ok(ScanRequest {
            partitions,
            resume,
            set,
            selection: BinSelection::decode(found.selection(), found.bin_names())?,
            records_max: found.records_max(),
            payload_length_bytes_max: found.payload_length_bytes_max(),
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length(
            "ScanRequest.resume",
            self.resume.len(),
            RESUME_TOKEN_BYTES_MAX,
        )?;
        let set_length = self.set.map_or(0, str::len);
        encode_length("ScanRequest.set", set_length, SET_NAME_BYTES_MAX)?;
        self.partitions.check()?;
        let partitions = scratch.numbers(self.partitions.iter().map(PartitionId::get));
        let (selection, bin_names) = self.selection.build(scratch)?;
        let resume = (!self.resume.is_empty()).then(|| scratch.builder.create_vector(self.resume));
        let set = self.set.map(|set| scratch.builder.create_string(set));
        let root = table::ScanRequest::create(
            scratch.builder,
            &table::ScanRequestArgs {
                partitions: Some(partitions),
                resume,
                set,
                selection,
                bin_names,
                records_max: self.records_max,
                payload_length_bytes_max: self.payload_length_bytes_max,
            },
        );
        Ok(root.as_union_value())
    }
}

/// Partitions in rising order without repetition, borrowed from a caller's slice or from a frame. A list
/// that was read is not empty; one that is written must not be.
#[derive(Clone, Copy)]
pub struct PartitionList<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Slice(&'a [PartitionId]),
    Table(Vector<'a, u16>),
}

impl<'a> PartitionList<'a> {
    /// The partitions of a slice, which must rise.
    #[must_use]
    pub const fn new(partitions: &'a [PartitionId]) -> Self {
        PartitionList(Source::Slice(partitions))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Slice(partitions) => partitions.len(),
            Source::Table(partitions) => partitions.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The partitions in their order.
    pub fn iter(&self) -> impl Iterator<Item = PartitionId> + 'a {
        let (slice, table) = match self.0 {
            Source::Slice(partitions) => (partitions, None),
            Source::Table(partitions) => (&[][..], Some(partitions)),
        };
        let table = table.into_iter().flat_map(|partitions| partitions.iter());
        // A list that was read has been checked whole, so nothing is filtered out.
        slice
            .iter()
            .copied()
            .chain(table.filter_map(|number| PartitionId::new(number).ok()))
    }

    pub(crate) fn first(&self) -> Option<PartitionId> {
        self.iter().next()
    }

    fn decode(header: &FrameHeader, found: Vector<'a, u16>) -> Result<Self, DecodeError> {
        let field = "ScanRequest.partitions";
        check_length(field, found.len(), usize::from(PartitionId::COUNT))?;
        let mut above = None;
        for (index, number) in found.iter().enumerate() {
            if PartitionId::new(number).is_err() {
                let max = u64::from(PartitionId::COUNT - 1);
                return Err(DecodeError::FieldRange {
                    field,
                    found: u64::from(number),
                    max,
                });
            }
            if above.is_some_and(|above| number <= above) {
                return Err(DecodeError::FieldOrder { field, index });
            }
            above = Some(number);
        }
        let list = PartitionList(Source::Table(found));
        let first = list.first().ok_or(DecodeError::FieldUnset { field })?;
        if header.partition() != Some(first) {
            return Err(DecodeError::PartitionMismatch {
                header: header.partition().map_or(PARTITION_NONE, PartitionId::get),
                digest: first.get(),
            });
        }
        Ok(list)
    }

    fn check(&self) -> Result<(), EncodeError> {
        let field = "ScanRequest.partitions";
        let mut above = None;
        for (index, partition) in self.iter().enumerate() {
            if above.is_some_and(|above| partition <= above) {
                return Err(EncodeError::FieldOrder { field, index });
            }
            above = Some(partition);
        }
        if above.is_none() {
            return Err(EncodeError::FieldOrder { field, index: 0 });
        }
        Ok(())
    }
}

impl PartialEq for PartitionList<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for PartitionList<'_> {}

impl std::fmt::Debug for PartitionList<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
