//! One bin as it stands in a content. Reading and writing.
//!
//! The bytes are described in `CONTENT.md`. Lengths and the kind stand before name and value, so
//! that a reader that looks for another bin steps over this one without touching them.

use crate::bin_value::BinValue;
use crate::error::BinError;
use crate::error::NameError;
use crate::kind::Kind;
use crate::length::{LONG_FORM, LengthError, length_of_length, read_length, write_length};
use crate::name::BinName;
use crate::pace::Pace;

/// One bin: its name and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bin<'a> {
    name: BinName<'a>,
    value: BinValue<'a>,
    encoded: &'a [u8],
}

impl<'a> Bin<'a> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> BinName<'a> {
        self.name
    }

    /// Its value.
    #[must_use]
    pub const fn value(&self) -> BinValue<'a> {
        self.value
    }

    /// Whether this is its name. Its last byte is looked at first: names of one record often begin
    /// alike, and seldom end so.
    #[inline]
    pub(crate) fn is_called(&self, name: &[u8]) -> bool {
        let own = self.name.as_bytes();
        own.len() == name.len() && own.last() == name.last() && own == name
    }

    /// The whole bin as it stands in the content.
    pub(crate) const fn encoded(&self) -> &'a [u8] {
        self.encoded
    }

    /// Takes the bin off the head of `rest`. Looks at kind and lengths only; see [`Self::check`].
    /// Without a reason where there is none; [`explain`] finds it.
    #[inline]
    pub(crate) fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let head = Head::read(rest)?;
        let (name, behind) = head.behind.split_at_checked(head.name_length)?;
        let (value, tail) = behind.split_at_checked(head.value_length)?;
        let (encoded, _) = rest.split_at_checked(rest.len().checked_sub(tail.len())?)?;
        *rest = tail;
        Some(Self {
            name: BinName::from_checked(name),
            value: BinValue::from_checked(head.kind, value),
            encoded,
        })
    }

    /// The rules of names and values, once the lengths are right.
    pub(crate) fn check(&self) -> Result<(), BinError> {
        BinName::from_bytes(self.name.as_bytes())?;
        self.value.check()?;
        Ok(())
    }

    /// [`Bin::check`] of a value that may be long.
    pub(crate) async fn check_in_pieces<P: AsyncFnMut()>(
        &self,
        pace: &mut Pace<P>,
    ) -> Result<(), BinError> {
        BinName::from_bytes(self.name.as_bytes())?;
        self.value.check_in_pieces(pace).await?;
        Ok(())
    }
}

/// What stands before the name of a bin.
struct Head<'a> {
    kind: Kind,
    name_length: usize,
    value_length: usize,
    /// From the name on.
    behind: &'a [u8],
}

impl<'a> Head<'a> {
    /// The head at the start of `bytes`, if it is whole and its kind and lengths are allowed.
    #[inline]
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let ([kind, name_length], mut behind) = bytes.split_first_chunk::<2>()?;
        let kind = Kind::from_byte(*kind).ok()?;
        let name_length = usize::from(*name_length);
        if name_length == 0 {
            return None;
        }
        let value_length = match kind.fixed_length_bytes() {
            Some(length) => length,
            None => read_length(&mut behind).ok()?,
        };
        Some(Self {
            kind,
            name_length,
            value_length,
            behind,
        })
    }
}

/// The name of the bin at the start of `bytes`, without looking at what follows it.
#[inline]
pub(crate) fn name_at_head(bytes: &[u8]) -> Option<&[u8]> {
    let head = Head::read(bytes)?;
    head.behind.get(..head.name_length)
}

/// Why there is no bin at the start of `bytes`.
#[cold]
pub(crate) fn explain(bytes: &[u8]) -> BinError {
    let Some(([kind, name_length], tail)) = bytes.split_first_chunk::<2>() else {
        return BinError::Truncated {
            needed: 2,
            available: bytes.len(),
        };
    };
    let kind = match Kind::from_byte(*kind) {
        Ok(kind) => kind,
        Err(error) => return BinError::Value(error),
    };
    if *name_length == 0 {
        return BinError::Name(NameError::Empty);
    }
    let mut tail = tail;
    let value_length = match kind.fixed_length_bytes() {
        Some(length) => length,
        None => match read_length(&mut tail) {
            Ok(length) => length,
            Err(error) => return error.into(),
        },
    };
    let needed = usize::from(*name_length).saturating_add(value_length);
    BinError::Truncated {
        needed,
        available: tail.len(),
    }
}

/// Writes what stands before the value. The caller writes `value_length` bytes after it.
pub(crate) fn write_head(kind: Kind, name: BinName<'_>, value_length: usize, out: &mut Vec<u8>) {
    match (kind.fixed_length_bytes(), u8::try_from(value_length)) {
        (Some(_), _) => out.extend_from_slice(&[kind.to_byte(), name.length_byte()]),
        (None, Ok(short)) if short != LONG_FORM => {
            out.extend_from_slice(&[kind.to_byte(), name.length_byte(), short]);
        }
        (None, Ok(_) | Err(_)) => {
            out.extend_from_slice(&[kind.to_byte(), name.length_byte()]);
            write_length(value_length, out);
        }
    }
    out.extend_from_slice(name.as_bytes());
}

/// How many bytes a bin takes.
pub(crate) fn encoded_length(kind: Kind, name: BinName<'_>, value_length: usize) -> usize {
    let length_bytes = if kind.fixed_length_bytes().is_none() {
        length_of_length(value_length)
    } else {
        0
    };
    (2 + length_bytes + name.as_bytes().len()).saturating_add(value_length)
}

impl From<LengthError> for BinError {
    fn from(error: LengthError) -> Self {
        match error {
            LengthError::Truncated { needed, available } => Self::Truncated { needed, available },
            LengthError::LongForm { found } => Self::LongLength { found },
        }
    }
}

impl std::fmt::Debug for Bin<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}: {}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ValueError;

    #[track_caller]
    fn check(kind: Kind, name: &str, value: &[u8], bytes: &[u8]) {
        let name = BinName::new(name).unwrap();
        let mut out = Vec::new();
        write_head(kind, name, value.len(), &mut out);
        out.extend_from_slice(value);
        assert_eq!(out, bytes);
        assert_eq!(encoded_length(kind, name, value.len()), bytes.len());

        let mut rest = bytes;
        let bin = Bin::take(&mut rest).unwrap();
        assert!(rest.is_empty());
        bin.check().unwrap();
        assert_eq!(
            (bin.name(), bin.value().kind(), bin.value().as_bytes()),
            (name, kind, value)
        );
        assert_eq!(bin.encoded(), bytes);
        for length in 0..bytes.len() {
            let mut rest = &bytes[..length];
            assert_eq!(Bin::take(&mut rest), None);
            assert_eq!(rest.len(), length, "a failed read moves nothing");
        }
    }

    #[test]
    fn golden() {
        check(
            Kind::Integer,
            "a",
            &[0, 0, 0, 0, 0, 0, 0, 1],
            b"\x01\x01a\0\0\0\0\0\0\0\x01",
        );
        check(Kind::Bool, "t", &[1], b"\x11\x01t\x01");
        check(Kind::Nil, "gone", &[], b"\x00\x04gone");
        check(Kind::String, "s", b"xyz", b"\x03\x01\x03sxyz");
        let long = [b'x'; 255];
        let mut bytes = b"\x03\x01\xff\xff\0\0\0s".to_vec();
        bytes.extend_from_slice(&long);
        check(Kind::String, "s", &long, &bytes);
    }

    #[test]
    fn what_is_no_bin() {
        for (bytes, error) in [
            (
                &b"\x05\x01a"[..],
                BinError::Value(ValueError::UnknownKind { found: 5 }),
            ),
            (b"\x01\x00", BinError::Name(NameError::Empty)),
            (
                b"\x03\x01\xff\xfe\0\0\0s",
                BinError::LongLength { found: 254 },
            ),
            (
                b"\x03\x01\x04sxyz",
                BinError::Truncated {
                    needed: 5,
                    available: 4,
                },
            ),
        ] {
            assert_eq!(Bin::take(&mut &*bytes), None);
            assert_eq!(explain(bytes), error);
        }
        let bin = Bin::take(&mut &b"\x11\x01\0\x01"[..]).unwrap();
        assert_eq!(
            bin.check(),
            Err(BinError::Name(NameError::Zero { offset: 0 }))
        );
    }
}
