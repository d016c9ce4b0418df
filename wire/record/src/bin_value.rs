//! The value of a bin as it is carried: its kind and its bytes, checked, unchanged.
//!
//! This is what the node moves about: into contents, out of them, into an answer. It is decoded
//! only where an operation has to look inside.

use crate::collection::{ListRef, MapRef};
use crate::error::ValueError;
use crate::kind::Kind;
use crate::msgpack::{check_collection, check_collection_in_pieces};
use crate::pace::{ELEMENT_COST, Pace, invalid_utf8};
use crate::value_ref::{Opaque, ValueRef, checked_text};

/// Bytes before the cells of a GeoJSON value: flags (1) and the number of cells (2, big-endian).
const GEO_JSON_HEAD_BYTES: usize = 3;

/// Bytes of one cell.
const GEO_JSON_CELL_BYTES: usize = 8;

/// A bin's value: a kind and bytes that obey the rules of that kind.
///
/// Equal when kind and bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BinValue<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> BinValue<'a> {
    /// Nil: in an update, "delete this bin".
    pub const NIL: Self = Self {
        kind: Kind::Nil,
        bytes: &[],
    };

    /// Checks the bytes of a value of the kind that `kind_byte` names.
    ///
    /// Linear in the bytes; no allocation, no recursion.
    ///
    /// # Errors
    /// [`ValueError`] says which rule of `CONTENT.md` they break.
    pub fn parse(kind_byte: u8, bytes: &'a [u8]) -> Result<Self, ValueError> {
        let value = Self {
            kind: Kind::from_byte(kind_byte)?,
            bytes,
        };
        value.check()?;
        Ok(value)
    }

    /// A value of a kind that is text or a run of bytes and so needs no check but that of `kind`.
    pub(crate) const fn from_checked(kind: Kind, bytes: &'a [u8]) -> Self {
        Self { kind, bytes }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes, as both protocols and the device carry them.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether it is nil.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        self.kind == Kind::Nil
    }

    /// What the bytes mean.
    #[must_use]
    pub fn decode(&self) -> ValueRef<'a> {
        // The fallbacks stand for what the check has ruled out.
        match self.kind {
            Kind::Nil => ValueRef::Nil,
            Kind::Integer => ValueRef::Integer(i64::from_be_bytes(self.number_bytes())),
            Kind::Double => ValueRef::Double(f64::from_be_bytes(self.number_bytes())),
            Kind::Bool => ValueRef::Bool(self.bytes.first() == Some(&1)),
            Kind::String => ValueRef::String(checked_text(self.bytes)),
            Kind::Bytes => ValueRef::Bytes(self.bytes),
            Kind::HyperLogLog => ValueRef::HyperLogLog(self.bytes),
            Kind::List => ListRef::from_checked(self.bytes).map_or(ValueRef::Nil, ValueRef::List),
            Kind::Map => MapRef::from_checked(self.bytes).map_or(ValueRef::Nil, ValueRef::Map),
            Kind::GeoJson => {
                ValueRef::GeoJson(checked_text(geo_json_text(self.bytes).unwrap_or_default()))
            }
            Kind::JavaBlob
            | Kind::CSharpBlob
            | Kind::PythonBlob
            | Kind::RubyBlob
            | Kind::PhpBlob
            | Kind::ErlangBlob
            | Kind::Vector => ValueRef::Opaque(Opaque::new(self.kind.to_byte(), self.bytes)),
        }
    }

    /// The rules of each kind.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), ValueError> {
        if let Some(expected) = self.kind.fixed_length_bytes()
            && expected != self.bytes.len()
        {
            return Err(ValueError::Length {
                kind: self.kind,
                found: self.bytes.len(),
                expected,
            });
        }
        match self.kind {
            Kind::Bool | Kind::String | Kind::GeoJson | Kind::List | Kind::Map => {
                self.check_bytes()
            }
            Kind::Nil
            | Kind::Integer
            | Kind::Double
            | Kind::Bytes
            | Kind::JavaBlob
            | Kind::CSharpBlob
            | Kind::PythonBlob
            | Kind::RubyBlob
            | Kind::PhpBlob
            | Kind::ErlangBlob
            | Kind::Vector
            | Kind::HyperLogLog => Ok(()),
        }
    }

    /// [`BinValue::check`] of bytes that may be many.
    pub(crate) async fn check_in_pieces<P: AsyncFnMut()>(
        &self,
        pace: &mut Pace<P>,
    ) -> Result<(), ValueError> {
        if self.bytes.len() <= pace.run_bytes(ELEMENT_COST) {
            pace.spend(self.bytes.len().saturating_mul(ELEMENT_COST))
                .await;
            return self.check();
        }
        match (self.kind, self.bytes) {
            (Kind::String, text) => check_text_in_pieces(text, pace).await,
            (Kind::GeoJson, bytes) => check_text_in_pieces(geo_json_text(bytes)?, pace).await,
            (Kind::List | Kind::Map, bytes) => {
                check_collection_in_pieces(self.kind, bytes, pace).await
            }
            // Of the others no byte is looked at, but of those that are short.
            _ => self.check(),
        }
    }

    fn check_bytes(&self) -> Result<(), ValueError> {
        match (self.kind, self.bytes) {
            (Kind::Bool, [found]) if *found > 1 => Err(ValueError::Bool { found: *found }),
            (Kind::String, text) => check_text(text),
            (Kind::GeoJson, bytes) => check_text(geo_json_text(bytes)?),
            (Kind::List | Kind::Map, bytes) => check_collection(self.kind, bytes),
            _ => Ok(()),
        }
    }

    fn number_bytes(&self) -> [u8; 8] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }
}

fn check_text(bytes: &[u8]) -> Result<(), ValueError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(ValueError::NotUtf8 {
            valid_up_to: error.valid_up_to(),
        }),
    }
}

async fn check_text_in_pieces<P: AsyncFnMut()>(
    bytes: &[u8],
    pace: &mut Pace<P>,
) -> Result<(), ValueError> {
    match invalid_utf8(bytes, pace).await {
        None => Ok(()),
        Some(valid_up_to) => Err(ValueError::NotUtf8 { valid_up_to }),
    }
}

/// What follows the cells of a GeoJSON value.
fn geo_json_text(bytes: &[u8]) -> Result<&[u8], ValueError> {
    let mut needed = GEO_JSON_HEAD_BYTES;
    if let Some([_flags, high, low]) = bytes.first_chunk::<GEO_JSON_HEAD_BYTES>() {
        let cell_count = usize::from(u16::from_be_bytes([*high, *low]));
        needed = GEO_JSON_HEAD_BYTES.saturating_add(cell_count.saturating_mul(GEO_JSON_CELL_BYTES));
    }
    bytes.get(needed..).ok_or(ValueError::GeoJsonCells {
        needed,
        available: bytes.len(),
    })
}

impl std::fmt::Display for BinValue<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.decode(), formatter)
    }
}

impl std::fmt::Debug for BinValue<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.decode(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::MsgpackError;

    #[track_caller]
    fn check(kind: u8, bytes: &[u8], expected: Result<ValueRef<'_>, ValueError>) {
        assert_eq!(
            BinValue::parse(kind, bytes).map(|value| value.decode()),
            expected
        );
    }

    #[test]
    fn every_kind_decodes() {
        check(0, &[], Ok(ValueRef::Nil));
        check(1, &[0xff; 8], Ok(ValueRef::Integer(-1)));
        check(1, &[0, 0, 0, 0, 0, 0, 1, 2], Ok(ValueRef::Integer(258)));
        check(
            2,
            &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0],
            Ok(ValueRef::Double(1.5)),
        );
        check(3, b"xyz", Ok(ValueRef::String("xyz")));
        check(3, b"", Ok(ValueRef::String("")));
        check(3, b"a\0b", Ok(ValueRef::String("a\0b")));
        check(4, &[0xff], Ok(ValueRef::Bytes(&[0xff])));
        for kind in [7, 8, 9, 10, 11, 12, 16] {
            check(
                kind,
                &[0xff],
                Ok(ValueRef::Opaque(Opaque::new(kind, &[0xff]))),
            );
        }
        check(17, &[0], Ok(ValueRef::Bool(false)));
        check(17, &[1], Ok(ValueRef::Bool(true)));
        check(18, &[0, 4, 0], Ok(ValueRef::HyperLogLog(&[0, 4, 0])));
        check(23, b"\0\0\0{}", Ok(ValueRef::GeoJson("{}")));
        check(23, b"\0\0\x01CELLCELL{}", Ok(ValueRef::GeoJson("{}")));
        let list = BinValue::parse(20, &[0x91, 5]).unwrap();
        assert_eq!(
            (list.kind(), list.to_string()),
            (Kind::List, "[5]".to_owned())
        );
        let map = BinValue::parse(19, &[0x81, 0xa2, 3, b'k', 1]).unwrap();
        assert_eq!(
            (map.kind(), map.to_string()),
            (Kind::Map, "{\"k\": 1}".to_owned())
        );
    }

    #[test]
    fn only_known_kinds() {
        for kind in [5, 6, 13, 14, 15, 21, 22, 24, 255] {
            check(kind, &[], Err(ValueError::UnknownKind { found: kind }));
        }
    }

    #[test]
    fn rules_of_each_kind() {
        let length = |kind, found, expected| ValueError::Length {
            kind,
            found,
            expected,
        };
        for (kind, bytes, error) in [
            (0, &[1][..], length(Kind::Nil, 1, 0)),
            (1, &[0; 4], length(Kind::Integer, 4, 8)),
            (2, &[0; 9], length(Kind::Double, 9, 8)),
            (17, &[], length(Kind::Bool, 0, 1)),
            (17, &[2], ValueError::Bool { found: 2 }),
            (3, b"ab\xff", ValueError::NotUtf8 { valid_up_to: 2 }),
            (
                23,
                b"\0\0",
                ValueError::GeoJsonCells {
                    needed: 3,
                    available: 2,
                },
            ),
            (
                23,
                b"\0\x01\0{}",
                ValueError::GeoJsonCells {
                    needed: 2051,
                    available: 5,
                },
            ),
            (23, b"\0\0\0\xff", ValueError::NotUtf8 { valid_up_to: 0 }),
            (
                20,
                &[0x91, 0xc1],
                ValueError::Msgpack {
                    offset: 1,
                    error: MsgpackError::NeverUsed,
                },
            ),
            (
                19,
                &[0x90],
                ValueError::NotThatCollection {
                    kind: Kind::Map,
                    found: 0x90,
                },
            ),
        ] {
            check(kind, bytes, Err(error));
        }
    }
}
