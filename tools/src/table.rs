//! Rows under heads, in columns as wide as what is in them. What comes from clients is made harmless for terminals.

use crate::failure::Failure;
use crate::output::Output;

/// Heads, and the rows below them.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without a row.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|&head| head.to_owned()).collect()],
        }
    }

    /// Adds a row, a cell for each head.
    pub fn row(&mut self, cells: Vec<String>) {
        let cells = cells.into_iter();
        let shown = cells.map(|cell| cell.replace(|letter: char| letter.is_control(), "?"));
        self.rows.push(shown.collect());
    }

    /// Writes it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&self, output: &mut Output) -> Result<(), Failure> {
        self.lines().try_for_each(|line| output.line(line))
    }

    /// Its lines, heads first.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        self.rows.iter().map(move |row| {
            let cells = row.iter().zip(&widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(&["ID", "CLIENT"]);
        table.row(vec!["0-17".to_owned(), "a\u{1b}[2Jb".to_owned()]);
        table.row(vec!["1-3".to_owned(), "-".to_owned()]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["ID    CLIENT", "0-17  a?[2Jb", "1-3   -"]);
    }
}
