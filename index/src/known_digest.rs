//! What is known of a digest when the record that holds it cannot be read: all of it, or the part that the
//! index keeps.
//!
//! Never guesses: bits that are not known are zero in the bytes and `?` in the text, and only a whole one
//! becomes a [`Digest`]. Invariant: of one that is not whole, nothing is set but the partition (byte 0 and the lower
//! half of byte 1) and the tag (bytes 2 to 9).

use std::fmt;

use crate::digest::Digest;
use crate::partition::PartitionId;
use crate::scan::ScanPosition;

/// A digest as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KnownDigest {
    bytes: [u8; Digest::LENGTH_BYTES],
    is_whole: bool,
}

/// Bytes of a digest of which the index keeps something.
const KEPT_BYTES: usize = 10;

impl KnownDigest {
    /// All of it.
    #[must_use]
    pub const fn of(digest: &Digest) -> Self {
        Self {
            bytes: *digest.as_bytes(),
            is_whole: true,
        }
    }

    /// What a partition and a position in it say: 76 of the 160 bits.
    #[must_use]
    pub const fn of_position(partition: PartitionId, position: ScanPosition) -> Self {
        let [p0, p1] = partition.get().to_le_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7] = position.tag().to_le_bytes();
        Self {
            bytes: [
                p0, p1, t0, t1, t2, t3, t4, t5, t6, t7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            is_whole: false,
        }
    }

    /// Takes the bytes of one that is not whole, as a peer sent them; `None` if a bit is set that
    /// cannot be known.
    #[must_use]
    pub fn from_part(bytes: [u8; Digest::LENGTH_BYTES]) -> Option<Self> {
        let mut unknown = bytes.iter().skip(KEPT_BYTES);
        let [_, second, ..] = bytes;
        (second & 0xf0 == 0 && unknown.all(|byte| *byte == 0)).then_some(Self {
            bytes,
            is_whole: false,
        })
    }

    /// The bytes; zero where they are not known.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Digest::LENGTH_BYTES] {
        &self.bytes
    }

    /// Whether all of it is known.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The digest, if all of it is known.
    #[must_use]
    pub fn whole(&self) -> Option<Digest> {
        self.is_whole.then(|| Digest::from_bytes(self.bytes))
    }

    /// The partition, which is always known.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        PartitionId::of(&Digest::from_bytes(self.bytes))
    }

    /// Where the key stands within its partition, which is always known.
    #[must_use]
    pub const fn position(&self) -> ScanPosition {
        ScanPosition::of(&Digest::from_bytes(self.bytes))
    }
}

/// The 40 digits of a digest, with `?` for those that are not known.
impl fmt::Display for KnownDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.bytes.iter().enumerate() {
            match place {
                1 if !self.is_whole => write!(formatter, "?{byte:x}")?,
                KEPT_BYTES.. if !self.is_whole => write!(formatter, "??")?,
                _ => write!(formatter, "{byte:02x}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3".parse().unwrap()
    }

    #[test]
    fn a_whole_one_is_the_digest() {
        let known = KnownDigest::of(&digest());
        assert_eq!(known.whole(), Some(digest()));
        assert_eq!(known.to_string(), digest().to_string());
        assert_eq!(known.partition(), digest().partition());
    }

    #[test]
    fn a_part_shows_what_is_missing_and_is_no_digest() {
        let part = KnownDigest::of_position(digest().partition(), ScanPosition::of(&digest()));
        assert_eq!(part.whole(), None);
        assert_eq!(part.to_string(), "a0?1a2a3a4a5a6a7a8a9????????????????????");
        assert_eq!(part.partition(), digest().partition());
        assert_eq!(part.position(), ScanPosition::of(&digest()));
        assert_eq!(KnownDigest::from_part(*part.as_bytes()), Some(part));
    }

    #[test]
    fn bits_that_cannot_be_known_are_refused() {
        let part = KnownDigest::of_position(digest().partition(), ScanPosition::of(&digest()));
        for (place, bit) in [(1, 0x10), (1, 0x80), (10, 1), (19, 0x80)] {
            let mut bytes = *part.as_bytes();
            bytes[place] |= bit;
            assert_eq!(KnownDigest::from_part(bytes), None, "byte {place}");
        }
    }
}
