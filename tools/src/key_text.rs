//! Keys as people write them: a text and the type that it stands for.

use clap::ValueEnum;
use corelith_record::{Key, KeyError, KeyRef};

use crate::base64;

/// What a key's text stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum KeyType {
    /// The text itself.
    #[default]
    String,
    /// A whole number that fits 64 bits with a sign.
    Integer,
    /// A number with or without a point or exponent.
    Double,
    /// Base64.
    Bytes,
}

/// A text that is no key of the type asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It is not an integer, a double, or base64.
    #[error("the key {text:?} is not of the type {expected}")]
    Type {
        /// The text.
        text: String,
        /// The type.
        expected: &'static str,
    },
    /// It is longer than a key may be.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl KeyType {
    /// The key that `text` stands for.
    ///
    /// # Errors
    /// [`KeyTextError`] if it stands for none of this type.
    pub fn parse(self, text: &str) -> Result<Key, KeyTextError> {
        let wrong = |expected| KeyTextError::Type {
            text: text.to_owned(),
            expected,
        };
        let key = match self {
            Self::String => Key::String(text.to_owned()),
            Self::Integer => Key::Integer(text.parse().map_err(|_| wrong("integer"))?),
            Self::Double => Key::Double(text.parse().map_err(|_| wrong("double"))?),
            Self::Bytes => Key::Bytes(base64::decode(text).map_err(|_| wrong("bytes (base64)"))?),
        };
        key.as_key_ref()?;
        Ok(key)
    }

    /// The key that `text` stands for, without a copy where the text is the key.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_in<'a>(
        self,
        text: &'a str,
        place: &'a mut Option<Key>,
    ) -> Result<KeyRef<'a>, KeyTextError> {
        if self == Self::String {
            return Ok(KeyRef::string(text)?);
        }
        Ok(place.insert(self.parse(text)?).as_key_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_each_type() {
        assert_eq!(KeyType::String.parse("17"), Ok(Key::from("17")));
        assert_eq!(KeyType::Integer.parse("17"), Ok(Key::from(17)));
        assert_eq!(KeyType::Integer.parse("-17"), Ok(Key::from(-17)));
        assert_eq!(KeyType::Double.parse("17"), Ok(Key::Double(17.0)));
        assert_eq!(KeyType::Bytes.parse("AAE="), Ok(Key::from(vec![0, 1])));
        for (kind, text) in [
            (KeyType::Integer, "1.0"),
            (KeyType::Integer, ""),
            (KeyType::Integer, "9223372036854775808"),
            (KeyType::Double, "x"),
            (KeyType::Bytes, "A"),
        ] {
            assert!(
                matches!(kind.parse(text), Err(KeyTextError::Type { .. })),
                "{text}"
            );
        }
        let long = "x".repeat(65_536);
        assert!(matches!(
            KeyType::String.parse(&long),
            Err(KeyTextError::Key(_))
        ));
    }

    #[test]
    fn borrowed_and_owned_are_the_same_key() {
        for (kind, text) in [
            (KeyType::String, "a"),
            (KeyType::Integer, "5"),
            (KeyType::Double, "5"),
            (KeyType::Bytes, "AAE="),
        ] {
            let mut place = None;
            let borrowed = kind.parse_in(text, &mut place).unwrap().to_key();
            assert_eq!(borrowed, kind.parse(text).unwrap());
        }
    }
}
