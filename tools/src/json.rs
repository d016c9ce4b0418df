//! Values as JSON and back: what `get`, `scan` and `export` print, and what `load` and `put` take.
//!
//! | value | JSON |
//! |---|---|
//! | nil, bool, string | null, true or false, string |
//! | integer | a number without point and exponent |
//! | double | a number with point or exponent; `{"$double": "NaN"}`, `"Infinity"`, `"-Infinity"` |
//! | bytes | `{"$bytes": "aGVsbG8="}` (base64) |
//! | list | array; `{"$list": [..], "order": 1}` if its writer claimed an order |
//! | map | object if every key is a string that does not begin with `$`, no two are alike and no order is claimed, else `{"$map": [[key, value], ..], "order": 1}` |
//! | GeoJSON | `{"$geojson": "text"}` |
//! | HyperLogLog | `{"$hyperloglog": "base64"}` |
//! | a language's object | `{"$opaque": "base64", "kind": 7}` |
//! | a msgpack extension | `{"$extension": "base64", "kind": 5}` |
//!
//! An object with a member that begins with `$` is one of these or an error, so that nothing is read
//! as something else than was written. A value that was written is read as the same value, but for
//! the bits of a NaN.

mod read;
mod write;

pub(crate) use read::ValueVisitor;
pub use read::{JsonError, parse, read_value};
pub use write::{JsonBins, JsonKey, JsonValue};

/// Names of the members that mark a value which JSON has no form for.
mod mark {
    pub(super) const BYTES: &str = "$bytes";
    pub(super) const DOUBLE: &str = "$double";
    pub(super) const EXTENSION: &str = "$extension";
    pub(super) const GEO_JSON: &str = "$geojson";
    pub(super) const HYPER_LOG_LOG: &str = "$hyperloglog";
    pub(super) const LIST: &str = "$list";
    pub(super) const MAP: &str = "$map";
    pub(super) const OPAQUE: &str = "$opaque";
    pub(super) const KIND: &str = "kind";
    pub(super) const ORDER: &str = "order";
}

#[cfg(test)]
mod tests;
