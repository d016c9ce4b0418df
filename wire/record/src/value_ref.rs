//! One value, borrowed from the bytes that hold it.
//!
//! Made from checked bytes only. Never allocates; lists and maps stay in their msgpack.

use crate::collection::{ListRef, MapRef};
use crate::display;
use crate::kind::Kind;
use crate::msgpack::Token;

/// A value of a bin, or an element of a list or map.
///
/// Two variants exist only as elements: an integer above `i64::MAX` and a bare extension.
#[derive(Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Nil,
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Integer(i64),
    /// Only as an element: an integer above `i64::MAX`.
    Unsigned(u64),
    /// A double, any bits.
    Double(f64),
    /// UTF-8 text.
    String(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list.
    List(ListRef<'a>),
    /// A map.
    Map(MapRef<'a>),
    /// A sketch; opaque.
    HyperLogLog(&'a [u8]),
    /// The text of a GeoJSON value, without the cells before it.
    GeoJson(&'a str),
    /// A blob of a kind that only its writer understands.
    Opaque(Opaque<'a>),
    /// Only as an element: a msgpack extension other than an order.
    Extension {
        /// Its number.
        kind: i8,
        /// Its data.
        data: &'a [u8],
    },
}

/// A blob with the kind that its writer gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opaque<'a> {
    kind_byte: u8,
    bytes: &'a [u8],
}

impl<'a> Opaque<'a> {
    pub(crate) const fn new(kind_byte: u8, bytes: &'a [u8]) -> Self {
        Self { kind_byte, bytes }
    }

    /// Its kind as it travels. Inside a list or map any byte may stand here.
    #[must_use]
    pub const fn kind_byte(&self) -> u8 {
        self.kind_byte
    }

    /// Its kind, where the protocol names it.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Kind::from_byte(self.kind_byte).ok()
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> ValueRef<'a> {
    /// The kind, where the value can be a bin's.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Nil => Kind::Nil,
            Self::Bool(_) => Kind::Bool,
            Self::Integer(_) => Kind::Integer,
            Self::Double(_) => Kind::Double,
            Self::String(_) => Kind::String,
            Self::Bytes(_) => Kind::Bytes,
            Self::List(_) => Kind::List,
            Self::Map(_) => Kind::Map,
            Self::HyperLogLog(_) => Kind::HyperLogLog,
            Self::GeoJson(_) => Kind::GeoJson,
            Self::Opaque(opaque) => return opaque.kind(),
            Self::Unsigned(_) | Self::Extension { .. } => return None,
        })
    }

    /// The value of a token that is no head of a collection. `None` for a head.
    pub(crate) fn from_scalar(token: Token<'a>) -> Option<Self> {
        Some(match token {
            Token::Nil => Self::Nil,
            Token::Bool(truth) => Self::Bool(truth),
            Token::Integer(number) => Self::Integer(number),
            Token::Unsigned(number) => Self::Unsigned(number),
            Token::Double(number) => Self::Double(number),
            // Without a kind byte there is nothing that it could be but empty.
            Token::Untyped => Self::Bytes(&[]),
            Token::Typed { kind, bytes } => Self::from_typed(kind, bytes),
            Token::Extension { kind, data } => Self::Extension { kind, data },
            Token::List(_) | Token::Map(_) => return None,
        })
    }

    fn from_typed(kind_byte: u8, bytes: &'a [u8]) -> Self {
        match Kind::from_byte(kind_byte) {
            Ok(Kind::String) => Self::String(checked_text(bytes)),
            Ok(Kind::Bytes) => Self::Bytes(bytes),
            Ok(Kind::HyperLogLog) => Self::HyperLogLog(bytes),
            Ok(Kind::GeoJson) => Self::GeoJson(checked_text(bytes)),
            Ok(_) | Err(_) => Self::Opaque(Opaque::new(kind_byte, bytes)),
        }
    }
}

/// Text that the check has found to be UTF-8. Looked through again because `unsafe` stays out.
pub(crate) fn checked_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl std::fmt::Display for ValueRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| display::write_value_ref(out, self))
    }
}

impl std::fmt::Debug for ValueRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DISPLAY_LENGTH_BYTES_MAX;

    #[track_caller]
    fn check(value: ValueRef<'_>, text: &str) {
        assert_eq!(value.to_string(), text);
        assert_eq!(format!("{value:?}"), text);
    }

    #[test]
    fn people_can_read_every_kind() {
        check(ValueRef::Nil, "nil");
        check(ValueRef::Bool(true), "true");
        check(ValueRef::Integer(-5), "-5");
        check(ValueRef::Unsigned(u64::MAX), "18446744073709551615");
        check(ValueRef::Double(1.0), "1.0");
        check(ValueRef::Double(f64::NAN), "NaN");
        check(ValueRef::String("a\"b\n"), "\"a\\\"b\\n\"");
        check(ValueRef::Bytes(&[0, 255]), "0x00ff");
        check(ValueRef::HyperLogLog(&[1]), "hyperloglog(0x01)");
        check(ValueRef::GeoJson("{}"), "geojson(\"{}\")");
        check(ValueRef::Opaque(Opaque::new(7, &[1])), "java(0x01)");
        check(ValueRef::Opaque(Opaque::new(99, &[1])), "kind99(0x01)");
        check(
            ValueRef::Extension {
                kind: -2,
                data: &[1],
            },
            "ext-2(0x01)",
        );
        let list = [
            0x94, 0xc7, 0, 1, 1, 0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'k', 0xc0, 0xa0,
        ];
        check(
            ValueRef::List(ListRef::from_checked(&list).unwrap()),
            "[1, {\"k\": nil}, 0x]",
        );
    }

    #[test]
    fn long_values_are_cut() {
        let long = "\u{e9}".repeat(10_000);
        let text = ValueRef::String(&long).to_string();
        assert!(text.ends_with("..."), "{text}");
        assert!(text.len() <= DISPLAY_LENGTH_BYTES_MAX + 3, "{}", text.len());
        assert!(text.len() >= DISPLAY_LENGTH_BYTES_MAX - 8, "{}", text.len());
        let mut list = vec![0xdd, 0x00, 0x10, 0, 0];
        list.resize(list.len() + 0x10_0000, 7);
        let text = ValueRef::List(ListRef::from_checked(&list).unwrap()).to_string();
        assert!(text.starts_with("[7, 7, ") && text.ends_with("..."));
        assert!(text.len() <= DISPLAY_LENGTH_BYTES_MAX + 3, "{}", text.len());
    }

    #[test]
    fn kinds_of_what_can_be_a_bin() {
        assert_eq!(ValueRef::Integer(1).kind(), Some(Kind::Integer));
        assert_eq!(
            ValueRef::Opaque(Opaque::new(9, &[])).kind(),
            Some(Kind::PythonBlob)
        );
        assert_eq!(ValueRef::Opaque(Opaque::new(99, &[])).kind(), None);
        assert_eq!(ValueRef::Unsigned(u64::MAX).kind(), None);
    }
}
