//! One value, owned: what clients and tools build and hold.
//!
//! The node never uses it: it works on the bytes. Decoding and encoding recurse only as deep as
//! `VALUE_DEPTH_MAX`.

use crate::display;
use crate::error::MsgpackError;
use crate::kind::Kind;
use crate::limits::VALUE_DEPTH_MAX;
use crate::msgpack::{Sink, Token, count_of};
use crate::order::{OrderFlags, take_list_order, take_map_order};
use crate::value_ref::{Opaque, ValueRef};

/// A value of a bin, or an element of a list or map.
///
/// Encoding a decoded value gives the shortest spelling, which may differ from the bytes that it
/// was decoded from; to carry bytes unchanged use [`BinValue`](crate::BinValue).
#[derive(Clone, PartialEq)]
pub enum Value {
    /// No value. As a bin's: delete this bin.
    Nil,
    /// True or false.
    Bool(bool),
    /// A signed integer.
    Integer(i64),
    /// Only as an element: an integer above `i64::MAX`.
    Unsigned(u64),
    /// A double.
    Double(f64),
    /// UTF-8 text.
    String(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(List),
    /// A map.
    Map(Map),
    /// A sketch; opaque.
    HyperLogLog(Vec<u8>),
    /// A GeoJSON text.
    GeoJson(String),
    /// A blob of a kind that only its writer understands, a language's object for example.
    Opaque {
        /// Its kind as it travels. As a bin's value it is one of the language or vector kinds.
        kind_byte: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Only as an element: a msgpack extension.
    Extension {
        /// Its number.
        kind: i8,
        /// Its data.
        data: Vec<u8>,
    },
}

/// The elements of a list and the order that its writer claimed for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// None for an ordinary list.
    pub order: Option<OrderFlags>,
    /// The elements.
    pub items: Vec<Value>,
}

/// The pairs of a map, in their order, and the order that its writer claimed for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    /// None for an unordered map.
    pub order: Option<OrderFlags>,
    /// The pairs. Keys are not checked for being unique.
    pub pairs: Vec<(Value, Value)>,
}

impl Value {
    /// An ordinary list.
    #[must_use]
    pub const fn list(items: Vec<Self>) -> Self {
        Self::List(List { order: None, items })
    }

    /// An unordered map.
    #[must_use]
    pub const fn map(pairs: Vec<(Self, Self)>) -> Self {
        Self::Map(Map { order: None, pairs })
    }

    /// The kind, where the value can be a bin's.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::List(_) => Some(Kind::List),
            Self::Map(_) => Some(Kind::Map),
            Self::Nil
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Double(_)
            | Self::String(_)
            | Self::Bytes(_)
            | Self::HyperLogLog(_)
            | Self::GeoJson(_)
            | Self::Opaque { .. }
            | Self::Extension { .. } => self.as_scalar().and_then(|scalar| scalar.kind()),
        }
    }

    /// The same value borrowed. `None` for lists and maps, which are not encoded here.
    #[must_use]
    pub fn as_scalar(&self) -> Option<ValueRef<'_>> {
        Some(match self {
            Self::Nil => ValueRef::Nil,
            Self::Bool(truth) => ValueRef::Bool(*truth),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Unsigned(number) => ValueRef::Unsigned(*number),
            Self::Double(number) => ValueRef::Double(*number),
            Self::String(text) => ValueRef::String(text),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
            Self::HyperLogLog(bytes) => ValueRef::HyperLogLog(bytes),
            Self::GeoJson(text) => ValueRef::GeoJson(text),
            Self::Opaque { kind_byte, bytes } => ValueRef::Opaque(Opaque::new(*kind_byte, bytes)),
            Self::Extension { kind, data } => ValueRef::Extension { kind: *kind, data },
            Self::List(_) | Self::Map(_) => return None,
        })
    }

    /// Writes the value as an element of msgpack.
    ///
    /// `depth` counts the collections around it. The sink may hold a part when this fails.
    pub(crate) fn write_msgpack(
        &self,
        depth: usize,
        out: &mut impl Sink,
    ) -> Result<(), MsgpackError> {
        match self {
            Self::List(list) => {
                check_depth(depth)?;
                let order = list.order.map(OrderFlags::to_token);
                let count = list
                    .items
                    .len()
                    .saturating_add(usize::from(order.is_some()));
                Token::List(count_of(count)).write(out);
                if let Some(order) = order {
                    order.write(out);
                }
                list.items
                    .iter()
                    .try_for_each(|item| item.write_msgpack(depth + 1, out))
            }
            Self::Map(map) => {
                check_depth(depth)?;
                let order = map.order.map(OrderFlags::to_token);
                let count = map.pairs.len().saturating_add(usize::from(order.is_some()));
                Token::Map(count_of(count)).write(out);
                if let Some(order) = order {
                    order.write(out);
                    Token::Nil.write(out);
                }
                map.pairs.iter().try_for_each(|(key, item)| {
                    key.write_msgpack(depth + 1, out)?;
                    item.write_msgpack(depth + 1, out)
                })
            }
            Self::Extension { kind: -1, data } if data.len() == 1 => Err(MsgpackError::Special),
            Self::Nil => write_token(Token::Nil, out),
            Self::Bool(truth) => write_token(Token::Bool(*truth), out),
            Self::Integer(number) => write_token(Token::Integer(*number), out),
            Self::Unsigned(number) => write_token(Token::from_u64(*number), out),
            Self::Double(number) => write_token(Token::Double(*number), out),
            Self::String(text) => write_typed(Kind::String.to_byte(), text.as_bytes(), out),
            Self::Bytes(bytes) => write_typed(Kind::Bytes.to_byte(), bytes, out),
            Self::HyperLogLog(bytes) => write_typed(Kind::HyperLogLog.to_byte(), bytes, out),
            Self::GeoJson(text) => write_typed(Kind::GeoJson.to_byte(), text.as_bytes(), out),
            Self::Opaque { kind_byte, bytes } => write_typed(*kind_byte, bytes, out),
            Self::Extension { kind, data } => {
                write_token(Token::Extension { kind: *kind, data }, out)
            }
        }
    }

    /// Reads one element of checked msgpack. `None` only where the bytes were not checked.
    fn read_msgpack(rest: &mut &[u8], depth: usize) -> Option<Self> {
        let token = Token::read(rest).ok()?;
        if let Some(scalar) = ValueRef::from_scalar(token) {
            return Some(scalar.to_value());
        }
        if depth >= VALUE_DEPTH_MAX {
            return None;
        }
        if let Token::Map(count) = token {
            let (order, left) = take_map_order(rest, count);
            let pairs = (0..left).map(|_| {
                let key = Self::read_msgpack(rest, depth + 1)?;
                Some((key, Self::read_msgpack(rest, depth + 1)?))
            });
            // Grown pair by pair: what the map announces is not believed.
            let pairs = pairs.collect::<Option<Vec<(Self, Self)>>>()?;
            return Some(Self::Map(Map { order, pairs }));
        }
        let Token::List(count) = token else {
            return None;
        };
        let (order, left) = take_list_order(rest, count);
        let items = (0..left).map(|_| Self::read_msgpack(rest, depth + 1));
        let items = items.collect::<Option<Vec<Self>>>()?;
        Some(Self::List(List { order, items }))
    }
}

impl ValueRef<'_> {
    /// The same value owned. Allocates as much as the value needs: a client's and a tool's way.
    ///
    /// One byte of a list can become one [`Value`]: several dozen times the bytes.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Nil => Value::Nil,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Integer(number) => Value::Integer(number),
            Self::Unsigned(number) => Value::Unsigned(number),
            Self::Double(number) => Value::Double(number),
            Self::String(text) => Value::String(text.to_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Self::List(list) => {
                Value::read_msgpack(&mut list.as_msgpack(), 0).unwrap_or(Value::Nil)
            }
            Self::Map(map) => Value::read_msgpack(&mut map.as_msgpack(), 0).unwrap_or(Value::Nil),
            Self::HyperLogLog(bytes) => Value::HyperLogLog(bytes.to_vec()),
            Self::GeoJson(text) => Value::GeoJson(text.to_owned()),
            Self::Opaque(opaque) => Value::Opaque {
                kind_byte: opaque.kind_byte(),
                bytes: opaque.bytes().to_vec(),
            },
            Self::Extension { kind, data } => Value::Extension {
                kind,
                data: data.to_vec(),
            },
        }
    }
}

const fn check_depth(depth: usize) -> Result<(), MsgpackError> {
    if depth < VALUE_DEPTH_MAX {
        Ok(())
    } else {
        Err(MsgpackError::TooDeep)
    }
}

fn write_token(token: Token<'_>, out: &mut impl Sink) -> Result<(), MsgpackError> {
    token.write(out);
    Ok(())
}

fn write_typed(kind: u8, bytes: &[u8], out: &mut impl Sink) -> Result<(), MsgpackError> {
    let is_text = kind == Kind::String.to_byte() || kind == Kind::GeoJson.to_byte();
    if is_text && let Err(error) = std::str::from_utf8(bytes) {
        return Err(MsgpackError::NotUtf8 {
            valid_up_to: error.valid_up_to(),
        });
    }
    write_token(Token::Typed { kind, bytes }, out)
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        value.to_value()
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        display::write_bounded(formatter, |out| display::write_value(out, self))
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}
