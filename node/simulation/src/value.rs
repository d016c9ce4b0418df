//! The bytes of a value: who wrote them for which key, how long, and a filling that follows from both, so
//! that a reader recognises every byte. Pure.

use crate::limits::{VALUE_BYTES_MAX, VALUE_BYTES_MIN};
use crate::subject::{Key, ValueId};

const HEADER_BYTES: usize = 16;
const _: () = assert!(HEADER_BYTES as u64 == VALUE_BYTES_MIN);

/// Why bytes are not a value of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mangled {
    /// Shorter than any value.
    Short {
        /// Bytes there are.
        found_bytes: usize,
    },
    /// A value of another key.
    Foreign {
        /// The key they belong to.
        found: Key,
    },
    /// Not as long as that value.
    Length {
        /// Bytes there are.
        found_bytes: usize,
        /// Bytes the value has.
        expected_bytes: usize,
    },
    /// Another byte than the value has.
    Filling {
        /// Where the first one is.
        position: usize,
    },
}

/// Length of a value in bytes: mostly short, some of several blocks.
fn length(value: ValueId) -> usize {
    let hash = mix(value.0);
    let span = if hash.is_multiple_of(8) {
        VALUE_BYTES_MAX - VALUE_BYTES_MIN
    } else {
        700
    };
    usize::try_from(VALUE_BYTES_MIN + (hash >> 8) % span).unwrap_or(HEADER_BYTES)
}

/// The bytes of `value` under `key`.
pub fn encode(key: Key, value: ValueId) -> Vec<u8> {
    let length = length(value);
    let mut bytes = Vec::with_capacity(length + 8);
    bytes.extend_from_slice(&key.0.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&value.0.to_le_bytes());
    let mut word = mix(value.0 ^ u64::from(key.0) << 32);
    while bytes.len() < length {
        word = word
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Which value of `key` these bytes are.
pub fn decode(key: Key, bytes: &[u8]) -> Result<ValueId, Mangled> {
    let found_bytes = bytes.len();
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(Mangled::Short { found_bytes });
    };
    let [k0, k1, k2, k3, _, _, _, _, value @ ..] = *header;
    let found = Key(u32::from_le_bytes([k0, k1, k2, k3]));
    if found != key {
        return Err(Mangled::Foreign { found });
    }
    let value = ValueId(u64::from_le_bytes(value));
    let expected = encode(key, value);
    if expected.len() != found_bytes {
        return Err(Mangled::Length {
            found_bytes,
            expected_bytes: expected.len(),
        });
    }
    match expected
        .iter()
        .zip(bytes)
        .position(|(expected, found)| expected != found)
    {
        None => Ok(value),
        Some(position) => Err(Mangled::Filling { position }),
    }
}

fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_their_lengths_vary() {
        let mut lengths = std::collections::BTreeSet::new();
        for number in 0..2000 {
            let bytes = encode(Key(7), ValueId(number));
            assert_eq!(decode(Key(7), &bytes), Ok(ValueId(number)));
            lengths.insert(bytes.len());
        }
        assert!(lengths.len() > 500 && lengths.iter().any(|length| *length > 8192));
    }

    #[test]
    fn every_other_byte_is_noticed() {
        let bytes = encode(Key(7), ValueId(1));
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            assert!(decode(Key(7), &changed).is_err(), "byte {position}");
        }
        assert_eq!(
            decode(Key(8), &bytes),
            Err(Mangled::Foreign { found: Key(7) })
        );
        assert_eq!(
            decode(Key(7), &bytes[..9]),
            Err(Mangled::Short { found_bytes: 9 })
        );
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(
            decode(Key(7), &longer),
            Err(Mangled::Length { .. })
        ));
    }
}
