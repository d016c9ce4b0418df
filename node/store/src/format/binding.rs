//! Binding: what ties bytes to the place that they were written for.
//!
//! A checksum that also covers volume, device slot, position and life turns a misdirected write, a
//! lost write and a leftover of an earlier life into a checksum mismatch. These values are not
//! stored beside the bytes: the reader knows them, or has no business to believe the bytes.

use crate::Life;
use crate::planted::{PlantedBug, is_planted};

/// Volume and device of a structure, folded into 32 bits once at open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceBinding(u32);

/// CRC-32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A CRC-32C that is made in pieces.
pub(crate) struct RunningSum(crc_fast::Digest);

impl RunningSum {
    /// Of no byte yet.
    pub(crate) fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    /// Goes on with `bytes`.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all of them.
    pub(crate) fn finish(self) -> u32 {
        #[expect(
            clippy::as_conversions,
            reason = "a 32-bit sum in a 64-bit return type"
        )]
        let sum = self.0.finalize() as u32;
        sum
    }
}

impl DeviceBinding {
    /// Folds the volume's UUID and the device's slot number.
    #[must_use]
    pub fn new(volume: &[u8; 16], slot: u16) -> Self {
        let mut bytes = [0; 18];
        let (uuid, number) = bytes.split_at_mut(16);
        uuid.copy_from_slice(volume);
        number.copy_from_slice(&slot.to_le_bytes());
        Self(crc32c(&bytes))
    }

    /// Checksum of `body`, bound to `offset_bytes` on this device and to `life`.
    ///
    /// `BOUND` is 16 bytes more than `BODY`: one contiguous buffer is cheaper than a running sum.
    #[must_use]
    pub fn checksum<const BODY: usize, const BOUND: usize>(
        self,
        offset_bytes: u64,
        life: Life,
        body: &[u8; BODY],
    ) -> u32 {
        const { assert!(BOUND == BODY + 16) }
        let mut bound = [0; BOUND];
        let (place, rest) = bound.split_at_mut(16);
        let (device, position) = place.split_at_mut(4);
        device.copy_from_slice(&self.0.to_le_bytes());
        let (offset, age) = position.split_at_mut(8);
        offset.copy_from_slice(&bound_offset(offset_bytes).to_le_bytes());
        age.copy_from_slice(&life.get().to_le_bytes());
        rest.copy_from_slice(body);
        crc32c(&bound)
    }

    /// Checksum of a body of any length, bound in the same way.
    #[must_use]
    pub fn checksum_long(self, offset_bytes: u64, life: Life, body: &[u8]) -> u32 {
        let mut sum = RunningSum::new();
        sum.add(&self.0.to_le_bytes());
        sum.add(&bound_offset(offset_bytes).to_le_bytes());
        sum.add(&life.get().to_le_bytes());
        sum.add(body);
        sum.finish()
    }
}

/// The place that a checksum covers.
fn bound_offset(offset_bytes: u64) -> u64 {
    if is_planted(PlantedBug::IgnorePlace) {
        return 0;
    }
    offset_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_agree_and_every_part_counts() {
        let binding = DeviceBinding::new(&[7; 16], 3);
        let body = [5_u8; 20];
        let sum = binding.checksum::<20, 36>(4096, Life::new(9), &body);
        assert_eq!(sum, binding.checksum_long(4096, Life::new(9), &body));
        assert_ne!(sum, binding.checksum::<20, 36>(8192, Life::new(9), &body));
        assert_ne!(sum, binding.checksum::<20, 36>(4096, Life::new(8), &body));
        assert_ne!(
            sum,
            DeviceBinding::new(&[7; 16], 4).checksum::<20, 36>(4096, Life::new(9), &body)
        );
        assert_ne!(
            sum,
            DeviceBinding::new(&[8; 16], 3).checksum::<20, 36>(4096, Life::new(9), &body)
        );
    }
}
