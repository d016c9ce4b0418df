//! The user key, borrowed: what a client calls a record. Its kinds, its bytes as they are hashed
//! into the digest, and its form in a content.
//!
//! The digest itself is RIPEMD-160, computed by clients and tools; this crate hands out what is
//! hashed and hashes nothing.

use crate::display::{self, BoundedWriter};
use crate::error::{ContentError, KeyError, Part};
use crate::kind::Kind;
use crate::length::{LengthError, read_length, write_length};
use crate::limits::KEY_LENGTH_BYTES_MAX;
use crate::value_ref::checked_text;

/// A user key. Equal when kind and bytes are: `-0.0` is not `0.0`, and a NaN is itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyRef<'a> {
    kind: KeyKind,
    bytes: KeyBytes<'a>,
}

/// The kinds that a key can have, numbered as kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// A signed integer of 64 bits.
    Integer = 1,
    /// A double.
    Double = 2,
    /// UTF-8 text.
    String = 3,
    /// Bytes.
    Bytes = 4,
}

/// The bytes of a key as they are hashed and carried: big-endian numbers, raw text and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum KeyBytes<'a> {
    Number([u8; 8]),
    Run(&'a [u8]),
}

/// What a key means.
#[derive(Clone, Copy, PartialEq)]
pub enum KeyValue<'a> {
    /// A signed integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// Text.
    String(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl KeyKind {
    /// The kind that a byte from a peer or a device names.
    ///
    /// # Errors
    /// [`KeyError::Kind`] for a byte that names none.
    pub const fn from_byte(byte: u8) -> Result<Self, KeyError> {
        match byte {
            1 => Ok(Self::Integer),
            2 => Ok(Self::Double),
            3 => Ok(Self::String),
            4 => Ok(Self::Bytes),
            found => Err(KeyError::Kind { found }),
        }
    }

    /// The byte that stands for this kind, on the wire, on the device and in the digest.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Integer => 1,
            Self::Double => 2,
            Self::String => 3,
            Self::Bytes => 4,
        }
    }
}

impl<'a> KeyRef<'a> {
    /// An integer key.
    #[must_use]
    pub const fn integer(number: i64) -> Self {
        Self {
            kind: KeyKind::Integer,
            bytes: KeyBytes::Number(number.to_be_bytes()),
        }
    }

    /// A double key.
    #[must_use]
    pub const fn double(number: f64) -> Self {
        Self {
            kind: KeyKind::Double,
            bytes: KeyBytes::Number(number.to_be_bytes()),
        }
    }

    /// A text key.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] above `KEY_LENGTH_BYTES_MAX`.
    pub fn string(text: &'a str) -> Result<Self, KeyError> {
        Self::run(KeyKind::String, text.as_bytes())
    }

    /// A key of bytes.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] above `KEY_LENGTH_BYTES_MAX`.
    pub fn bytes(bytes: &'a [u8]) -> Result<Self, KeyError> {
        Self::run(KeyKind::Bytes, bytes)
    }

    /// A key as a peer sends it: the byte of its kind, and its bytes.
    ///
    /// # Errors
    /// [`KeyError`] says which rule it breaks.
    pub fn parse(kind_byte: u8, bytes: &'a [u8]) -> Result<Self, KeyError> {
        match KeyKind::from_byte(kind_byte)? {
            kind @ (KeyKind::Integer | KeyKind::Double) => match bytes.try_into() {
                Ok(number) => Ok(Self {
                    kind,
                    bytes: KeyBytes::Number(number),
                }),
                Err(_) => Err(KeyError::NumberLength { found: bytes.len() }),
            },
            KeyKind::String => match std::str::from_utf8(bytes) {
                Ok(text) => Self::string(text),
                Err(error) => Err(KeyError::NotUtf8 {
                    valid_up_to: error.valid_up_to(),
                }),
            },
            KeyKind::Bytes => Self::bytes(bytes),
        }
    }

    /// A key of a kind with such bytes, of any length.
    pub(crate) const fn from_parts(kind: KeyKind, bytes: KeyBytes<'a>) -> Self {
        Self { kind, bytes }
    }

    fn run(kind: KeyKind, bytes: &'a [u8]) -> Result<Self, KeyError> {
        if bytes.len() > KEY_LENGTH_BYTES_MAX {
            return Err(KeyError::TooLong {
                length_bytes: bytes.len(),
            });
        }
        Ok(Self {
            kind,
            bytes: KeyBytes::Run(bytes),
        })
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The bytes as both protocols, the device and the digest have them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            KeyBytes::Number(bytes) => bytes,
            KeyBytes::Run(bytes) => bytes,
        }
    }

    /// What the bytes mean.
    #[must_use]
    pub fn value(&self) -> KeyValue<'a> {
        match (self.kind, self.bytes) {
            (KeyKind::Double, KeyBytes::Number(bytes)) => {
                KeyValue::Double(f64::from_be_bytes(bytes))
            }
            (_, KeyBytes::Number(bytes)) => KeyValue::Integer(i64::from_be_bytes(bytes)),
            (KeyKind::String, KeyBytes::Run(bytes)) => KeyValue::String(checked_text(bytes)),
            (_, KeyBytes::Run(bytes)) => KeyValue::Bytes(bytes),
        }
    }

    /// What is hashed into the digest of this key in `set` (empty for no set).
    #[must_use]
    pub const fn digest_input<'s>(&self, set: &'s str) -> DigestInput<'a, 's> {
        DigestInput {
            set,
            kind_byte: [self.kind.to_byte()],
            bytes: self.bytes,
        }
    }

    /// Reads the key of a content whose header gave `kind_byte`; zero says that it has none.
    pub(crate) fn split_off(
        kind_byte: u8,
        rest: &mut &'a [u8],
    ) -> Result<Option<Self>, ContentError> {
        if kind_byte == Kind::Nil.to_byte() {
            return Ok(None);
        }
        let length = match KeyKind::from_byte(kind_byte)? {
            KeyKind::Integer | KeyKind::Double => 8,
            KeyKind::String | KeyKind::Bytes => read_length(rest)?,
        };
        let Some((bytes, tail)) = rest.split_at_checked(length) else {
            let available = rest.len();
            return Err(ContentError::Truncated {
                part: Part::Key,
                needed: length,
                available,
            });
        };
        *rest = tail;
        Ok(Some(Self::parse(kind_byte, bytes)?))
    }

    /// Writes the key behind a content's header.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if let KeyBytes::Run(bytes) = self.bytes {
            write_length(bytes.len(), out);
        }
        out.extend_from_slice(self.as_bytes());
    }
}

impl From<LengthError> for ContentError {
    fn from(error: LengthError) -> Self {
        match error {
            LengthError::Truncated { needed, available } => Self::Truncated {
                part: Part::Key,
                needed,
                available,
            },
            LengthError::LongForm { found } => Self::Key(KeyError::LongLength { found }),
        }
    }
}

/// What is hashed into a digest, in this order: the set's name, the kind's byte, the key's bytes.
#[derive(Clone, Copy)]
pub struct DigestInput<'a, 's> {
    set: &'s str,
    kind_byte: [u8; 1],
    bytes: KeyBytes<'a>,
}

impl DigestInput<'_, '_> {
    /// The parts, to be hashed one after the other as if they were one run of bytes.
    #[must_use]
    pub const fn parts(&self) -> [&[u8]; 3] {
        let key = match &self.bytes {
            KeyBytes::Number(bytes) => bytes.as_slice(),
            KeyBytes::Run(bytes) => bytes,
        };
        [self.set.as_bytes(), &self.kind_byte, key]
    }
}

pub(crate) fn write_key(out: &mut BoundedWriter<'_, '_>, key: KeyValue<'_>) -> std::fmt::Result {
    use std::fmt::Write as _;
    match key {
        KeyValue::Integer(number) => write!(out, "{number}"),
        KeyValue::Double(number) => write!(out, "{number:?}"),
        KeyValue::String(text) => display::write_quoted(out, text),
        KeyValue::Bytes(bytes) => display::write_hex(out, bytes),
    }
}

impl std::fmt::Display for KeyRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| write_key(out, self.value()))
    }
}

impl std::fmt::Debug for KeyRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

impl std::fmt::Debug for KeyValue<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| write_key(out, *self))
    }
}

impl std::fmt::Debug for DigestInput<'_, '_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [set, kind, key] = self.parts();
        display::write_bounded(formatter, |out| {
            [set, kind, key]
                .into_iter()
                .try_for_each(|part| display::write_hex(out, part))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ripemd::{Digest as _, Ripemd160};

    #[track_caller]
    fn check_digest(set: &str, key: KeyRef<'_>, hex: &str) {
        let mut hasher = Ripemd160::new();
        for part in key.digest_input(set).parts() {
            hasher.update(part);
        }
        let digest: String = hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(digest, hex);
    }

    #[test]
    fn digests_are_those_that_unmodified_clients_compute() {
        let k1 = KeyRef::string("k1").unwrap();
        check_digest("demo", k1, "b747f5854d0b33259928d0cfab7fad81d6abfbf6");
        check_digest("", k1, "50149955959c2fef0a83613ae80c78bb9c96b269");
        check_digest(
            "demo",
            KeyRef::integer(2),
            "ae6a515f37de4adacc4496e2da1fea848c3a9270",
        );
        check_digest(
            "demo",
            KeyRef::integer(-1),
            "e9d49a24c3debdc5a6d551d3e7087999a263bb97",
        );
        let blob = KeyRef::bytes(&[1, 2, 3]).unwrap();
        check_digest("demo", blob, "ff31c926fbef445648ce63ca72a698a5473425c1");
        check_digest("vec", k1, "342d38e564359ca45a7ca396ea94eae8d8585bda");
    }

    #[track_caller]
    fn check_round_trip(key: KeyRef<'_>, bytes: &[u8]) {
        let mut out = Vec::new();
        key.write(&mut out);
        assert_eq!(out, bytes);
        let mut rest = bytes;
        assert_eq!(
            KeyRef::split_off(key.kind().to_byte(), &mut rest),
            Ok(Some(key))
        );
        assert!(rest.is_empty());
        assert_eq!(KeyRef::parse(key.kind().to_byte(), key.as_bytes()), Ok(key));
        for length in 0..bytes.len() {
            assert!(KeyRef::split_off(key.kind().to_byte(), &mut &bytes[..length]).is_err());
        }
    }

    #[test]
    fn golden() {
        check_round_trip(
            KeyRef::integer(-2),
            &[255, 255, 255, 255, 255, 255, 255, 254],
        );
        check_round_trip(KeyRef::double(1.5), &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        check_round_trip(KeyRef::string("k1").unwrap(), b"\x02k1");
        check_round_trip(KeyRef::string("").unwrap(), b"\0");
        check_round_trip(
            KeyRef::bytes(&[0; 254]).unwrap(),
            &[&[254][..], &[0; 254]].concat(),
        );
        let long = [&[255, 255, 255, 0, 0][..], &[7; 65_535]].concat();
        check_round_trip(KeyRef::bytes(&[7; 65_535]).unwrap(), &long);
    }

    #[test]
    fn rules() {
        for kind in (0..=u8::MAX).filter(|kind| !(1..=4).contains(kind)) {
            assert_eq!(
                KeyRef::parse(kind, b""),
                Err(KeyError::Kind { found: kind })
            );
        }
        assert_eq!(
            KeyRef::parse(1, &[0; 7]),
            Err(KeyError::NumberLength { found: 7 })
        );
        assert_eq!(
            KeyRef::parse(2, &[0; 9]),
            Err(KeyError::NumberLength { found: 9 })
        );
        assert_eq!(
            KeyRef::parse(3, b"a\xff"),
            Err(KeyError::NotUtf8 { valid_up_to: 1 })
        );
        let long = vec![b'x'; KEY_LENGTH_BYTES_MAX + 1];
        let too_long = KeyError::TooLong {
            length_bytes: KEY_LENGTH_BYTES_MAX + 1,
        };
        assert_eq!(KeyRef::parse(3, &long), Err(too_long));
        assert_eq!(KeyRef::parse(4, &long), Err(too_long));
        assert_eq!(
            KeyRef::split_off(4, &mut &[255, 9, 0, 0, 0][..]),
            Err(ContentError::Key(KeyError::LongLength { found: 9 }))
        );
        assert_eq!(KeyRef::split_off(0, &mut &[1][..]), Ok(None));
    }
}
