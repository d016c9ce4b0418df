//! The name of a bin: 1 to 255 bytes of UTF-8 without a zero byte, borrowed from where it stands.
//!
//! Names are compared as bytes everywhere. UTF-8 is demanded because names become columns, JSON
//! members and flatbuffers strings; the zero byte is refused because C clients end names with it.

use crate::display;
use crate::error::NameError;
use crate::limits::BIN_NAME_LENGTH_BYTES_MAX;

/// A checked name. Ordered and compared by its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinName<'a>(&'a [u8]);

impl<'a> BinName<'a> {
    /// Checks a name that the caller has as text.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn new(text: &'a str) -> Result<Self, NameError> {
        Self::check_bytes(text.as_bytes())?;
        Ok(Self(text.as_bytes()))
    }

    /// Checks a name that came as bytes.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, NameError> {
        if is_plain(bytes) && !bytes.is_empty() && bytes.len() <= BIN_NAME_LENGTH_BYTES_MAX {
            return Ok(Self(bytes));
        }
        Self::check_bytes(bytes)?;
        if let Err(error) = std::str::from_utf8(bytes) {
            return Err(NameError::NotUtf8 {
                valid_up_to: error.valid_up_to(),
            });
        }
        Ok(Self(bytes))
    }

    /// A name inside a content that has been checked before.
    pub(crate) const fn from_checked(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn check_bytes(bytes: &[u8]) -> Result<(), NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > BIN_NAME_LENGTH_BYTES_MAX {
            return Err(NameError::TooLong {
                length_bytes: bytes.len(),
            });
        }
        match bytes.iter().position(|byte| *byte == 0) {
            Some(offset) => Err(NameError::Zero { offset }),
            None => Ok(()),
        }
    }

    /// The bytes, 1 to 255 of them.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The text. Without `unsafe` it is looked through once more; compare bytes where speed counts.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        std::str::from_utf8(self.0).unwrap_or_default()
    }

    /// The length as it is encoded.
    pub(crate) fn length_byte(&self) -> u8 {
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }
}

/// Whether all bytes are ASCII and none is zero, as in nearly all names. Eight bytes at a time.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = bytes.as_chunks::<8>();
    // A byte's highest bit is set in one of the two exactly if it is above 0x7f or zero, or
    // follows one that is.
    let odd = words
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .fold(0, |odd, word| {
            odd | ((word | word.wrapping_sub(ONES)) & HIGHS)
        });
    odd == 0 && tail.iter().all(|byte| matches!(byte, 1..=0x7f))
}

impl std::fmt::Display for BinName<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| display::write_escaped(out, self.as_str()))
    }
}

impl std::fmt::Debug for BinName<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| display::write_quoted(out, self.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<&str, NameError>) {
        assert_eq!(
            BinName::from_bytes(bytes).map(|name| name.as_str()),
            expected
        );
        if let Ok(text) = std::str::from_utf8(bytes) {
            assert_eq!(BinName::new(text).map(|name| name.as_str()), expected);
        }
    }

    #[test]
    fn rules() {
        check(b"a", Ok("a"));
        check("gr\u{f6}\u{df}e".as_bytes(), Ok("gr\u{f6}\u{df}e"));
        check(&[b'x'; 255], Ok(&"x".repeat(255)));
        check(b"", Err(NameError::Empty));
        check(&[b'x'; 256], Err(NameError::TooLong { length_bytes: 256 }));
        check(b"a\0b", Err(NameError::Zero { offset: 1 }));
        check(b"ab\xff", Err(NameError::NotUtf8 { valid_up_to: 2 }));
    }

    #[test]
    fn one_odd_byte_is_found_anywhere() {
        for length in 1..40 {
            for at in 0..length {
                for byte in [0, 0x80, 0xff] {
                    let mut bytes = vec![b'x'; length];
                    assert!(is_plain(&bytes));
                    bytes[at] = byte;
                    assert!(!is_plain(&bytes), "{byte:#x} at {at} of {length}");
                }
            }
        }
        assert!(is_plain(&[1, 0x7f, 1, 0x7f, 1, 1, 1, 1, 1]));
    }

    #[test]
    fn display_escapes_what_would_break_a_line() {
        let name = BinName::new("a\nb").unwrap();
        assert_eq!(name.to_string(), "a\\nb");
        assert_eq!(format!("{name:?}"), "\"a\\nb\"");
    }
}
