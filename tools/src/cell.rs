//! The rule by which a text becomes a value where no type was given: in a cell of a CSV file and
//! behind `BIN=` on the command line. It looks at the one text alone, so that whoever reads the
//! rule can say what is stored.
//!
//! - An integer is a number as it would be printed: `0`, or digits that do not begin with a zero, with
//!   a minus before them or not, that fit 64 bits with a sign. `007`, `+1`, `-0` and
//!   `9223372036854775808` are strings.
//! - A double is such a number followed by a point and digits, by an exponent, or by both: `1.5`,
//!   `-0.0`, `1e5`. `.5`, `1.`, `NaN` and `1e999` are strings.
//! - `true` and `false` are bools.
//! - Anything else is a string, the empty text included.

/// A value that was inferred. Strings stay where they are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cell<'a> {
    /// A signed integer.
    Integer(i64),
    /// A finite double.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// The text itself.
    String(&'a str),
}

impl<'a> Cell<'a> {
    /// The value that `text` stands for.
    #[must_use]
    pub fn infer(text: &'a str) -> Self {
        match text.as_bytes().first() {
            Some(b'-' | b'0'..=b'9') => number(text).unwrap_or(Self::String(text)),
            Some(b't') if text == "true" => Self::Bool(true),
            Some(b'f') if text == "false" => Self::Bool(false),
            _ => Self::String(text),
        }
    }
}

/// The number that `text` is, if it is one by the rule.
fn number(text: &str) -> Option<Cell<'_>> {
    let bytes = text.as_bytes();
    let is_negative = bytes.first() == Some(&b'-');
    let digits_start = usize::from(is_negative);
    let digits_end = end_of_digits(bytes, digits_start);
    let digits = &bytes[digits_start..digits_end];
    let is_canonical = match digits {
        [] => false,
        [b'0'] => true,
        [first, ..] => *first != b'0',
    };
    if !is_canonical {
        return None;
    }
    if digits_end == bytes.len() {
        return integer(digits, is_negative).map(Cell::Integer);
    }
    double(text, digits_end).map(Cell::Double)
}

/// The integer with these digits; `None` for minus zero and beyond 64 bits.
fn integer(digits: &[u8], is_negative: bool) -> Option<i64> {
    let mut number = 0_i64;
    for digit in digits {
        let digit = i64::from(digit - b'0');
        // Downwards, because there is one more negative number than there are positive ones.
        number = number.checked_mul(10)?.checked_sub(digit)?;
    }
    match (is_negative, number) {
        (true, 0) => None,
        (true, number) => Some(number),
        (false, number) => number.checked_neg(),
    }
}

/// The double that has a point or an exponent behind its first digits.
fn double(text: &str, digits_end: usize) -> Option<f64> {
    let bytes = text.as_bytes();
    let mut end = digits_end;
    if bytes.get(end) == Some(&b'.') {
        let fraction_end = end_of_digits(bytes, end + 1);
        if fraction_end == end + 1 {
            return None;
        }
        end = fraction_end;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent_start = end + 1 + sign;
        end = end_of_digits(bytes, exponent_start);
        if end == exponent_start {
            return None;
        }
    }
    if end != bytes.len() {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn end_of_digits(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: Cell<'_>) {
        assert_eq!(Cell::infer(text), expected, "{text:?}");
    }

    #[test]
    fn integers() {
        check("0", Cell::Integer(0));
        check("7", Cell::Integer(7));
        check("-33", Cell::Integer(-33));
        check("9223372036854775807", Cell::Integer(i64::MAX));
        check("-9223372036854775808", Cell::Integer(i64::MIN));
    }

    #[test]
    fn doubles() {
        check("1.5", Cell::Double(1.5));
        check("0.25", Cell::Double(0.25));
        check("-0.0", Cell::Double(-0.0));
        check("1e5", Cell::Double(1e5));
        check("1E-7", Cell::Double(1e-7));
        check("2.5e+3", Cell::Double(2500.0));
        assert!(matches!(Cell::infer("-0.0"), Cell::Double(zero) if zero.is_sign_negative()));
    }

    #[test]
    fn bools() {
        check("true", Cell::Bool(true));
        check("false", Cell::Bool(false));
    }

    #[test]
    fn everything_else_is_a_string() {
        for text in [
            "",
            " ",
            "-",
            "+1",
            "-0",
            "00",
            "0123",
            "-012",
            "1_000",
            "1,5",
            "0x10",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            ".5",
            "1.",
            "1.e5",
            "1e",
            "1e+",
            "01.5",
            "1.5x",
            "1e5x",
            "1e999",
            "-1e999",
            "NaN",
            "inf",
            "Infinity",
            "True",
            "FALSE",
            "truer",
            "null",
            "NA",
            "9E",
            "N14228",
            "2013-01-01T10:00:00Z",
            " 1",
            "1 ",
            "1.5.2",
            "\u{663}",
        ] {
            check(text, Cell::String(text));
        }
    }

    proptest! {
        #[test]
        fn every_integer_comes_back(number: i64) {
            let text = number.to_string();
            prop_assert_eq!(Cell::infer(&text), Cell::Integer(number));
        }

        #[test]
        fn what_is_inferred_prints_as_it_was(text in "-?[0-9]{1,21}") {
            match Cell::infer(&text) {
                Cell::Integer(number) => prop_assert_eq!(number.to_string(), text),
                cell => prop_assert_eq!(cell, Cell::String(&text)),
            }
        }

        #[test]
        fn doubles_are_those_of_the_standard_library(text in "-?(0|[1-9][0-9]{0,5})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?") {
            if let Cell::Double(number) = Cell::infer(&text) {
                prop_assert_eq!(number.to_bits(), text.parse::<f64>().unwrap().to_bits());
            }
        }
    }
}
