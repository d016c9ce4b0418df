//! The digest of a key: the identity of a record.
//!
//! Never computed here (the client hashes, or `node` does); made only from a hash of a key or from bytes whose checksum has been
//! verified. Invariant: always 20 bytes, printed at a constant width of 40 lower-case hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::partition::PartitionId;

/// The 20 bytes of RIPEMD-160 over set name, key type and key.
///
/// Ordered by its bytes. Within one partition that is not the order of a scan, which is by [`ScanPosition`](crate::ScanPosition).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Digest::LENGTH_BYTES]);

impl Digest {
    /// Bytes of a digest.
    pub const LENGTH_BYTES: usize = 20;

    /// Takes the bytes of a digest that a hash of a key gave, or that were read with a valid checksum.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LENGTH_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes, in the order in which the hash gave them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH_BYTES] {
        &self.0
    }

    /// The partition that the digest belongs to.
    #[must_use]
    pub const fn partition(&self) -> PartitionId {
        PartitionId::of(self)
    }

    /// Bytes 2 to 9, least significant first: what an entry stores of the digest. None of these bits is a partition bit
    /// (those are in bytes 0 and 1), so within a partition all 64 tell keys apart.
    pub(crate) const fn tag(&self) -> u64 {
        let [_, _, a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestParseError;

    /// Reads 40 hexadecimal digits of either case, nothing before, between or after.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let length_expected = Self::LENGTH_BYTES * 2;
        if text.len() != length_expected {
            return Err(DigestParseError::Length {
                length_expected,
                length_found: text.len(),
            });
        }
        let mut bytes = [0_u8; Self::LENGTH_BYTES];
        for (byte, (position, pair)) in bytes
            .iter_mut()
            .zip(text.as_bytes().chunks_exact(2).enumerate())
        {
            for (nibble, character) in pair.iter().enumerate() {
                let value = char::from(*character)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok());
                let value = value.ok_or(DigestParseError::Character {
                    position: position * 2 + nibble,
                    found: *character,
                })?;
                *byte = *byte << 4 | value;
            }
        }
        Ok(Self(bytes))
    }
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DigestParseError {
    /// The text is not 40 bytes long.
    #[error("a digest has {length_expected} hexadecimal digits, the text has {length_found} bytes")]
    Length {
        /// Digits that a digest has.
        length_expected: usize,
        /// Bytes that the text has.
        length_found: usize,
    },
    /// A byte of the text is not a hexadecimal digit.
    #[error("byte {found:#04x} at position {position} of the digest is not a hexadecimal digit")]
    Character {
        /// Position of the byte in the text, from 0.
        position: usize,
        /// The byte.
        found: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascending() -> Digest {
        let mut bytes = [0_u8; Digest::LENGTH_BYTES];
        for (byte, value) in bytes.iter_mut().zip(0xa0_u8..) {
            *byte = value;
        }
        Digest::from_bytes(bytes)
    }

    #[test]
    fn text_round_trips_at_constant_width() {
        let text = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3";
        assert_eq!(ascending().to_string(), text);
        assert_eq!(format!("{:?}", ascending()), format!("Digest({text})"));
        assert_eq!(text.parse::<Digest>().unwrap(), ascending());
        assert_eq!(text.to_uppercase().parse::<Digest>().unwrap(), ascending());
        assert_eq!(Digest::from_bytes([0; 20]).to_string().len(), 40);
    }

    #[test]
    fn text_that_is_not_a_digest_is_refused() {
        let short = "a0a1".parse::<Digest>().unwrap_err();
        assert_eq!(
            short,
            DigestParseError::Length {
                length_expected: 40,
                length_found: 4
            }
        );
        let sign = format!("a0+1{}", "0".repeat(36))
            .parse::<Digest>()
            .unwrap_err();
        assert_eq!(
            sign,
            DigestParseError::Character {
                position: 2,
                found: b'+'
            }
        );
        let wide = format!("{}\u{e9}", "0".repeat(38))
            .parse::<Digest>()
            .unwrap_err();
        assert_eq!(
            wide,
            DigestParseError::Character {
                position: 38,
                found: 0xc3
            }
        );
    }

    #[test]
    fn tag_is_bytes_two_to_nine() {
        assert_eq!(ascending().tag(), 0xa9a8_a7a6_a5a4_a3a2);
    }
}
