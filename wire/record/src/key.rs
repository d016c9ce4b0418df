//! The user key, owned: what clients and tools build and hold.

use crate::error::KeyError;
use crate::key_ref::{KeyBytes, KeyKind, KeyRef, KeyValue};

/// A user key, owned.
#[derive(Clone)]
pub enum Key {
    /// A signed integer.
    Integer(i64),
    /// A double.
    Double(f64),
    /// Text of at most `KEY_LENGTH_BYTES_MAX` bytes.
    String(String),
    /// At most `KEY_LENGTH_BYTES_MAX` bytes.
    Bytes(Vec<u8>),
}

impl Key {
    /// The same key, borrowed and checked.
    ///
    /// # Errors
    /// [`KeyError::TooLong`] above `KEY_LENGTH_BYTES_MAX`.
    pub fn as_key_ref(&self) -> Result<KeyRef<'_>, KeyError> {
        match self {
            Self::Integer(number) => Ok(KeyRef::integer(*number)),
            Self::Double(number) => Ok(KeyRef::double(*number)),
            Self::String(text) => KeyRef::string(text),
            Self::Bytes(bytes) => KeyRef::bytes(bytes),
        }
    }
}

impl KeyRef<'_> {
    /// The same key, owned.
    #[must_use]
    pub fn to_key(&self) -> Key {
        match self.value() {
            KeyValue::Integer(number) => Key::Integer(number),
            KeyValue::Double(number) => Key::Double(number),
            KeyValue::String(text) => Key::String(text.to_owned()),
            KeyValue::Bytes(bytes) => Key::Bytes(bytes.to_vec()),
        }
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<KeyRef<'_>> for Key {
    fn from(key: KeyRef<'_>) -> Self {
        key.to_key()
    }
}

/// As [`KeyRef`]: equal when kind and bytes are.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Key {
    fn parts(&self) -> (KeyKind, KeyBytes<'_>) {
        match self {
            Self::Integer(number) => (KeyKind::Integer, KeyBytes::Number(number.to_be_bytes())),
            Self::Double(number) => (KeyKind::Double, KeyBytes::Number(number.to_be_bytes())),
            Self::String(text) => (KeyKind::String, KeyBytes::Run(text.as_bytes())),
            Self::Bytes(bytes) => (KeyKind::Bytes, KeyBytes::Run(bytes)),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, bytes) = self.parts();
        std::fmt::Display::fmt(&KeyRef::from_parts(kind, bytes), formatter)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::KEY_LENGTH_BYTES_MAX;

    #[test]
    fn there_and_back() {
        for key in [
            KeyRef::integer(i64::MIN),
            KeyRef::double(f64::NAN),
            KeyRef::double(-0.0),
            KeyRef::string("k1").unwrap(),
            KeyRef::bytes(&[0, 255]).unwrap(),
        ] {
            assert_eq!(key.to_key().as_key_ref(), Ok(key));
            assert_eq!(Key::from(key).to_string(), key.to_string());
        }
        let length_bytes = KEY_LENGTH_BYTES_MAX + 1;
        let too_long = Err(KeyError::TooLong { length_bytes });
        assert_eq!(Key::from(vec![b'x'; length_bytes]).as_key_ref(), too_long);
        assert_eq!(Key::from("x".repeat(length_bytes)).as_key_ref(), too_long);
    }

    #[test]
    fn equality_is_that_of_the_digest() {
        assert_ne!(KeyRef::double(0.0), KeyRef::double(-0.0));
        assert_eq!(Key::Double(f64::NAN), Key::Double(f64::NAN));
        assert_ne!(Key::from("1"), Key::from(1));
        assert_ne!(Key::from("a"), Key::from(vec![b'a']));
    }

    #[test]
    fn display() {
        assert_eq!(KeyRef::integer(5).to_string(), "5");
        assert_eq!(KeyRef::double(5.0).to_string(), "5.0");
        assert_eq!(Key::from("a\n").to_string(), "\"a\\n\"");
        assert_eq!(Key::from(vec![1, 255]).to_string(), "0x01ff");
        assert!(Key::from("x".repeat(5_000)).to_string().len() < 1_100);
    }
}
