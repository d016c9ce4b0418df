//! Blocks of a summary: rows in write units, each with its checksum, and parity blocks.
//!
//! Data block `i` belongs to parity group `i % groups`, so that neighbours, which fail together,
//! lie in different groups. A parity block is the exclusive or of its group's row areas.

use std::ops::Range;

use super::row::{SUMMARY_ROW_BYTES, SummaryRow};
use super::{block_counts, rows_per_block};
use crate::Life;
use crate::format::binding::DeviceBinding;
use crate::format::fields::{is_zero_from, put, u16_at, u32_at, u64_of, usize_of};

/// Bytes before the rows of a block.
pub const SUMMARY_BLOCK_HEADER_BYTES: usize = 24;
/// First four bytes of a block: "SUMM".
pub const SUMMARY_MAGIC: u32 = u32::from_le_bytes(*b"SUMM");
/// Data blocks that share one parity block, at most: 12.5 % of overhead, against the 100 % of a
/// second copy, for the same promise: one unreadable block loses nothing.
pub const PARITY_GROUP_BLOCKS: u64 = 8;

const MAGIC_OFFSET: usize = 0;
const CHECKSUM_OFFSET: usize = 4;
const INDEX_OFFSET: usize = 8;
const ROWS_OFFSET: usize = 12;
const KIND_OFFSET: usize = 14;
const RESERVED_OFFSET: usize = 16;
const BODY_START: usize = 8;
const DATA: u16 = 1;
const PARITY: u16 = 2;

/// Why a summary could not be read whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SummaryError {
    /// Two or more blocks of one parity group are unreadable.
    #[error(
        "{lost_blocks} summary blocks of parity group {group} are unreadable, one can be rebuilt"
    )]
    Group {
        /// The group.
        group: u64,
        /// Blocks lost in it, its parity block among them.
        lost_blocks: u64,
    },
    /// A row is impossible although its block's checksum agrees.
    #[error("summary row {row} of block {block} is impossible")]
    Row {
        /// The block.
        block: u64,
        /// The row in it.
        row: u64,
    },
    /// The footer promises another length than the area has.
    #[error("summary of {expected_bytes} bytes, {found_bytes} at hand")]
    Length {
        /// What the footer says.
        expected_bytes: u64,
        /// What there is.
        found_bytes: u64,
    },
}

/// Encodes data and parity blocks of `rows` into `area`, which stands at `place.1` of the device and
/// has exactly the length that [`block_counts`] gives.
pub fn encode_blocks(
    rows: &[SummaryRow],
    area: &mut [u8],
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
) {
    let (data_count, _) = block_counts(u64_of(rows.len()), write_unit_bytes);
    begin_parity(area, data_count, write_unit_bytes);
    encode_data_blocks(rows, area, write_unit_bytes, place, 0..usize_of(data_count));
    finish_parity(area, data_count, write_unit_bytes, place);
}

/// Clears the parity blocks behind `data_count` data blocks, before those are encoded.
pub(crate) fn begin_parity(area: &mut [u8], data_count: u64, write_unit_bytes: u64) {
    let data_bytes = usize_of(data_count * write_unit_bytes);
    area.get_mut(data_bytes..).unwrap_or_default().fill(0);
}

/// Encodes those data blocks of `rows` whose numbers are in `blocks`, and adds them to their parity
/// blocks: a summary may be megabytes, so its writer does it in pieces.
pub(crate) fn encode_data_blocks(
    rows: &[SummaryRow],
    area: &mut [u8],
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
    blocks: Range<usize>,
) {
    let unit = usize_of(write_unit_bytes);
    let (data_count, parity_count) = block_counts(u64_of(rows.len()), write_unit_bytes);
    let (data, parity) = area.split_at_mut(usize_of(data_count) * unit);
    let chunks = rows.chunks(usize_of(rows_per_block(write_unit_bytes)));
    let numbered = data.chunks_exact_mut(unit).zip(chunks).enumerate();
    for (index, (block, chunk)) in numbered.skip(blocks.start).take(blocks.len()) {
        block.fill(0);
        let (header, row_area) = block.split_at_mut(SUMMARY_BLOCK_HEADER_BYTES);
        for (target, row) in row_area.chunks_exact_mut(SUMMARY_ROW_BYTES).zip(chunk) {
            target.copy_from_slice(&row.encode());
        }
        let group = index % usize_of(parity_count);
        if let Some(sum) = parity.chunks_exact_mut(unit).nth(group) {
            let (_, sum) = sum.split_at_mut(SUMMARY_BLOCK_HEADER_BYTES);
            exclusive_or(sum, row_area);
        }
        header.copy_from_slice(&header_of(index, chunk.len(), DATA));
        put_checksum(block, index, write_unit_bytes, place);
    }
}

/// Completes the parity blocks, when all data blocks are encoded.
pub(crate) fn finish_parity(
    area: &mut [u8],
    data_count: u64,
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
) {
    let data_count = usize_of(data_count);
    let blocks = area
        .chunks_exact_mut(usize_of(write_unit_bytes))
        .enumerate()
        .skip(data_count);
    for (index, block) in blocks {
        let (header, _) = block.split_at_mut(SUMMARY_BLOCK_HEADER_BYTES);
        header.copy_from_slice(&header_of(index - data_count, 0, PARITY));
        put_checksum(block, index, write_unit_bytes, place);
    }
}

/// Decodes the rows of a summary of `row_count` rows from `area`, which stands at `place.1` of the
/// device. Blocks that could not be read are passed as they are (zeros do): their checksum fails.
///
/// # Errors
/// See [`SummaryError`].
pub fn decode_rows(
    area: &[u8],
    row_count: u64,
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
) -> Result<Vec<SummaryRow>, SummaryError> {
    let unit = usize_of(write_unit_bytes);
    let (data_count, parity_count) = block_counts(row_count, write_unit_bytes);
    let expected_bytes = (data_count + parity_count) * write_unit_bytes;
    if u64_of(area.len()) != expected_bytes {
        return Err(SummaryError::Length {
            expected_bytes,
            found_bytes: u64_of(area.len()),
        });
    }
    let blocks: Vec<Option<&[u8]>> = area
        .chunks_exact(unit)
        .enumerate()
        .map(|(index, block)| {
            let kind = if u64_of(index) < data_count {
                DATA
            } else {
                PARITY
            };
            verified_rows(block, index, (write_unit_bytes, kind, data_count), place)
        })
        .collect();
    let per_block = usize_of(rows_per_block(write_unit_bytes));
    let mut rows = Vec::with_capacity(usize_of(row_count));
    for index in 0..usize_of(data_count) {
        let wanted = per_block.min(usize_of(row_count) - rows.len());
        let rebuilt;
        let row_area = match blocks.get(index).copied().flatten() {
            Some(row_area) => row_area,
            None => {
                rebuilt = rebuild(&blocks, index, usize_of(data_count), usize_of(parity_count))?;
                rebuilt.as_slice()
            }
        };
        for (number, chunk) in row_area
            .chunks_exact(SUMMARY_ROW_BYTES)
            .take(wanted)
            .enumerate()
        {
            let row =
                chunk
                    .first_chunk()
                    .and_then(SummaryRow::decode)
                    .ok_or(SummaryError::Row {
                        block: u64_of(index),
                        row: u64_of(number),
                    })?;
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Whether the block number `index` of a summary with `data_count` data blocks verifies, rows or parity.
pub(crate) fn is_sound_block(
    block: &[u8],
    (index, data_count): (u64, u64),
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
) -> bool {
    let kind = if index < data_count { DATA } else { PARITY };
    let of_summary = (write_unit_bytes, kind, data_count);
    verified_rows(block, usize_of(index), of_summary, place).is_some()
}

/// Adds the rows of the data block number `index` of a summary of `row_count` rows to `rows`; false if it does not verify.
pub(crate) fn decode_block(
    block: &[u8],
    (index, row_count): (u64, u64),
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
    rows: &mut Vec<SummaryRow>,
) -> bool {
    let of_summary = (write_unit_bytes, DATA, 0);
    let Some(row_area) = verified_rows(block, usize_of(index), of_summary, place) else {
        return false;
    };
    let per_block = rows_per_block(write_unit_bytes);
    let wanted = per_block.min(row_count.saturating_sub(index * per_block));
    let chunks = row_area.chunks_exact(SUMMARY_ROW_BYTES);
    for chunk in chunks.take(usize_of(wanted)) {
        let Some(row) = chunk.first_chunk().and_then(SummaryRow::decode) else {
            return false;
        };
        rows.push(row);
    }
    true
}

/// The row area of a data block from the others of its group.
fn rebuild(
    blocks: &[Option<&[u8]>],
    lost: usize,
    data_count: usize,
    parity_count: usize,
) -> Result<Vec<u8>, SummaryError> {
    let group = lost % parity_count;
    let members = (0..data_count)
        .filter(|index| index % parity_count == group)
        .chain(std::iter::once(data_count + group));
    let mut sum: Vec<u8> = Vec::new();
    let mut lost_blocks = 0;
    for member in members {
        match blocks.get(member).copied().flatten() {
            Some(row_area) => {
                sum.resize(row_area.len(), 0);
                exclusive_or(&mut sum, row_area);
            }
            None => lost_blocks += 1,
        }
    }
    if lost_blocks == 1 {
        Ok(sum)
    } else {
        Err(SummaryError::Group {
            group: u64_of(group),
            lost_blocks,
        })
    }
}

fn exclusive_or(sum: &mut [u8], other: &[u8]) {
    for (target, source) in sum.iter_mut().zip(other) {
        *target ^= source;
    }
}

fn header_of(index: usize, rows: usize, kind: u16) -> [u8; SUMMARY_BLOCK_HEADER_BYTES] {
    let mut header = [0; SUMMARY_BLOCK_HEADER_BYTES];
    put(&mut header, MAGIC_OFFSET, &SUMMARY_MAGIC.to_le_bytes());
    put(
        &mut header,
        INDEX_OFFSET,
        &u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes(),
    );
    put(
        &mut header,
        ROWS_OFFSET,
        &u16::try_from(rows).unwrap_or(u16::MAX).to_le_bytes(),
    );
    put(&mut header, KIND_OFFSET, &kind.to_le_bytes());
    header
}

fn put_checksum(
    block: &mut [u8],
    index: usize,
    write_unit_bytes: u64,
    place: (DeviceBinding, u64, Life),
) {
    let checksum = checksum_of(block, index, write_unit_bytes, place);
    if let Some(field) = block.get_mut(CHECKSUM_OFFSET..BODY_START) {
        field.copy_from_slice(&checksum.to_le_bytes());
    }
}

fn checksum_of(
    block: &[u8],
    index: usize,
    write_unit_bytes: u64,
    (binding, area_offset_bytes, life): (DeviceBinding, u64, Life),
) -> u32 {
    let offset_bytes = area_offset_bytes + u64_of(index) * write_unit_bytes;
    binding.checksum_long(
        offset_bytes,
        life,
        block.get(BODY_START..).unwrap_or_default(),
    )
}

/// The row area of a block whose header and checksum are right.
fn verified_rows(
    block: &[u8],
    index: usize,
    (write_unit_bytes, kind, data_count): (u64, u16, u64),
    place: (DeviceBinding, u64, Life),
) -> Option<&[u8]> {
    let header: &[u8; SUMMARY_BLOCK_HEADER_BYTES] = block.first_chunk()?;
    let number = if kind == DATA {
        u64_of(index)
    } else {
        u64_of(index) - data_count
    };
    let good = u32_at(header, MAGIC_OFFSET) == SUMMARY_MAGIC
        && u32_at(header, CHECKSUM_OFFSET) == checksum_of(block, index, write_unit_bytes, place)
        && u64::from(u32_at(header, INDEX_OFFSET)) == number
        && u16_at(header, KIND_OFFSET) == kind
        && is_zero_from(header, RESERVED_OFFSET);
    good.then(|| block.get(SUMMARY_BLOCK_HEADER_BYTES..))?
}

#[cfg(test)]
mod tests {
    use super::super::{BatchRow, tail_bytes};
    use super::*;
    use crate::Lsn;

    const UNIT: u64 = 512;

    fn place() -> (DeviceBinding, u64, Life) {
        (DeviceBinding::new(&[1; 16], 0), 1 << 20, Life::new(3))
    }

    fn rows(count: u64) -> Vec<SummaryRow> {
        (0..count)
            .map(|number| {
                SummaryRow::Batch(BatchRow {
                    offset_bytes: number * 512,
                    length_bytes: 512,
                    lsn: Lsn::new(number + 1),
                    durable: Lsn::new(number),
                    time_ms: number * 3,
                    record_count: 0,
                })
            })
            .collect()
    }

    fn encoded(count: u64) -> Vec<u8> {
        let (data, parity) = block_counts(count, UNIT);
        let mut area = vec![0xee; usize_of((data + parity) * UNIT)];
        encode_blocks(&rows(count), &mut area, UNIT, place());
        area
    }

    #[test]
    fn golden_bytes() {
        let area = encoded(1);
        let (data, parity) = area.split_at(512);
        assert_eq!(&data[..4], b"SUMM");
        assert_eq!(data[4..8], [0xa9, 0x84, 0x1f, 0x85]);
        assert_eq!(
            data[8..24],
            [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(parity[4..8], [0x2d, 0x26, 0x7f, 0x4d]);
        assert_eq!(
            parity[8..24],
            [0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(data[24..], parity[24..], "a group of one");
    }

    #[test]
    fn round_trips_of_every_size_up_to_three_groups() {
        for count in 0..300 {
            let decoded = decode_rows(&encoded(count), count, UNIT, place());
            assert_eq!(decoded, Ok(rows(count)), "{count} rows");
        }
    }

    #[test]
    fn any_one_block_of_each_group_may_be_lost() {
        let count = 250;
        let area = encoded(count);
        let (data, parity) = block_counts(count, UNIT);
        assert!(parity > 1, "the case needs several groups");
        for lost in 0..usize_of(data + parity) {
            let mut damaged = area.clone();
            damaged[lost * 512 + 100] ^= 1;
            let neighbour = (lost + 1) % usize_of(data);
            damaged[neighbour * 512..][..512].fill(0);
            let same_group = lost >= usize_of(data)
                && (lost - usize_of(data)) == neighbour % usize_of(parity)
                || lost == neighbour;
            if !same_group {
                assert_eq!(
                    decode_rows(&damaged, count, UNIT, place()),
                    Ok(rows(count)),
                    "{lost}"
                );
            }
        }
    }

    #[test]
    fn two_blocks_of_one_group_are_a_loss_that_is_said() {
        let count = 250;
        let mut area = encoded(count);
        let (_, parity) = block_counts(count, UNIT);
        area[100] ^= 1;
        area[usize_of(parity) * 512 + 100] ^= 1;
        let refused = decode_rows(&area, count, UNIT, place());
        assert_eq!(
            refused,
            Err(SummaryError::Group {
                group: 0,
                lost_blocks: 2
            })
        );
    }

    #[test]
    fn a_summary_of_another_life_or_place_is_refused() {
        let (binding, offset, life) = place();
        let area = encoded(20);
        assert!(decode_rows(&area, 20, UNIT, (binding, offset, Life::new(4))).is_err());
        assert!(decode_rows(&area, 20, UNIT, (binding, offset + 512, life)).is_err());
    }

    #[test]
    fn tail_is_blocks_and_footers() {
        assert_eq!(tail_bytes(0, UNIT), 2 * UNIT);
        assert_eq!(tail_bytes(1, UNIT), 4 * UNIT);
        assert_eq!(rows_per_block(UNIT), 11);
        assert_eq!(tail_bytes(11 * 8 + 1, UNIT), (9 + 2 + 2) * UNIT);
    }
}
