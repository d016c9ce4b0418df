//! The kind of a value: one byte, numbered as the Aerospike protocol numbers its particle types.
//!
//! The numbers are frozen: they are on devices and in every client. The numbering is not ours, so
//! zero has a meaning here (nil: "no value"); stored contents never hold it.

use crate::error::ValueError;

/// What a bin's value is. The discriminants are the bytes on the wire and on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// No value. In an update: delete this bin. Never stored.
    Nil = 0,
    /// A signed integer of 64 bits, big-endian.
    Integer = 1,
    /// An IEEE 754 double, big-endian.
    Double = 2,
    /// UTF-8 text.
    String = 3,
    /// Bytes without meaning to the node.
    Bytes = 4,
    /// An object serialised by the Java client; opaque.
    JavaBlob = 7,
    /// An object serialised by the C# client; opaque.
    CSharpBlob = 8,
    /// An object serialised by the Python client; opaque.
    PythonBlob = 9,
    /// An object serialised by the Ruby client; opaque.
    RubyBlob = 10,
    /// An object serialised by the PHP client; opaque.
    PhpBlob = 11,
    /// An object serialised by the Erlang client; opaque.
    ErlangBlob = 12,
    /// A vector of numbers; opaque.
    Vector = 16,
    /// True or false, one byte.
    Bool = 17,
    /// A HyperLogLog sketch; opaque until its operations are built.
    HyperLogLog = 18,
    /// A map in msgpack.
    Map = 19,
    /// A list in msgpack.
    List = 20,
    /// A GeoJSON text behind its covering cells.
    GeoJson = 23,
}

impl Kind {
    /// The kind that a byte from a peer or a device names.
    ///
    /// # Errors
    /// [`ValueError::UnknownKind`] for a byte that names none.
    #[inline]
    pub const fn from_byte(byte: u8) -> Result<Self, ValueError> {
        Ok(match byte {
            0 => Self::Nil,
            1 => Self::Integer,
            2 => Self::Double,
            3 => Self::String,
            4 => Self::Bytes,
            7 => Self::JavaBlob,
            8 => Self::CSharpBlob,
            9 => Self::PythonBlob,
            10 => Self::RubyBlob,
            11 => Self::PhpBlob,
            12 => Self::ErlangBlob,
            16 => Self::Vector,
            17 => Self::Bool,
            18 => Self::HyperLogLog,
            19 => Self::Map,
            20 => Self::List,
            23 => Self::GeoJson,
            found => return Err(ValueError::UnknownKind { found }),
        })
    }

    /// The byte that stands for this kind on the wire and on the device.
    #[inline]
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Nil => 0,
            Self::Integer => 1,
            Self::Double => 2,
            Self::String => 3,
            Self::Bytes => 4,
            Self::JavaBlob => 7,
            Self::CSharpBlob => 8,
            Self::PythonBlob => 9,
            Self::RubyBlob => 10,
            Self::PhpBlob => 11,
            Self::ErlangBlob => 12,
            Self::Vector => 16,
            Self::Bool => 17,
            Self::HyperLogLog => 18,
            Self::Map => 19,
            Self::List => 20,
            Self::GeoJson => 23,
        }
    }

    /// The value's length in bytes where the kind alone fixes it; such values carry no length.
    #[inline]
    #[must_use]
    pub const fn fixed_length_bytes(self) -> Option<usize> {
        match self {
            Self::Nil => Some(0),
            Self::Integer | Self::Double => Some(8),
            Self::Bool => Some(1),
            Self::String
            | Self::Bytes
            | Self::JavaBlob
            | Self::CSharpBlob
            | Self::PythonBlob
            | Self::RubyBlob
            | Self::PhpBlob
            | Self::ErlangBlob
            | Self::Vector
            | Self::HyperLogLog
            | Self::Map
            | Self::List
            | Self::GeoJson => None,
        }
    }

    /// The kind's name as people read it, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::JavaBlob => "java",
            Self::CSharpBlob => "csharp",
            Self::PythonBlob => "python",
            Self::RubyBlob => "ruby",
            Self::PhpBlob => "php",
            Self::ErlangBlob => "erlang",
            Self::Vector => "vector",
            Self::Bool => "bool",
            Self::HyperLogLog => "hyperloglog",
            Self::Map => "map",
            Self::List => "list",
            Self::GeoJson => "geojson",
        }
    }

    /// Whether values of this kind are numbers that can be added.
    #[must_use]
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Double)
    }

    /// Whether values of this kind are runs of bytes that append and prepend may join.
    #[must_use]
    pub const fn is_joinable(self) -> bool {
        match self {
            Self::String
            | Self::Bytes
            | Self::JavaBlob
            | Self::CSharpBlob
            | Self::PythonBlob
            | Self::RubyBlob
            | Self::PhpBlob
            | Self::ErlangBlob => true,
            Self::Nil
            | Self::Integer
            | Self::Double
            | Self::Vector
            | Self::Bool
            | Self::HyperLogLog
            | Self::Map
            | Self::List
            | Self::GeoJson => false,
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_names_its_kind_or_none() {
        let valid = [
            0_u8, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 23,
        ];
        for byte in 0..=u8::MAX {
            match Kind::from_byte(byte) {
                Ok(kind) => {
                    assert!(
                        valid.contains(&byte),
                        "{byte} is not a kind of the protocol"
                    );
                    assert_eq!(kind.to_byte(), byte);
                }
                Err(error) => {
                    assert!(!valid.contains(&byte));
                    assert_eq!(error, ValueError::UnknownKind { found: byte });
                }
            }
        }
    }
}
