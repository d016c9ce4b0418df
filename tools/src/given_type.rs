//! The type that somebody gave for a text: behind a bin's name on the command line, or for a column
//! of a file. `auto` is the rule of [`cell`](crate::cell).

use corelith_record::Value;

use crate::base64;
use crate::cell::Cell;
use crate::json;
use crate::nearest::did_you_mean;

/// A type by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GivenType {
    /// Inferred from the text.
    #[default]
    Auto,
    /// A whole number that fits 64 bits with a sign, leading zeros and a plus allowed.
    Integer,
    /// A number, `NaN`, `inf` and `-inf` included.
    Double,
    /// `true`, `false`, `1` or `0`.
    Bool,
    /// The text itself.
    String,
    /// Base64.
    Bytes,
    /// Pairs of hexadecimal digits: bytes, too.
    Hex,
    /// JSON as [`json`] writes it.
    Json,
    /// A GeoJSON text; not looked into.
    GeoJson,
}

/// A text that is not of the type given.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not of the type {expected}{}", self.reason())]
pub struct TypeMismatch {
    text: String,
    expected: &'static str,
    cause: Option<json::JsonError>,
}

impl TypeMismatch {
    fn reason(&self) -> String {
        self.cause
            .as_ref()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default()
    }
}

/// Longest text that a message repeats, in characters.
const SHOWN_CHARACTERS_MAX: usize = 60;

impl GivenType {
    /// All types, with the names by which they are given.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("auto", Self::Auto),
        ("integer", Self::Integer),
        ("double", Self::Double),
        ("bool", Self::Bool),
        ("string", Self::String),
        ("bytes", Self::Bytes),
        ("hex", Self::Hex),
        ("json", Self::Json),
        ("geojson", Self::GeoJson),
    ];

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.into_iter();
        names
            .find(|(known, _)| *known == name)
            .map(|(_, given)| given)
    }

    /// The name by which it is given.
    #[must_use]
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.into_iter();
        names
            .find(|(_, known)| *known == self)
            .map_or("auto", |(name, _)| name)
    }

    /// All names, for messages.
    #[must_use]
    pub fn all_names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }

    /// The name that somebody meant who wrote `name`, as the end of a message; empty if none is near.
    #[must_use]
    pub fn nearest_name(name: &str) -> String {
        did_you_mean(name, Self::NAMES.map(|(known, _)| known))
    }

    /// The value that `text` stands for.
    ///
    /// # Errors
    /// [`TypeMismatch`] if it stands for none of this type. `auto` and `string` take every text.
    pub fn parse(self, text: &str) -> Result<Value, TypeMismatch> {
        let wrong = |cause| TypeMismatch {
            text: text.chars().take(SHOWN_CHARACTERS_MAX).collect(),
            expected: self.name(),
            cause,
        };
        let value = match self {
            Self::Auto => match Cell::infer(text) {
                Cell::Integer(number) => Some(Value::Integer(number)),
                Cell::Double(number) => Some(Value::Double(number)),
                Cell::Bool(truth) => Some(Value::Bool(truth)),
                Cell::String(text) => Some(Value::String(text.to_owned())),
            },
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Double => text.parse().ok().map(Value::Double),
            Self::Bool => match text {
                "true" | "1" => Some(Value::Bool(true)),
                "false" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::String => Some(Value::String(text.to_owned())),
            Self::Bytes => base64::decode(text).ok().map(Value::Bytes),
            Self::Hex => hex(text).map(Value::Bytes),
            Self::Json => Some(json::parse(text.as_bytes()).map_err(|cause| wrong(Some(cause)))?),
            Self::GeoJson => Some(Value::GeoJson(text.to_owned())),
        };
        value.ok_or_else(|| wrong(None))
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    digits
        .chunks(2)
        .map(|pair| {
            let byte = value(pair[0])? * 16 + value(pair[1])?;
            u8::try_from(byte).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: GivenType, text: &str, expected: Option<Value>) {
        assert_eq!(given.parse(text).ok(), expected, "{given:?} {text:?}");
    }

    #[test]
    fn texts_of_each_type() {
        check(GivenType::Auto, "5", Some(5.into()));
        check(GivenType::Auto, "05", Some("05".into()));
        check(GivenType::Integer, "05", Some(5.into()));
        check(GivenType::Integer, "+5", Some(5.into()));
        check(GivenType::Integer, "5.0", None);
        check(GivenType::Integer, "", None);
        check(GivenType::Double, "5", Some(5.0.into()));
        check(GivenType::Double, "inf", Some(f64::INFINITY.into()));
        check(GivenType::Double, "five", None);
        check(GivenType::Bool, "1", Some(true.into()));
        check(GivenType::Bool, "false", Some(false.into()));
        check(GivenType::Bool, "yes", None);
        check(GivenType::String, "5", Some("5".into()));
        check(GivenType::Bytes, "AAE=", Some(vec![0, 1].into()));
        check(GivenType::Bytes, "AAE", None);
        check(GivenType::Hex, "00ff", Some(vec![0, 255].into()));
        check(GivenType::Hex, "0", None);
        check(GivenType::Hex, "0g", None);
        check(GivenType::Hex, "+5", None);
        check(GivenType::Json, "[1]", Some(Value::list(vec![1.into()])));
        check(GivenType::Json, "null", Some(Value::Nil));
        check(GivenType::Json, "[1", None);
        check(
            GivenType::GeoJson,
            "{}",
            Some(Value::GeoJson("{}".to_owned())),
        );
    }

    #[test]
    fn names() {
        for (name, given) in GivenType::NAMES {
            assert_eq!(GivenType::from_name(name), Some(given));
            assert_eq!(given.name(), name);
        }
        assert_eq!(GivenType::from_name("int"), None);
    }

    #[test]
    fn a_message_says_why() {
        let error = GivenType::Json.parse("[1").unwrap_err().to_string();
        assert!(
            error.starts_with(r#""[1" is not of the type json: EOF"#),
            "{error}"
        );
        let error = GivenType::Integer.parse("x").unwrap_err().to_string();
        assert_eq!(error, r#""x" is not of the type integer"#);
    }
}
