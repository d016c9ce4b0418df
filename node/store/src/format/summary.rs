//! Summary: the end of a sealed segment, which names every batch and record in it.
//!
//! Rows (`row`), packed into blocks of one write unit with parity blocks beside them (`blocks`), and
//! a footer in each of the last two write units (`footer`). Any one block of a parity group may be
//! unreadable and the summary is still whole. FORMAT.md section 6 gives bytes and reasons.

mod blocks;
mod footer;
mod row;

pub use blocks::{
    PARITY_GROUP_BLOCKS, SUMMARY_BLOCK_HEADER_BYTES, SUMMARY_MAGIC, SummaryError, decode_rows,
    encode_blocks,
};
pub(crate) use blocks::{
    begin_parity, decode_block, encode_data_blocks, finish_parity, is_sound_block,
};
pub use footer::{Expiring, FOOTER_BYTES, FOOTER_COPIES, FOOTER_MAGIC, Footer, Holdings};
pub use row::{BatchRow, RecordRow, SUMMARY_ROW_BYTES, SummaryRow};

use super::fields::u64_of;

/// Data blocks and parity blocks that `row_count` rows need.
#[must_use]
pub fn block_counts(row_count: u64, write_unit_bytes: u64) -> (u64, u64) {
    let rows_per_block = rows_per_block(write_unit_bytes);
    let data = row_count.div_ceil(rows_per_block);
    (data, data.div_ceil(PARITY_GROUP_BLOCKS))
}

/// Rows that fit a block of one write unit.
#[must_use]
pub fn rows_per_block(write_unit_bytes: u64) -> u64 {
    write_unit_bytes.saturating_sub(u64_of(SUMMARY_BLOCK_HEADER_BYTES)) / u64_of(SUMMARY_ROW_BYTES)
}

/// Bytes at the end of a segment that a summary of `row_count` rows and its footers take.
#[must_use]
pub fn tail_bytes(row_count: u64, write_unit_bytes: u64) -> u64 {
    let (data, parity) = block_counts(row_count, write_unit_bytes);
    (data + parity + FOOTER_COPIES) * write_unit_bytes
}
