//! Fields that hold a bare number say its unit: `length_bytes`, `timeout_ms`, `latency_ns_max`.
//!
//! Looks at the named fields of public structs whose type is an integer (alone, or inside
//! `Option`, `Cell`, an atomic or a non-zero type) and whose name speaks of a quantity.

use crate::code::blank_comments_and_literals;
use crate::finding::Finding;
use crate::rules::{QUANTITIES, UNITS};
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "put the unit into the name, then the qualifier (`latency_ns_max`), or \
use a type that carries it. A number of things is a `_count`.";

/// Fields without a unit.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        let code = blank_comments_and_literals(&file.text);
        for field in public_struct_fields(&code) {
            let words: Vec<&str> = field.name.split('_').collect();
            let speaks_of_quantity = words.iter().any(|word| QUANTITIES.contains(word));
            let has_unit = words.iter().any(|word| UNITS.contains(word));
            if speaks_of_quantity && !has_unit && is_integer(field.kind) {
                findings.push(Finding::at(
                    &file.path,
                    field.line,
                    format!("field `{}: {}` has no unit", field.name, field.kind),
                ));
            }
        }
    }
    findings
}

struct Field<'code> {
    name: &'code str,
    kind: &'code str,
    line: usize,
}

fn public_struct_fields(code: &str) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    for (position, _) in code.match_indices("struct ") {
        let line_start = code[..position].rfind('\n').map_or(0, |end| end + 1);
        if !code[line_start..position].trim_start().starts_with("pub") {
            continue;
        }
        let head = &code[position..];
        let Some(open) = head.find(['{', ';', '(']) else {
            continue;
        };
        if !head[open..].starts_with('{') {
            continue; // a unit or a tuple struct
        }
        let start = position + open + 1;
        let Some(end) = closing(&code[start..]) else {
            continue;
        };
        fields.extend(fields_of(code, start, start + end));
    }
    fields
}

/// Where the bracket closes that stands open before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_i32;
    for (position, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(position);
        }
    }
    None
}

/// The fields between two positions of the code, split at the commas outside brackets.
fn fields_of(code: &str, start: usize, end: usize) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let mut depth = 0_i32;
    let mut field_start = start;
    for (offset, character) in code[start..end].char_indices() {
        match character {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' | ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                fields.extend(field(code, field_start, start + offset));
                field_start = start + offset + 1;
            }
            _ => {}
        }
    }
    fields.extend(field(code, field_start, end));
    fields
}

fn field(code: &str, start: usize, end: usize) -> Option<Field<'_>> {
    let mut text = &code[start..end];
    while let Some(rest) = text.trim_start().strip_prefix("#[") {
        text = rest.split_once(']')?.1;
    }
    let (before, kind) = text.split_once(':')?;
    let name = before.split_whitespace().next_back()?;
    let name_position = end - text.len() + before.rfind(name)?;
    Some(Field {
        name,
        kind: kind.trim(),
        line: code[..name_position].matches('\n').count() + 1,
    })
}

fn is_integer(kind: &str) -> bool {
    let mut inner = kind;
    for wrapper in ["Option<", "Cell<", "NonZero<"] {
        if let Some(rest) = inner.strip_prefix(wrapper) {
            inner = rest.trim_end_matches('>');
        }
    }
    let lower = inner
        .trim_start_matches("Atomic")
        .trim_start_matches("NonZero")
        .to_lowercase();
    let digits = lower.trim_start_matches(['u', 'i']);
    lower.len() == digits.len() + 1 && ["8", "16", "32", "64", "128", "size"].contains(&digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(fields: &str) -> Vec<usize> {
        let text = format!("//! X.\n/// timeout: u64\npub struct X<'a> {{\n{fields}\n}}\n");
        check(&Tree::sample(&[("io/src/x.rs", &text)]))
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn fields_without_a_unit() {
        assert_eq!(check_one("    pub timeout: u64,"), [4]);
        assert_eq!(
            check_one("    a: u8,\n    #[x(y)]\n    latency_max: Option<u32>"),
            [6]
        );
        assert_eq!(
            check_one("    map: Map<u8, u8>,\n    size: NonZeroU64,"),
            [5]
        );
        assert_eq!(check_one("    length: AtomicUsize,"), [4]);
        assert_eq!(check_one("    pub(crate) interval: Cell<u64>,"), [4]);
    }

    #[test]
    fn fields_with_one_or_without_a_need() {
        assert_eq!(check_one("    pub timeout_ms: u64,"), [0; 0]);
        assert_eq!(
            check_one("    latency_ns_max: u64,\n    size_bytes: usize,"),
            [0; 0]
        );
        assert_eq!(
            check_one("    timeout: Duration,\n    length: ByteLen,"),
            [0; 0]
        );
        assert_eq!(check_one("    name: u64,"), [0; 0]);
    }

    #[test]
    fn other_structs_are_left_alone() {
        let text = "//! X.\nstruct Y { timeout: u64 }\npub struct Z(u64);\nfn f() { size: u64; }\n";
        assert_eq!(check(&Tree::sample(&[("io/src/x.rs", text)])), []);
    }
}
