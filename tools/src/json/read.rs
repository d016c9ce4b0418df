//! JSON read as values. Objects keep the order of their members; a name that comes twice is an
//! error, because one of the two would be lost.

use std::collections::HashSet;
use std::fmt;

use corelith_record::{List, Map, OrderFlags, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::mark;
use crate::base64;

/// A JSON text that is no value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(#[from] serde_json::Error);

/// The value that a whole JSON text is.
///
/// # Errors
/// The text is not JSON, or an object with a member beginning with `$` is none that we write.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    Ok(serde_json::from_slice::<JsonOwned>(text)?.0)
}

/// The value that stands next in a deserializer.
///
/// # Errors
/// As [`parse`].
pub fn read_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    deserializer.deserialize_any(ValueVisitor)
}

struct JsonOwned(Value);

impl<'de> Deserialize<'de> for JsonOwned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_value(deserializer).map(Self)
    }
}

/// Makes a [`Value`] of whatever comes.
pub(crate) struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(JsonOwned(item)) = array.next_element()? {
            items.push(item);
        }
        Ok(Value::list(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some((name, JsonOwned(value))) = object.next_entry()? {
            members.push((name, value));
        }
        from_members(members).map_err(de::Error::custom)
    }
}

/// What is wrong with an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum ObjectError {
    #[error("the member {0:?} comes twice")]
    Twice(String),
    #[error(
        "no object has the members {0:?}: a name that begins with $ marks bytes and the like; write a \
         map with such a key as {{\"$map\": [[key, value]]}}"
    )]
    Members(Vec<String>),
    #[error("{name}: {rule}")]
    Marked {
        name: &'static str,
        rule: &'static str,
    },
}

fn from_members(members: Vec<(String, Value)>) -> Result<Value, ObjectError> {
    let mut seen = HashSet::with_capacity(members.len());
    for (name, _) in &members {
        if !seen.insert(name.as_str()) {
            return Err(ObjectError::Twice(name.clone()));
        }
    }
    if members.iter().any(|(name, _)| name.starts_with('$')) {
        return from_marked(members);
    }
    let pairs = members.into_iter();
    Ok(Value::map(
        pairs
            .map(|(name, value)| (Value::String(name), value))
            .collect(),
    ))
}

/// One member is the mark, the other, if there is one, its order or kind.
fn from_marked(mut members: Vec<(String, Value)>) -> Result<Value, ObjectError> {
    members.sort_by_key(|(name, _)| !name.starts_with('$'));
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    let shape = (names.first().copied(), names.get(1).copied(), names.len());
    let unknown = || ObjectError::Members(names.iter().map(|name| (*name).to_owned()).collect());
    let with = |position: usize| members.get(position).map(|(_, value)| value.clone());
    let first = with(0).unwrap_or(Value::Nil);
    match shape {
        (Some(mark::BYTES), None, 1) => Ok(Value::Bytes(bytes(mark::BYTES, &first)?)),
        (Some(mark::HYPER_LOG_LOG), None, 1) => {
            Ok(Value::HyperLogLog(bytes(mark::HYPER_LOG_LOG, &first)?))
        }
        (Some(mark::GEO_JSON), None, 1) => {
            Ok(Value::GeoJson(text(mark::GEO_JSON, &first)?.to_owned()))
        }
        (Some(mark::DOUBLE), None, 1) => double(text(mark::DOUBLE, &first)?),
        (Some(mark::OPAQUE), Some(mark::KIND), 2) => Ok(Value::Opaque {
            kind_byte: small(mark::OPAQUE, with(1))?,
            bytes: bytes(mark::OPAQUE, &first)?,
        }),
        (Some(mark::EXTENSION), Some(mark::KIND), 2) => Ok(Value::Extension {
            kind: small(mark::EXTENSION, with(1))?,
            data: bytes(mark::EXTENSION, &first)?,
        }),
        (Some(mark::LIST), None | Some(mark::ORDER), 1 | 2) => Ok(Value::List(List {
            order: order(mark::LIST, with(1))?,
            items: items(mark::LIST, first)?,
        })),
        (Some(mark::MAP), None | Some(mark::ORDER), 1 | 2) => Ok(Value::Map(Map {
            order: order(mark::MAP, with(1))?,
            pairs: pairs(first)?,
        })),
        _ => Err(unknown()),
    }
}

fn text<'a>(name: &'static str, value: &'a Value) -> Result<&'a str, ObjectError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(ObjectError::Marked {
            name,
            rule: "its value must be a string",
        }),
    }
}

fn bytes(name: &'static str, value: &Value) -> Result<Vec<u8>, ObjectError> {
    base64::decode(text(name, value)?).map_err(|_| ObjectError::Marked {
        name,
        rule: "its value must be base64",
    })
}

fn double(text: &str) -> Result<Value, ObjectError> {
    match text {
        "NaN" => Ok(Value::Double(f64::NAN)),
        "Infinity" => Ok(Value::Double(f64::INFINITY)),
        "-Infinity" => Ok(Value::Double(f64::NEG_INFINITY)),
        _ => Err(ObjectError::Marked {
            name: mark::DOUBLE,
            rule: "its value must be NaN, Infinity or -Infinity",
        }),
    }
}

/// A number of 8 bits: a kind or an order.
fn small<N: TryFrom<i64>>(name: &'static str, value: Option<Value>) -> Result<N, ObjectError> {
    let number = match value {
        Some(Value::Integer(number)) => N::try_from(number).ok(),
        _ => None,
    };
    number.ok_or(ObjectError::Marked {
        name,
        rule: "its kind or order must be a number of 8 bits",
    })
}

fn order(name: &'static str, value: Option<Value>) -> Result<Option<OrderFlags>, ObjectError> {
    match value {
        None => Ok(None),
        Some(value) => Ok(Some(OrderFlags::from_bits(small(name, Some(value))?))),
    }
}

fn items(name: &'static str, value: Value) -> Result<Vec<Value>, ObjectError> {
    match value {
        Value::List(list) if list.order.is_none() => Ok(list.items),
        _ => Err(ObjectError::Marked {
            name,
            rule: "its value must be an array",
        }),
    }
}

fn pairs(value: Value) -> Result<Vec<(Value, Value)>, ObjectError> {
    let pair = |item| match items(mark::MAP, item) {
        Ok(items) => <[Value; 2]>::try_from(items)
            .map(|[key, value]| (key, value))
            .map_err(|_| ObjectError::Marked {
                name: mark::MAP,
                rule: "each element must be an array of a key and a value",
            }),
        Err(error) => Err(error),
    };
    items(mark::MAP, value)?.into_iter().map(pair).collect()
}
