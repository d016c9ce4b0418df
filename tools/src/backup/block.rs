//! The header of a block, and the totals in the last one, as `BACKUP.md` has them. Each header carries the sum
//! of the one before, so that a block that is missing, twice there or of another file is seen.

use corelith_client::PartitionId;
use corelith_wire::limits::RESUME_TOKEN_BYTES_MAX;

use super::error::Disagreement;
use super::fields::{sum, u16_at, u32_at, u64_at, zeros};
use super::limits::{BLOCK_RECORD_COUNT_MAX, UNPACKED_LENGTH_BYTES_MAX};

/// Length of a block's header, in bytes.
pub const HEADER_LENGTH_BYTES: usize = 80;

/// Length of the body of the last block, in bytes.
pub const TOTALS_LENGTH_BYTES: usize = 40;

const MAGIC: &[u8; 4] = b"CBLK";
const KIND_AT: usize = 4;
const PACKING_AT: usize = 5;
const PARTITION_AT: usize = 6;
const NUMBER_AT: usize = 8;
const RECORDS_AT: usize = 16;
const BODY_LENGTH_AT: usize = 20;
const UNPACKED_LENGTH_AT: usize = 24;
const BODY_SUM_AT: usize = 28;
const FLAGS_AT: usize = 32;
const TOKEN_LENGTH_AT: usize = 33;
const DAMAGED_AT: usize = 34;
const TOKEN_AT: usize = 36;
const PREVIOUS_AT: usize = 68;
const RESERVED_AT: usize = 72;
const SUM_AT: usize = 76;

const FLAG_PARTITION_END: u8 = 1;

const _: () = assert!(TOKEN_AT + RESUME_TOKEN_BYTES_MAX == PREVIOUS_AT);

/// What a block holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum BlockKind {
    /// Records of one partition.
    Records = 1,
    /// The totals: the file ends behind it.
    End = 2,
}

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Packing {
    /// As it is, where packing gains nothing.
    Plain = 1,
    /// One frame of zstd.
    Zstd = 2,
}

/// Where a partition is gone on with: the node's token behind the last record of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Token {
    bytes: [u8; RESUME_TOKEN_BYTES_MAX],
    length_bytes: u8,
}

impl Token {
    /// A token of a node; `None` if it is longer than any is.
    #[must_use]
    pub fn new(token: &[u8]) -> Option<Self> {
        let mut bytes = [0; RESUME_TOKEN_BYTES_MAX];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        Some(Self {
            bytes,
            length_bytes: token.len() as u8,
        })
    }

    /// As the node gave it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length_bytes)]
    }
}

/// The header of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// What it holds.
    pub kind: BlockKind,
    /// How its body is packed.
    pub packing: Packing,
    /// The partition of its records; 0 in the last block.
    pub partition: PartitionId,
    /// Its place among the file's blocks, from 0.
    pub number: u64,
    /// Records in it.
    pub record_count: u32,
    /// Length of the body in the file.
    pub body_length_bytes: u32,
    /// Length of the body when it is unpacked.
    pub unpacked_length_bytes: u32,
    /// Checksum of the body in the file.
    pub body_sum: u32,
    /// Whether the partition ends with this block.
    pub is_partition_end: bool,
    /// Records that the node could not read where these were read; they are not in the backup.
    pub damaged_count: u16,
    /// Where the partition is gone on with.
    pub token: Token,
    /// Checksum of the header before, that of the file for the first block.
    pub previous_sum: u32,
}

impl BlockHeader {
    /// The bytes, and their checksum for the next block.
    #[must_use]
    pub fn encode(&self) -> ([u8; HEADER_LENGTH_BYTES], u32) {
        let mut bytes = [0; HEADER_LENGTH_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[KIND_AT] = self.kind as u8;
        bytes[PACKING_AT] = self.packing as u8;
        bytes[PARTITION_AT..][..2].copy_from_slice(&self.partition.get().to_le_bytes());
        bytes[NUMBER_AT..][..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[RECORDS_AT..][..4].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[BODY_LENGTH_AT..][..4].copy_from_slice(&self.body_length_bytes.to_le_bytes());
        bytes[UNPACKED_LENGTH_AT..][..4].copy_from_slice(&self.unpacked_length_bytes.to_le_bytes());
        bytes[BODY_SUM_AT..][..4].copy_from_slice(&self.body_sum.to_le_bytes());
        bytes[FLAGS_AT] = if self.is_partition_end {
            FLAG_PARTITION_END
        } else {
            0
        };
        bytes[TOKEN_LENGTH_AT] = self.token.length_bytes;
        bytes[DAMAGED_AT..][..2].copy_from_slice(&self.damaged_count.to_le_bytes());
        bytes[TOKEN_AT..PREVIOUS_AT].copy_from_slice(&self.token.bytes);
        bytes[PREVIOUS_AT..][..4].copy_from_slice(&self.previous_sum.to_le_bytes());
        let sum = sum(&bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// Reads a header, and its checksum.
    ///
    /// # Errors
    /// The checksum fails, or a field is not as it must be.
    pub fn decode(bytes: &[u8; HEADER_LENGTH_BYTES]) -> Result<(Self, u32), Disagreement> {
        let own_sum = u32_at(bytes, SUM_AT);
        if sum(&bytes[..SUM_AT]) != own_sum {
            return Err(Disagreement::BlockSum);
        }
        let header = Self::fields(bytes).ok_or(Disagreement::BlockField)?;
        Ok((header, own_sum))
    }

    fn fields(bytes: &[u8; HEADER_LENGTH_BYTES]) -> Option<Self> {
        let token_length = usize::from(bytes[TOKEN_LENGTH_AT]);
        let (token, behind_token) = bytes[TOKEN_AT..PREVIOUS_AT].split_at_checked(token_length)?;
        let header = Self {
            kind: match bytes[KIND_AT] {
                1 => BlockKind::Records,
                2 => BlockKind::End,
                _ => return None,
            },
            packing: match bytes[PACKING_AT] {
                1 => Packing::Plain,
                2 => Packing::Zstd,
                _ => return None,
            },
            partition: PartitionId::new(u16_at(bytes, PARTITION_AT)).ok()?,
            number: u64_at(bytes, NUMBER_AT),
            record_count: u32_at(bytes, RECORDS_AT),
            body_length_bytes: u32_at(bytes, BODY_LENGTH_AT),
            unpacked_length_bytes: u32_at(bytes, UNPACKED_LENGTH_AT),
            body_sum: u32_at(bytes, BODY_SUM_AT),
            is_partition_end: match bytes[FLAGS_AT] {
                0 => false,
                FLAG_PARTITION_END => true,
                _ => return None,
            },
            damaged_count: u16_at(bytes, DAMAGED_AT),
            token: Token::new(token)?,
            previous_sum: u32_at(bytes, PREVIOUS_AT),
        };
        let is_possible = bytes.starts_with(MAGIC)
            && zeros(behind_token)
            && zeros(&bytes[RESERVED_AT..SUM_AT])
            && header.record_count <= BLOCK_RECORD_COUNT_MAX
            && header.unpacked_length_bytes <= UNPACKED_LENGTH_BYTES_MAX
            // What packing would make longer stays plain.
            && header.body_length_bytes <= header.unpacked_length_bytes
            && (header.packing == Packing::Zstd
                || header.body_length_bytes == header.unpacked_length_bytes)
            && (header.kind == BlockKind::Records
                || header.body_length_bytes as usize == TOTALS_LENGTH_BYTES);
        is_possible.then_some(header)
    }
}

/// What a whole backup holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Blocks of records.
    pub blocks: u64,
    /// Records.
    pub records: u64,
    /// Records that the node could not read.
    pub damaged: u64,
    /// Length of all records, unpacked.
    pub unpacked_bytes: u64,
    /// When the backup ended, in ms since 2010; 0 before.
    pub end_ms: u64,
}

impl Totals {
    /// Counts a block of records.
    pub fn add(&mut self, header: &BlockHeader) {
        self.blocks += 1;
        self.records += u64::from(header.record_count);
        self.damaged += u64::from(header.damaged_count);
        self.unpacked_bytes += u64::from(header.unpacked_length_bytes);
    }

    /// The body of the last block.
    #[must_use]
    pub fn encode(&self) -> [u8; TOTALS_LENGTH_BYTES] {
        let mut bytes = [0; TOTALS_LENGTH_BYTES];
        let fields = [
            self.blocks,
            self.records,
            self.damaged,
            self.unpacked_bytes,
            self.end_ms,
        ];
        for (place, field) in bytes.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads the body of the last block; `None` if it has another length.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == TOTALS_LENGTH_BYTES).then(|| Self {
            blocks: u64_at(bytes, 0),
            records: u64_at(bytes, 8),
            damaged: u64_at(bytes, 16),
            unpacked_bytes: u64_at(bytes, 24),
            end_ms: u64_at(bytes, 32),
        })
    }
}
