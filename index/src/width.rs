//! Conversions between integers of different width, where the compiler has none without loss.
//!
//! Never loses a bit: what does not fit is our own mistake and stops the process. Nothing here reaches
//! a device or a peer.

const _: () = assert!(
    usize::BITS == u64::BITS,
    "the index is written for 64-bit machines"
);

/// A count or position in memory as a fixed width.
#[expect(clippy::as_conversions, reason = "usize has 64 bits, asserted above")]
pub(crate) const fn wide(value: usize) -> u64 {
    value as u64
}

/// A fixed width as a count or position in memory.
#[expect(clippy::as_conversions, reason = "usize has 64 bits, asserted above")]
pub(crate) const fn index(value: u64) -> usize {
    value as usize
}

/// A 32-bit number as a count or position in memory.
#[expect(
    clippy::as_conversions,
    reason = "usize has more than 32 bits, asserted above"
)]
pub(crate) const fn index32(value: u32) -> usize {
    value as usize
}

/// The upper half of a 64-bit word.
#[expect(clippy::as_conversions, reason = "32 bits are left after the shift")]
pub(crate) const fn upper_half(word: u64) -> u32 {
    (word >> 32) as u32
}

/// A count that is known to be below 2^32.
#[expect(clippy::as_conversions, reason = "asserted just before")]
pub(crate) const fn narrow32(value: usize) -> u32 {
    assert!(value < 1 << 32, "a count outgrew 32 bits");
    value as u32
}

/// A count that is known to be below 2^8.
#[expect(clippy::as_conversions, reason = "asserted just before")]
pub(crate) const fn narrow8(value: usize) -> u8 {
    assert!(value < 1 << 8, "a count outgrew 8 bits");
    value as u8
}

/// A count as a real number, to within one part in 2^53.
pub(crate) fn real(count: u64) -> f64 {
    f64::from(upper_half(count)) * 2.0_f64.powi(32) + f64::from(upper_half(count << u32::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive() {
        assert_eq!(wide(usize::MAX), u64::MAX);
        assert_eq!(index(u64::MAX), usize::MAX);
        assert_eq!(index32(u32::MAX), 0xffff_ffff);
        assert_eq!(upper_half(0x1234_5678_9abc_def0), 0x1234_5678);
        assert_eq!(narrow32(0xffff_ffff), u32::MAX);
        assert_eq!(narrow8(255), 255);
        assert_eq!(real(0x12_3456_789a), 78_187_493_530.0);
    }
}
