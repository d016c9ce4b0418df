//! The one place where lengths change between `usize` and fixed widths. It never truncates: `usize` is 64 bits here, checked at
//! compile time, so that both directions keep the value.

/// Corelith runs on x86-64 only; a narrower `usize` would make the conversions below lossy.
const _: () = assert!(usize::BITS == 64);

/// A memory length as a device length.
#[must_use]
#[expect(
    clippy::as_conversions,
    reason = "lossless: usize is 64 bits, asserted above"
)]
pub const fn to_u64(length: usize) -> u64 {
    length as u64
}

/// A device length as a memory length.
#[must_use]
#[expect(
    clippy::as_conversions,
    reason = "lossless: usize is 64 bits, asserted above"
)]
pub const fn to_usize(length: u64) -> usize {
    length as usize
}

/// A slot or an index as a memory index.
#[must_use]
#[expect(
    clippy::as_conversions,
    reason = "lossless: usize is 64 bits, asserted above"
)]
pub(crate) const fn index(value: u32) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::{index, to_u64, to_usize};

    #[test]
    fn extremes_survive() {
        assert_eq!(to_usize(to_u64(usize::MAX)), usize::MAX);
        assert_eq!(to_u64(to_usize(u64::MAX)), u64::MAX);
        assert_eq!(index(u32::MAX), 4_294_967_295);
    }
}
