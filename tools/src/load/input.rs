//! The file that a load reads: opened in its format, counted as it is read, shown as a bar.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::rc::Rc;

use indicatif::{ProgressBar, ProgressStyle};

use crate::arguments::{FileFormat, LoadArguments};
use crate::failure::Failure;
use crate::rows::{CsvForm, CsvRows, JsonRows, RowPlan, Rows};

/// Length of one read of the input, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Opens the file and passes over what is to be skipped.
pub(super) fn open(arguments: &LoadArguments, read_bytes: Rc<Cell<u64>>) -> Result<Rows, Failure> {
    let path = &arguments.file;
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let file = File::open(path).map_err(|error| {
            Failure::new(
                format!("{} cannot be opened: {error}", path.display()),
                "see that the path is right; - is standard input",
            )
        })?;
        Box::new(file)
    };
    let counting = Counting { input, read_bytes };
    let input: Box<dyn BufRead> = Box::new(BufReader::with_capacity(READ_BYTES, counting));
    let plan = RowPlan {
        key_columns: arguments.key.clone(),
        key_type: arguments.key_type,
        types: arguments.types.iter().cloned().collect(),
        nulls: arguments.nulls.clone(),
        key_bins: !arguments.no_key_bins,
        store_key: arguments.store_key,
    };
    let extension = path.extension().and_then(|extension| extension.to_str());
    let extension = extension.map(str::to_ascii_lowercase).unwrap_or_default();
    let format = match (arguments.format, extension.as_str()) {
        (Some(format), _) => format,
        (None, "csv" | "tsv") => FileFormat::Csv,
        (None, "jsonl" | "ndjson" | "json") => FileFormat::Jsonl,
        (None, _) => {
            return Err(Failure::new(
                format!("the format of {} is not known by its name", path.display()),
                "give it: --format csv or --format jsonl",
            ));
        }
    };
    let rows = match format {
        FileFormat::Jsonl => Ok(Rows::Json(JsonRows::new(input, plan))),
        FileFormat::Csv => {
            let tab_by_name = if extension == "tsv" { b'\t' } else { b',' };
            let form = CsvForm {
                delimiter: arguments.delimiter.unwrap_or(tab_by_name),
                columns: (!arguments.columns.is_empty()).then(|| arguments.columns.clone()),
            };
            CsvRows::new(input, plan, form).map(Rows::Csv)
        }
    };
    let failed = |error| Failure::new(format!("{}: {error}", path.display()), "");
    let mut rows = rows.map_err(failed)?;
    rows.skip(arguments.skip).map_err(failed)?;
    Ok(rows)
}

/// Counts what has been read.
struct Counting {
    input: Box<dyn Read>,
    read_bytes: Rc<Cell<u64>>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.read_bytes.set(self.read_bytes.get() + length as u64);
        Ok(length)
    }
}

/// A bar on standard error, if that is a terminal.
pub(super) fn progress_bar(path: &Path) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let size_bytes = path.metadata().ok().filter(std::fs::Metadata::is_file);
    let (bar, template) = match size_bytes {
        Some(metadata) => (
            ProgressBar::new(metadata.len()),
            "{bar:30} {percent:>3} %  {msg}  {bytes_per_sec}  {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes}  {msg}  {bytes_per_sec}",
        ),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
