//! The length of an encoded record, as an entry keeps it: ten bits, rounded up.
//!
//! Never shorter than the record. Ten bits are a 4-bit exponent over a 6-bit mantissa, in granules of 16 bytes: exact to the granule up to
//! 2,032 bytes, at most 1/64 (1.6 %) too long above. With exponent 0 the value is the mantissa itself; with exponent
//! `e` it is `(64 + mantissa) << (e - 1)`.

use crate::limits::{LENGTH_GRANULE_BYTES, RECORD_LENGTH_BYTES_MAX};

const MANTISSA_BITS: u32 = 6;
const MANTISSA_COUNT: u32 = 1 << MANTISSA_BITS;

/// How many bytes at most a record takes on the device.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordLength(u16);

impl RecordLength {
    /// Bits of the packed form.
    pub const BITS: u32 = 10;

    /// The least length that can be kept and is not below `length_bytes`; `None` when that is above
    /// [`RECORD_LENGTH_BYTES_MAX`].
    #[must_use]
    pub fn round_up(length_bytes: u32) -> Option<Self> {
        if length_bytes > RECORD_LENGTH_BYTES_MAX {
            return None;
        }
        let granule_count = length_bytes.div_ceil(LENGTH_GRANULE_BYTES);
        if granule_count < MANTISSA_COUNT {
            return u16::try_from(granule_count).ok().map(Self);
        }
        // The top seven bits are 64 + mantissa; what is below them is rounded up, which may carry into the next power of two: that is
        // the next exponent with mantissa 0, which plain addition gives.
        let shift = granule_count.ilog2() - MANTISSA_BITS;
        let significant = granule_count.div_ceil(1 << shift);
        let packed = (shift << MANTISSA_BITS) + significant;
        u16::try_from(packed).ok().map(Self)
    }

    /// The length in bytes: at least the record's own, a multiple of 16.
    #[must_use]
    pub fn bytes_max(self) -> u32 {
        let packed = u32::from(self.0);
        let (exponent, mantissa) = (packed >> MANTISSA_BITS, packed % MANTISSA_COUNT);
        let granule_count = if exponent == 0 {
            mantissa
        } else {
            (MANTISSA_COUNT + mantissa) << (exponent - 1)
        };
        granule_count * LENGTH_GRANULE_BYTES
    }

    /// The ten bits, for an entry.
    pub(crate) const fn packed(self) -> u16 {
        self.0
    }

    /// The inverse of [`RecordLength::packed`]; bits above the tenth are cut off.
    pub(crate) const fn from_packed(packed: u16) -> Self {
        Self(packed % (1 << Self::BITS))
    }
}

impl std::fmt::Debug for RecordLength {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RecordLength({} B)", self.bytes_max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_to_the_granule_when_small() {
        for length_bytes in 0..=2032 {
            let kept = RecordLength::round_up(length_bytes).unwrap().bytes_max();
            assert_eq!(kept, length_bytes.div_ceil(16) * 16);
        }
    }

    #[test]
    fn never_shorter_and_at_most_a_sixty_fourth_longer() {
        for granule_count in 1..=RECORD_LENGTH_BYTES_MAX / 16 {
            let exact = granule_count * 16;
            let kept = RecordLength::round_up(exact).unwrap();
            assert!(kept.bytes_max() >= exact, "{exact}");
            assert!(
                kept.bytes_max() - exact <= exact / 64,
                "{exact} kept as {kept:?}"
            );
            assert_eq!(RecordLength::round_up(kept.bytes_max()), Some(kept));
            assert_eq!(RecordLength::from_packed(kept.packed()), kept);
            assert!(kept.packed() < 1 << RecordLength::BITS);
        }
    }

    #[test]
    fn largest_record_fits_and_no_larger() {
        let largest = RecordLength::round_up(RECORD_LENGTH_BYTES_MAX).unwrap();
        assert_eq!(largest.bytes_max(), RECORD_LENGTH_BYTES_MAX);
        assert_eq!(RecordLength::round_up(RECORD_LENGTH_BYTES_MAX + 1), None);
        assert_eq!(RecordLength::round_up(0).unwrap().bytes_max(), 0);
    }
}
