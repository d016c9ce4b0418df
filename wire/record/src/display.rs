//! Values, names and keys as text for people: escaped, and cut at a fixed length.
//!
//! Never writes more than `DISPLAY_LENGTH_BYTES_MAX` bytes and the dots, whatever a peer has sent,
//! and never walks much further into the bytes than it writes.

use std::fmt::{self, Write};

use crate::limits::DISPLAY_LENGTH_BYTES_MAX;
use crate::msgpack::Token;
use crate::order::{take_list_order, take_map_order};
use crate::value::Value;
use crate::value_ref::ValueRef;

/// A writer that stops at the bound: from there on every write fails, the outermost call succeeds.
pub(crate) struct BoundedWriter<'f, 'g> {
    formatter: &'f mut fmt::Formatter<'g>,
    left_bytes: usize,
    is_cut: bool,
}

impl Write for BoundedWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        if let Some(left) = self.left_bytes.checked_sub(text.len()) {
            self.left_bytes = left;
            return self.formatter.write_str(text);
        }
        self.is_cut = true;
        let head = text
            .get(..text.floor_char_boundary(self.left_bytes))
            .unwrap_or_default();
        self.formatter.write_str(head)?;
        self.formatter.write_str("...")?;
        Err(fmt::Error)
    }
}

/// Runs `write` with a writer that stops at the bound.
pub(crate) fn write_bounded(
    formatter: &mut fmt::Formatter<'_>,
    write: impl FnOnce(&mut BoundedWriter<'_, '_>) -> fmt::Result,
) -> fmt::Result {
    let mut out = BoundedWriter {
        formatter,
        left_bytes: DISPLAY_LENGTH_BYTES_MAX,
        is_cut: false,
    };
    match write(&mut out) {
        Err(fmt::Error) if out.is_cut => Ok(()),
        result => result,
    }
}

/// Text with line breaks, quotes and what cannot be printed escaped.
pub(crate) fn write_escaped(out: &mut BoundedWriter<'_, '_>, text: &str) -> fmt::Result {
    write!(out, "{}", text.escape_debug())
}

/// The same between quotes.
pub(crate) fn write_quoted(out: &mut BoundedWriter<'_, '_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    write_escaped(out, text)?;
    out.write_char('"')
}

/// Bytes in hexadecimal behind `0x`.
pub(crate) fn write_hex(out: &mut BoundedWriter<'_, '_>, bytes: &[u8]) -> fmt::Result {
    out.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// Bytes in hexadecimal, with the word that says what they are.
fn write_tagged(
    out: &mut BoundedWriter<'_, '_>,
    tag: fmt::Arguments<'_>,
    bytes: &[u8],
) -> fmt::Result {
    write!(out, "{tag}(")?;
    write_hex(out, bytes)?;
    out.write_char(')')
}

/// A borrowed value.
pub(crate) fn write_value_ref(
    out: &mut BoundedWriter<'_, '_>,
    value: &ValueRef<'_>,
) -> fmt::Result {
    match value {
        ValueRef::Nil => out.write_str("nil"),
        ValueRef::Bool(truth) => write!(out, "{truth}"),
        ValueRef::Integer(number) => write!(out, "{number}"),
        ValueRef::Unsigned(number) => write!(out, "{number}"),
        // With its point or exponent: 1.0 is not the integer 1.
        ValueRef::Double(number) => write!(out, "{number:?}"),
        ValueRef::String(text) => write_quoted(out, text),
        ValueRef::Bytes(bytes) => write_hex(out, bytes),
        ValueRef::List(list) => write_msgpack(out, &mut list.as_msgpack()),
        ValueRef::Map(map) => write_msgpack(out, &mut map.as_msgpack()),
        ValueRef::HyperLogLog(bytes) => write_tagged(out, format_args!("hyperloglog"), bytes),
        ValueRef::GeoJson(text) => {
            out.write_str("geojson(")?;
            write_quoted(out, text)?;
            out.write_char(')')
        }
        ValueRef::Opaque(opaque) => match opaque.kind() {
            Some(kind) => write_tagged(out, format_args!("{kind}"), opaque.bytes()),
            None => write_tagged(
                out,
                format_args!("kind{}", opaque.kind_byte()),
                opaque.bytes(),
            ),
        },
        ValueRef::Extension { kind, data } => write_tagged(out, format_args!("ext{kind}"), data),
    }
}

/// An owned value. Recurses as deep as the value is nested.
pub(crate) fn write_value(out: &mut BoundedWriter<'_, '_>, value: &Value) -> fmt::Result {
    match value {
        Value::List(list) => {
            out.write_char('[')?;
            for (index, item) in list.items.iter().enumerate() {
                write_separator(out, index)?;
                write_value(out, item)?;
            }
            out.write_char(']')
        }
        Value::Map(map) => {
            out.write_char('{')?;
            for (index, (key, item)) in map.pairs.iter().enumerate() {
                write_separator(out, index)?;
                write_value(out, key)?;
                out.write_str(": ")?;
                write_value(out, item)?;
            }
            out.write_char('}')
        }
        Value::Nil
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Unsigned(_)
        | Value::Double(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::HyperLogLog(_)
        | Value::GeoJson(_)
        | Value::Opaque { .. }
        | Value::Extension { .. } => match value.as_scalar() {
            Some(scalar) => write_value_ref(out, &scalar),
            None => Ok(()),
        },
    }
}

/// One element of checked msgpack, token by token: what is beyond the bound is never looked at.
/// Recurses at most `VALUE_DEPTH_MAX` deep, since the bytes were checked.
fn write_msgpack(out: &mut BoundedWriter<'_, '_>, rest: &mut &[u8]) -> fmt::Result {
    let Ok(token) = Token::read(rest) else {
        return Ok(());
    };
    match token {
        Token::List(count) => {
            out.write_char('[')?;
            let left = take_list_order(rest, count).1;
            for index in 0..left {
                write_separator(out, usize::try_from(index).unwrap_or(usize::MAX))?;
                write_msgpack(out, rest)?;
            }
            out.write_char(']')
        }
        Token::Map(count) => {
            out.write_char('{')?;
            let left = take_map_order(rest, count).1;
            for index in 0..left {
                write_separator(out, usize::try_from(index).unwrap_or(usize::MAX))?;
                write_msgpack(out, rest)?;
                out.write_str(": ")?;
                write_msgpack(out, rest)?;
            }
            out.write_char('}')
        }
        Token::Nil
        | Token::Bool(_)
        | Token::Integer(_)
        | Token::Unsigned(_)
        | Token::Double(_)
        | Token::Untyped
        | Token::Typed { .. }
        | Token::Extension { .. } => match ValueRef::from_scalar(token) {
            Some(scalar) => write_value_ref(out, &scalar),
            None => Ok(()),
        },
    }
}

fn write_separator(out: &mut BoundedWriter<'_, '_>, index: usize) -> fmt::Result {
    if index == 0 {
        Ok(())
    } else {
        out.write_str(", ")
    }
}
