//! Fixed-width little-endian fields at constant offsets of a fixed-size block.
//!
//! The block's size is a type parameter, so the only way to be out of bounds is a wrong offset
//! constant, which the golden test of each structure would show.

/// Reads `WIDTH` bytes at `offset`.
pub(crate) fn bytes_at<const SIZE: usize, const WIDTH: usize>(
    block: &[u8; SIZE],
    offset: usize,
) -> [u8; WIDTH] {
    let mut field = [0; WIDTH];
    field.copy_from_slice(&block[offset..offset + WIDTH]);
    field
}

/// Writes `value` at `offset`.
pub(crate) fn put<const SIZE: usize>(block: &mut [u8; SIZE], offset: usize, value: &[u8]) {
    block[offset..offset + value.len()].copy_from_slice(value);
}

/// Reads a `u16`.
pub(crate) fn u16_at<const SIZE: usize>(block: &[u8; SIZE], offset: usize) -> u16 {
    u16::from_le_bytes(bytes_at(block, offset))
}

/// Reads a `u32`.
pub(crate) fn u32_at<const SIZE: usize>(block: &[u8; SIZE], offset: usize) -> u32 {
    u32::from_le_bytes(bytes_at(block, offset))
}

/// Reads a `u64`.
pub(crate) fn u64_at<const SIZE: usize>(block: &[u8; SIZE], offset: usize) -> u64 {
    u64::from_le_bytes(bytes_at(block, offset))
}

/// True if every byte from `offset` to the end is zero, as reserved bytes must be.
pub(crate) fn is_zero_from<const SIZE: usize>(block: &[u8; SIZE], offset: usize) -> bool {
    block.iter().skip(offset).all(|byte| *byte == 0)
}

/// Lossless on the 64-bit platforms that the product supports.
pub(crate) const fn usize_of(value: u64) -> usize {
    const _: () = assert!(usize::BITS == 64, "only 64-bit platforms are supported");
    #[expect(
        clippy::as_conversions,
        reason = "usize is 64 bits wide: asserted above"
    )]
    let converted = value as usize;
    converted
}

/// Lossless on the 64-bit platforms that the product supports.
pub(crate) const fn u64_of(value: usize) -> u64 {
    #[expect(
        clippy::as_conversions,
        reason = "usize is 64 bits wide: asserted above"
    )]
    let converted = value as u64;
    converted
}

/// A length that the limits keep far below 4 GiB; a greater one is our own mistake and saturates.
pub(crate) fn u32_of(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Lossless widening for contexts where `From` is not const.
pub(crate) const fn usize_of_u32(value: u32) -> usize {
    #[expect(clippy::as_conversions, reason = "usize is wider than u32")]
    let converted = value as usize;
    converted
}
