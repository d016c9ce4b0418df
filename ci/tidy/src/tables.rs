//! The tables of a format page say what the code says.
//!
//! A table behind `<!-- check: path/from/root.rs -->` (several paths are separated by spaces) has a
//! column `constant` and at least one of `offset`, `size` and `value`. Each constant named in a row
//! is compared with that row's number: one with the word `OFFSET` with the offset, one with `SIZE`,
//! `LENGTH` or `BYTES` with the size, a range with both, anything else, `Enum::Variant` included,
//! with the value. And the other way round: a constant with the word `OFFSET`, or a numbered
//! variant of an enum that the table names, is an error if no table has it. Rows with offset and
//! size leave no gap and do not overlap.

use std::collections::BTreeSet;

use crate::constants::{Constants, Value};
use crate::expression::number;
use crate::finding::Finding;
use crate::tree::Tree;

/// What to do about a finding.
pub const REMEDY: &str = "make the table and the code say the same; the page is the truth about \
bytes that are already on a device. CONTRIBUTING.md tells how such a table is written.";

const MARKER: &str = "<!-- check:";

/// Rows that disagree with the code, and constants of the code that no table has.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut sources = BTreeSet::new();
    let mut named = BTreeSet::new();
    for page in tree.ending(".md") {
        for table in tables(&page.text) {
            let checked = CheckedTable::new(tree, &page.path, &table);
            match checked {
                Ok(checked) => {
                    checked.check_rows(&mut findings);
                    checked.check_gaps(&mut findings);
                    sources.extend(table.sources.iter().cloned());
                    named.extend(checked.named());
                }
                Err(what) => findings.push(Finding::at(&page.path, table.line, what)),
            }
        }
    }
    findings.extend(check_named(tree, &sources, &named));
    findings
}

/// A marked table.
struct Table {
    line: usize,
    sources: Vec<String>,
    header: Vec<String>,
    rows: Vec<(usize, Vec<String>)>,
}

fn tables(page: &str) -> Vec<Table> {
    let lines: Vec<&str> = page.lines().collect();
    let mut tables = Vec::new();
    let mut in_block = false;
    for (index, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        let Some(rest) = line.trim().strip_prefix(MARKER).filter(|_| !in_block) else {
            continue;
        };
        let mut rows = lines
            .iter()
            .enumerate()
            .skip(index + 1)
            .skip_while(|(_, line)| line.trim().is_empty())
            .take_while(|(_, line)| line.trim_start().starts_with('|'))
            .map(|(row, line)| (row + 1, cells(line)));
        let header = rows.next().map(|(_, cells)| cells).unwrap_or_default();
        tables.push(Table {
            line: index + 1,
            sources: rest
                .trim_end_matches("-->")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            header: header.iter().map(|cell| cell.to_lowercase()).collect(),
            rows: rows.skip(1).collect(), // less the line of dashes
        });
    }
    tables
}

fn cells(line: &str) -> Vec<String> {
    line.trim()
        .trim_matches('|')
        .replace("\\|", "\u{1}")
        .split('|')
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}

/// A marked table beside the constants of its sources.
struct CheckedTable<'table> {
    page: &'table str,
    table: &'table Table,
    constants: Constants,
    constant: usize,
    offset: Option<usize>,
    size: Option<usize>,
    value: Option<usize>,
}

impl<'table> CheckedTable<'table> {
    fn new(tree: &Tree, page: &'table str, table: &'table Table) -> Result<Self, String> {
        let mut constants = Constants::default();
        for source in &table.sources {
            let file = tree
                .file(source)
                .ok_or_else(|| format!("names the source `{source}`, which does not exist"))?;
            constants.read(&file.text);
        }
        let column = |name: &str| table.header.iter().position(|cell| cell.starts_with(name));
        let constant =
            column("constant").ok_or("stands before no table with a column `constant`")?;
        let checked = Self {
            page,
            table,
            constants,
            constant,
            offset: column("offset"),
            size: column("size"),
            value: column("value"),
        };
        if checked.offset.is_none() && checked.size.is_none() && checked.value.is_none() {
            return Err("the table has none of the columns offset, size, value".to_owned());
        }
        if checked.named().is_empty() {
            return Err("no row of the table names a constant".to_owned());
        }
        Ok(checked)
    }

    /// Every constant that the table names.
    fn named(&self) -> Vec<String> {
        self.table
            .rows
            .iter()
            .flat_map(|(_, row)| self.names(row))
            .collect()
    }

    fn names(&self, row: &[String]) -> Vec<String> {
        row.get(self.constant)
            .map(String::as_str)
            .unwrap_or_default()
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    }

    fn check_rows(&self, findings: &mut Vec<Finding>) {
        for (line, row) in &self.table.rows {
            for name in self.names(row) {
                if let Some(what) = self.fault(&name, row) {
                    findings.push(Finding::at(self.page, *line, what));
                }
            }
        }
    }

    fn fault(&self, name: &str, row: &[String]) -> Option<String> {
        let value = match self.constants.value(name) {
            Err(name) => return Some(format!("`{name}` means two things in the sources")),
            Ok(None) => {
                return Some(format!(
                    "`{name}` is not in {}",
                    self.table.sources.join(", ")
                ));
            }
            Ok(Some(value)) => value,
        };
        let cell = |column: Option<usize>| column.and_then(|column| row.get(column));
        let says = |column: Option<usize>| cell(column).and_then(|cell| number_in(cell));
        match value {
            Value::Range(low, high) => {
                let table = (says(self.offset), says(self.size));
                (table != (Some(low), Some(high - low))).then(|| {
                    format!("`{name}` is {low}..{high} in the code, offset and size here disagree")
                })
            }
            Value::Integer(number) => {
                let column = self.column_of(name);
                let table = says(column);
                (table != Some(number)).then(|| {
                    let table = table.map_or_else(|| "no number".to_owned(), |n| n.to_string());
                    format!("`{name}` is {number} in the code, {table} here")
                })
            }
            Value::Text(text) => {
                let table = cell(self.value).map(|cell| cell.trim_matches('`'));
                let same = table.is_some_and(|table| !table.is_empty() && text.contains(table));
                (!same).then(|| format!("`{name}` is `{text}` in the code"))
            }
        }
    }

    fn column_of(&self, name: &str) -> Option<usize> {
        let speaks_of = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
        if speaks_of(&["OFFSET"]) {
            self.offset
        } else if speaks_of(&["SIZE", "LENGTH", "BYTES"]) && self.size.is_some() {
            self.size
        } else {
            self.value
        }
    }

    /// Each row with offset and size ends where the next one with an offset begins.
    fn check_gaps(&self, findings: &mut Vec<Finding>) {
        let (Some(offset), Some(size)) = (self.offset, self.size) else {
            return;
        };
        let number_at =
            |row: &Vec<String>, column: usize| row.get(column).and_then(|cell| number_in(cell));
        let mut expected = None;
        for (line, row) in &self.table.rows {
            let start = number_at(row, offset);
            if let (Some(expected), Some(start)) = (expected, start)
                && expected != start
            {
                findings.push(Finding::at(
                    self.page,
                    *line,
                    format!("begins at {start}, the row before ends at {expected}"),
                ));
            }
            expected = start
                .zip(number_at(row, size))
                .map(|(start, size)| start + size);
        }
    }
}

/// The number that a cell begins with.
fn number_in(cell: &str) -> Option<i128> {
    number(cell.trim_matches('`').split([' ', '`']).next()?)
}

/// Constants of the sources that a table should have named.
fn check_named(tree: &Tree, sources: &BTreeSet<String>, named: &BTreeSet<String>) -> Vec<Finding> {
    let enums: BTreeSet<&str> = named
        .iter()
        .filter_map(|name| name.split_once("::"))
        .map(|(owner, _)| owner)
        .collect();
    let mut findings = Vec::new();
    for file in sources.iter().filter_map(|source| tree.file(source)) {
        let mut constants = Constants::default();
        constants.read(&file.text);
        for constant in constants.iter() {
            let must_be_named = match constant.name.split_once("::") {
                Some((owner, _)) => enums.contains(owner),
                None => constant.name.split('_').any(|word| word == "OFFSET"),
            };
            if must_be_named && !named.contains(&constant.name) {
                findings.push(Finding::at(
                    &file.path,
                    constant.line,
                    format!("`{}` stands in no checked table", constant.name),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "\
pub const MAGIC: [u8; 4] = *b\"CORE\";
const MAGIC_OFFSET: usize = 0;
const LENGTH_OFFSET: usize = MAGIC_OFFSET + 4;
const LENGTH_BYTES: usize = size_of::<u32>();
const SUM: Range<usize> = 8..16;
pub enum Kind { Nil = 1, Bool = 2 }
";
    const HEADER: &str = "| offset | size | value | constant | meaning |\n|---|---|---|---|---|\n";
    const ROWS: &str = "\
| 0 | 4 | `b\"CORE\"` | `MAGIC_OFFSET` `MAGIC` | magic |
| 4 | 4 | | `LENGTH_OFFSET`, `LENGTH_BYTES` | length |
| 8 | 8 | | `SUM` | checksum |
| 16 | n | | | content |
";
    const KINDS: &str = "\n<!-- check: io/src/header.rs -->\n| value | constant |\n|---|---|\n| 1 | `Kind::Nil` |\n| 2 | `Kind::Bool` |\n";

    fn check_page(page: &str) -> Vec<String> {
        check(&Tree::sample(&[
            ("io/FORMAT.md", page),
            ("io/src/header.rs", CODE),
        ]))
        .iter()
        .map(ToString::to_string)
        .collect()
    }

    fn check_rows(rows: &str) -> Vec<String> {
        check_page(&format!(
            "<!-- check: io/src/header.rs -->\n\n{HEADER}{rows}{KINDS}"
        ))
    }

    #[test]
    fn a_table_that_agrees() {
        assert_eq!(check_rows(ROWS), [""; 0]);
    }

    #[test]
    fn a_number_that_disagrees() {
        for (from, to, findings) in [
            (
                "| 4 | 4 | | `LENGTH_OFFSET`, `LENGTH_BYTES`",
                "| 5 | 4 | | `LENGTH_OFFSET`, `LENGTH_BYTES`",
                3,
            ),
            ("| 8 | 8 | | `SUM`", "| 8 | 9 | | `SUM`", 2),
            ("`b\"CORE\"`", "`b\"CURE\"`", 1),
            ("`b\"CORE\"`", "", 1),
            ("`SUM`", "`SUN`", 1),
            ("`LENGTH_OFFSET`, ", "", 1),
        ] {
            assert!(ROWS.contains(from), "{from}");
            let found = check_rows(&ROWS.replace(from, to));
            assert_eq!(found.len(), findings, "{to}: {found:?}");
        }
    }

    #[test]
    fn a_hole_is_an_undocumented_byte() {
        let rows = ROWS.replace("| 16 | n |", "| 20 | n |");
        assert_eq!(
            check_rows(&rows),
            ["io/FORMAT.md:8: begins at 20, the row before ends at 16"]
        );
    }

    #[test]
    fn a_variant_without_a_row() {
        let page = format!(
            "<!-- check: io/src/header.rs -->\n{HEADER}{ROWS}{}",
            KINDS.replace("| 2 | `Kind::Bool` |\n", "")
        );
        assert_eq!(
            check_page(&page),
            ["io/src/header.rs:6: `Kind::Bool` stands in no checked table"]
        );
    }

    #[test]
    fn markers_that_check_nothing() {
        for page in [
            "<!-- check: io/src/none.rs -->\n| value | constant |\n|---|---|\n| 1 | `A` |\n",
            "<!-- check: io/src/header.rs -->\nno table\n",
            "<!-- check: io/src/header.rs -->\n| constant |\n|---|\n| `MAGIC` |\n",
            "<!-- check: io/src/header.rs -->\n| value | constant |\n|---|---|\n| 1 | MAGIC |\n",
        ] {
            assert_eq!(check_page(page).len(), 1, "{page}");
        }
    }

    #[test]
    fn a_page_without_a_marker_is_left_alone() {
        assert_eq!(
            check_page("| offset | constant |\n|---|---|\n| 3 | `MAGIC_OFFSET` |\n"),
            [""; 0]
        );
    }
}
