//! `export`: all records of a namespace or set in a file of JSON lines or CSV.

mod csv_file;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use corelith_client::{Client, ScanOptions, Scanned, ScannedRecord};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::arguments::{ExportArguments, FileFormat};
use crate::damage::Damages;
use crate::failure::Failure;
use crate::json::JsonBins;
use crate::node::{failure_of, namespace_of, with_node};
use crate::notice::Notices;
use crate::output::{Output, unwritable};
use crate::record_json::RecordObject;
use crate::scan::{bins_of, no_records};
use csv_file::{Columns, CsvFile};

/// What an export into a file says for programs.
#[derive(Serialize)]
struct Exported {
    records: u64,
    damaged: u64,
}

/// `corelith export`.
///
/// # Errors
/// The export is not complete: a file that was asked for is not there then. Or it is but for damaged
/// records, which have been told: then the file is there, with all others.
pub fn export(arguments: &ExportArguments, is_json: bool) -> Result<(), Failure> {
    // `-` is standard output here as it is standard input for `load`.
    let file = arguments.output.as_deref();
    let file = file.filter(|path| path.as_os_str() != "-");
    let progress = spinner(file.is_some());
    let notices = Notices::new(is_json);
    let Some(path) = file else {
        let mut output = Output::new();
        let outcome = write_records(arguments, &mut output, &progress, notices);
        // What was written before an error is handed on as well.
        output.finish()?;
        let each = outcome?;
        if each.records == 0 && each.damages.count() == 0 {
            notices.nothing(&no_records(&arguments.place, arguments.set.as_deref()));
        }
        return each.damages.check();
    };
    let mut target = Target::open(path)?;
    let each = write_records(arguments, &mut target.writer, &progress, notices)?;
    target.finish()?;
    progress.finish_and_clear();
    let records = each.records;
    let mut output = Output::new();
    if is_json {
        output.json(&Exported {
            records,
            damaged: each.damages.count(),
        })?;
    } else {
        output.line(format!("{records} records in {}", path.display()))?;
    }
    output.finish()?;
    each.damages.check()
}

/// Scans and writes. Returns the numbers of records.
fn write_records<'a>(
    arguments: &ExportArguments,
    writer: &mut impl Write,
    progress: &'a ProgressBar,
    notices: Notices,
) -> Result<Counter<'a>, Failure> {
    with_node(&arguments.place.node, async |client| {
        let mut each = Counter::new(progress, notices);
        match arguments.format {
            FileFormat::Jsonl => {
                for_each(arguments, &client, &mut |found| {
                    let Some(found) = each.readable(found) else {
                        return Ok(());
                    };
                    write_json(writer, found, arguments.meta)
                })
                .await?;
            }
            FileFormat::Csv => {
                let columns = if arguments.columns.is_empty() {
                    progress.set_message("looking for columns");
                    columns_of_all(arguments, &client).await?
                } else {
                    arguments.columns.clone()
                };
                let mut file = CsvFile::new(writer, columns, arguments)?;
                for_each(arguments, &client, &mut |found| {
                    let Some(found) = each.readable(found) else {
                        return Ok(());
                    };
                    file.write(found)
                })
                .await?;
                file.finish()?;
            }
        }
        Ok(each)
    })
}

async fn columns_of_all(
    arguments: &ExportArguments,
    client: &Client,
) -> Result<Vec<String>, Failure> {
    let mut columns = Columns::default();
    for_each(arguments, client, &mut |found| {
        // Damage is told when the records are written.
        if let Scanned::Record(found) = found {
            columns.add(found);
        }
        Ok(())
    })
    .await?;
    Ok(columns.into_names())
}

async fn for_each(
    arguments: &ExportArguments,
    client: &Client,
    work: &mut impl FnMut(&Scanned) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let options = ScanOptions {
        set: arguments.set.clone(),
        bins: bins_of(&arguments.columns),
        ..ScanOptions::default()
    };
    let namespace = namespace_of(&arguments.place, client).await?;
    let mut scan = namespace.scan(options);
    while let Some(found) = scan.next().await.map_err(failure_of)? {
        work(&found)?;
    }
    Ok(())
}

fn write_json(
    writer: &mut impl Write,
    found: &ScannedRecord,
    has_meta: bool,
) -> Result<(), Failure> {
    let written = if has_meta {
        let object = RecordObject {
            digest: found.digest,
            set: &found.set,
            record: &found.record,
            key: None,
            has_bins: true,
        };
        serde_json::to_writer(&mut *writer, &object)
    } else {
        serde_json::to_writer(&mut *writer, &JsonBins(found.record.content().bins()))
    };
    written
        .map_err(std::io::Error::from)
        .and_then(|()| writer.write_all(b"\n"))
        .map_err(|error| unwritable(&error))
}

/// Where an export goes: a file of another name until it is complete; pipes and devices as they are.
struct Target {
    writer: BufWriter<File>,
    path: PathBuf,
    /// The unfinished file's name, until it is renamed.
    unfinished: Option<PathBuf>,
}

impl Target {
    fn open(path: &Path) -> Result<Self, Failure> {
        let is_special = path.metadata().is_ok_and(|metadata| !metadata.is_file());
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = (!is_special).then(|| PathBuf::from(unfinished));
        let opened = unfinished.as_deref().unwrap_or(path);
        let file = File::create(opened)
            .map_err(|error| Failure::new(format!("{}: {error}", opened.display()), ""))?;
        Ok(Self {
            writer: BufWriter::with_capacity(256 << 10, file),
            path: path.to_owned(),
            unfinished,
        })
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| unwritable(&error))?;
        if let Some(unfinished) = self.unfinished.take() {
            std::fs::rename(&unfinished, &self.path).map_err(|error| {
                let (from, to) = (unfinished.display(), self.path.display());
                Failure::new(format!("{from} cannot be renamed to {to}: {error}"), "")
            })?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(unfinished) = &self.unfinished {
            // Whoever asked for the file is told why it is not there; this is only tidying up.
            drop(std::fs::remove_file(unfinished));
        }
    }
}

/// Counts records, and shows the count now and then; tells damaged ones.
struct Counter<'a> {
    records: u64,
    damages: Damages,
    progress: &'a ProgressBar,
}

impl<'a> Counter<'a> {
    const STEP: u64 = 1024;

    fn new(progress: &'a ProgressBar, notices: Notices) -> Self {
        Self {
            records: 0,
            damages: Damages::new(notices),
            progress,
        }
    }

    /// Counts what was found; the record, if it can be read.
    fn readable<'b>(&mut self, found: &'b Scanned) -> Option<&'b ScannedRecord> {
        match found {
            Scanned::Record(found) => {
                self.count();
                Some(found)
            }
            Scanned::Damaged(damaged) => {
                self.damages.tell(damaged, self.progress);
                None
            }
        }
    }

    fn count(&mut self) {
        self.records += 1;
        if self.records.is_multiple_of(Self::STEP) && !self.progress.is_hidden() {
            self.progress
                .set_message(format!("{} records", self.records));
        }
    }
}

/// A spinner on standard error, if that is a terminal and records do not go there as well.
fn spinner(has_file: bool) -> ProgressBar {
    let is_shown =
        std::io::stderr().is_terminal() && (has_file || !std::io::stdout().is_terminal());
    if !is_shown {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
