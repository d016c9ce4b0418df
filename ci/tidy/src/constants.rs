//! The constants and numbered enum variants of Rust sources, evaluated.
//!
//! Names are looked up by their last part, so one name with two meanings is an error, not a guess.
//! What [`crate::expression`] cannot evaluate has text but no number.

use crate::code::blank_comments_and_literals;
use crate::expression::integer;

/// What a constant is worth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A number.
    Integer(i128),
    /// A range of bytes: first, and the one after the last.
    Range(i128, i128),
    /// Not a number: the initialiser as it is written.
    Text(String),
}

/// One constant, or one variant of an enum with its number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constant {
    /// `NAME` or `Enum::Variant`.
    pub name: String,
    /// The initialiser as it is written.
    pub text: String,
    /// Line in the file, counted from 1.
    pub line: usize,
}

/// The constants of one source or of several.
#[derive(Clone, Debug, Default)]
pub struct Constants {
    all: Vec<Constant>,
}

impl Constants {
    /// Adds the constants of a source.
    pub fn read(&mut self, text: &str) {
        let code = blank_comments_and_literals(text);
        self.read_constants(text, &code);
        self.read_enums(&code);
    }

    /// Every constant, in the order read.
    pub fn iter(&self) -> impl Iterator<Item = &Constant> {
        self.all.iter()
    }

    /// The value of a name. None if there is no such constant.
    ///
    /// # Errors
    ///
    /// The name, if it stands for two different initialisers.
    pub fn value(&self, name: &str) -> Result<Option<Value>, String> {
        let Some(constant) = self.find(name)? else {
            return Ok(None);
        };
        Ok(Some(self.evaluate(&constant.text, 0)))
    }

    fn find(&self, name: &str) -> Result<Option<&Constant>, String> {
        let mut found: Option<&Constant> = None;
        for constant in self.all.iter().filter(|constant| constant.name == name) {
            if found.is_some_and(|other| other.text != constant.text) {
                return Err(name.to_owned());
            }
            found = Some(constant);
        }
        Ok(found)
    }

    fn evaluate(&self, text: &str, depth: usize) -> Value {
        if let Some((low, high)) = text.split_once("..") {
            let (high, extra) = high.strip_prefix('=').map_or((high, 0), |high| (high, 1));
            if let (Some(low), Some(high)) = (self.integer(low, depth), self.integer(high, depth)) {
                return Value::Range(low, high + extra);
            }
        }
        self.integer(text, depth)
            .map_or_else(|| Value::Text(text.trim().to_owned()), Value::Integer)
    }

    fn integer(&self, text: &str, depth: usize) -> Option<i128> {
        /// Deeper than constants of a format refer to each other.
        const DEPTH_MAX: usize = 32;
        if depth > DEPTH_MAX {
            return None;
        }
        integer(text, &|name| {
            let constant = self.find(name).ok()??;
            self.integer(&constant.text, depth + 1)
        })
    }

    fn read_constants(&mut self, text: &str, code: &str) {
        for (position, _) in code.match_indices("const ") {
            let preceded = code[..position]
                .chars()
                .next_back()
                .is_some_and(|before| before.is_alphanumeric() || before == '_');
            let head = &code[position + "const ".len()..];
            let Some((name, _)) = head.split_once(':') else {
                continue;
            };
            let is_name = !name.is_empty()
                && name.chars().all(|character| {
                    character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_'
                });
            let Some(equals) = head.find(" = ").or_else(|| head.find(" =\n")) else {
                continue;
            };
            let start = position + "const ".len() + equals + 2;
            let Some(length) = end_of_statement(&code[start..]) else {
                continue;
            };
            if !preceded && is_name {
                self.push(name, &text[start..start + length], code, position);
            }
        }
    }

    fn read_enums(&mut self, code: &str) {
        for (position, _) in code.match_indices("enum ") {
            let head = &code[position + "enum ".len()..];
            let Some((name, rest)) = head.split_once('{') else {
                continue;
            };
            let body = rest.split('}').next().unwrap_or_default();
            for variant in body.split(',') {
                let Some((left, number)) = variant.split_once(" = ") else {
                    continue;
                };
                let Some(variant_name) = left.split_whitespace().next_back() else {
                    continue;
                };
                let name = format!("{}::{variant_name}", name.trim());
                self.push(&name, number, code, position);
            }
        }
    }

    fn push(&mut self, name: &str, text: &str, code: &str, position: usize) {
        self.all.push(Constant {
            name: name.to_owned(),
            text: text.trim().to_owned(),
            line: code[..position].matches('\n').count() + 1,
        });
    }
}

fn end_of_statement(code: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (position, character) in code.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ';' if depth == 0 => return Some(position),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Value) {
        let mut constants = Constants::default();
        constants.read(&format!(
            "const BASE: usize = 16;\nconst X: usize = {text};\npub(crate) const fn f() {{}}"
        ));
        assert_eq!(constants.value("X"), Ok(Some(expected)), "{text}");
    }

    #[test]
    fn integers() {
        check("8", Value::Integer(8));
        check("Self::BASE + 4", Value::Integer(20));
    }

    #[test]
    fn ranges_and_texts() {
        check("BASE..BASE + 8", Value::Range(16, 24));
        check("0..=3", Value::Range(0, 4));
        check("*b\"CORE\"", Value::Text("*b\"CORE\"".to_owned()));
        check("[0; 4]", Value::Text("[0; 4]".to_owned()));
        check("UNKNOWN + 1", Value::Text("UNKNOWN + 1".to_owned()));
    }

    #[test]
    fn variants() {
        let mut constants = Constants::default();
        constants.read("pub enum Kind {\n    /// One, = 3.\n    Nil = 1,\n    Bool = 0x02,\n}\n");
        assert_eq!(constants.value("Kind::Bool"), Ok(Some(Value::Integer(2))));
        assert_eq!(constants.value("Kind::Map"), Ok(None));
        assert_eq!(constants.iter().count(), 2);
    }

    #[test]
    fn one_name_with_two_meanings_is_an_error() {
        let mut constants = Constants::default();
        constants.read("const A: u8 = 1;");
        constants.read("const A: u8 = 2;");
        assert_eq!(constants.value("A"), Err("A".to_owned()));
    }

    #[test]
    fn a_constant_that_names_itself_ends() {
        let mut constants = Constants::default();
        constants.read("const A: u8 = B;\nconst B: u8 = A;");
        assert_eq!(constants.value("A"), Ok(Some(Value::Text("B".to_owned()))));
    }
}
