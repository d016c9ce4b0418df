//! Values written as JSON, straight from the bytes that hold them.

use std::collections::HashSet;

use corelith_record::{Bins, KeyRef, KeyValue, ListRef, MapRef, OrderFlags, ValueRef};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::mark;
use crate::base64;

/// A value that serialises as the table of the module says.
pub struct JsonValue<'a>(pub ValueRef<'a>);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            ValueRef::Nil => serializer.serialize_unit(),
            ValueRef::Bool(truth) => serializer.serialize_bool(truth),
            ValueRef::Integer(number) => serializer.serialize_i64(number),
            ValueRef::Unsigned(number) => serializer.serialize_u64(number),
            ValueRef::Double(number) => double(number, serializer),
            ValueRef::String(text) => serializer.serialize_str(text),
            ValueRef::Bytes(bytes) => marked(mark::BYTES, &base64::encode(bytes), serializer),
            ValueRef::List(list) => match list.order() {
                None => JsonItems(list).serialize(serializer),
                Some(order) => ordered(mark::LIST, &JsonItems(list), Some(order), serializer),
            },
            ValueRef::Map(map) if is_plain(map) => object(map, serializer),
            ValueRef::Map(map) => ordered(mark::MAP, &JsonPairs(map), map.order(), serializer),
            ValueRef::HyperLogLog(bytes) => {
                marked(mark::HYPER_LOG_LOG, &base64::encode(bytes), serializer)
            }
            ValueRef::GeoJson(text) => marked(mark::GEO_JSON, text, serializer),
            ValueRef::Opaque(opaque) => {
                let text = base64::encode(opaque.bytes());
                of_kind(mark::OPAQUE, &text, opaque.kind_byte().into(), serializer)
            }
            ValueRef::Extension { kind, data } => of_kind(
                mark::EXTENSION,
                &base64::encode(data),
                kind.into(),
                serializer,
            ),
        }
    }
}

/// The bins of a record, as an object of their names and values.
pub struct JsonBins<'a>(pub Bins<'a>);

impl Serialize for JsonBins<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for bin in self.0 {
            object.serialize_entry(bin.name().as_str(), &JsonValue(bin.value().decode()))?;
        }
        object.end()
    }
}

/// A key, as the value that it is.
pub struct JsonKey<'a>(pub KeyRef<'a>);

impl Serialize for JsonKey<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self.0.value() {
            KeyValue::Integer(number) => ValueRef::Integer(number),
            KeyValue::Double(number) => ValueRef::Double(number),
            KeyValue::String(text) => ValueRef::String(text),
            KeyValue::Bytes(bytes) => ValueRef::Bytes(bytes),
        };
        JsonValue(value).serialize(serializer)
    }
}

struct JsonItems<'a>(ListRef<'a>);

impl Serialize for JsonItems<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        for item in self.0 {
            array.serialize_element(&JsonValue(item))?;
        }
        array.end()
    }
}

/// A map as an array of pairs.
struct JsonPairs<'a>(MapRef<'a>);

impl Serialize for JsonPairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(None)?;
        for (key, value) in self.0 {
            array.serialize_element(&(JsonValue(key), JsonValue(value)))?;
        }
        array.end()
    }
}

/// Whether a JSON object says all that the map does.
fn is_plain(map: MapRef<'_>) -> bool {
    if map.order().is_some() {
        return false;
    }
    let mut seen = HashSet::new();
    map.into_iter().all(|(key, _)| match key {
        ValueRef::String(name) => !name.starts_with('$') && seen.insert(name),
        _ => false,
    })
}

fn object<S: Serializer>(map: MapRef<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(None)?;
    for (key, value) in map {
        if let ValueRef::String(name) = key {
            object.serialize_entry(name, &JsonValue(value))?;
        }
    }
    object.end()
}

/// serde_json writes null for what JSON has no number for.
fn double<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() {
        serializer.serialize_f64(number)
    } else if number.is_nan() {
        marked(mark::DOUBLE, "NaN", serializer)
    } else if number > 0.0 {
        marked(mark::DOUBLE, "Infinity", serializer)
    } else {
        marked(mark::DOUBLE, "-Infinity", serializer)
    }
}

fn marked<S: Serializer>(name: &'static str, text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(1))?;
    object.serialize_entry(name, text)?;
    object.end()
}

fn of_kind<S: Serializer>(
    name: &'static str,
    text: &str,
    kind: i64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(2))?;
    object.serialize_entry(name, text)?;
    object.serialize_entry(mark::KIND, &kind)?;
    object.end()
}

fn ordered<S: Serializer>(
    name: &'static str,
    elements: &impl Serialize,
    order: Option<OrderFlags>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(None)?;
    object.serialize_entry(name, elements)?;
    if let Some(order) = order {
        object.serialize_entry(mark::ORDER, &order.bits())?;
    }
    object.end()
}
