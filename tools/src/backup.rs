//! `backup`: all records of a namespace or set into one file, while the node serves, partition by partition,
//! several at once. What the file holds is in `BACKUP.md`.
//!
//! Never more than a page of each partition that is being read is in memory. A block is appended as soon as
//! it has been read, with the token to go on behind it, so that what is in the file is the journal
//! of the backup too: whoever goes on reads it and asks the node for the rest.

pub mod block;
pub mod error;
mod fields;
pub mod file_header;
pub mod limits;
mod moment;
pub mod reader;
pub mod record;
mod verify;
pub mod writer;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use corelith_client::{LastUpdateMs, Namespace, PartitionId, PartitionPage, ScanOptions, Scanned};
use corelith_io::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::arguments::{BackupArguments, BackupCommand};
use crate::damage::Damages;
use crate::failure::{Exit, Failure};
use crate::node::{check_namespace, failure_of, namespace_of, with_node};
use crate::notice::Notices;
use crate::output::Output;
use crate::pace::{Pace, Pauses, TRIES_MAX, is_passing};
use crate::size::display_size;
use crate::volume::random_identity;
use block::{Token, Totals};
use file_header::FileHeader;
use limits::{CLOCK_MARGIN_MS, PAGE_LENGTH_BYTES};
use reader::BackupReader;
use record::BackupRecord;
use writer::{BackupWriter, PackedBlock};

pub use moment::ms_since_2010;

/// `corelith backup` and `corelith backup verify`.
///
/// # Errors
/// The backup is not there: what was read is kept, and the same command goes on with it. Or it is there but
/// for damaged records. Or what was to be verified is not whole.
pub fn backup(arguments: &BackupArguments, is_json: bool) -> Result<(), Failure> {
    match (&arguments.command, &arguments.output) {
        (Some(BackupCommand::Verify(file)), _) => verify::verify(file, is_json),
        (None, Some(output)) => create(arguments, output, is_json),
        (None, None) => Err(Failure::new("no file is given", "give one with --output")),
    }
}

/// What a backup says for programs.
#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    namespace: &'a str,
    records: u64,
    damaged: u64,
    size_bytes: u64,
    unpacked_bytes: u64,
    resumed: bool,
    seconds: f64,
}

fn create(arguments: &BackupArguments, output: &Path, is_json: bool) -> Result<(), Failure> {
    let clock = Clock::real();
    let start_ns = clock.monotonic_ns();
    let ((totals, size_bytes, resumed), namespace) =
        with_node(&arguments.place.node, async |client| {
            let namespace = namespace_of(&arguments.place, &client).await?;
            let name = namespace.name().to_owned();
            let header = FileHeader {
                identity: random_identity()?,
                node_id: check_namespace(&client, &name).await?.node_id,
                start_ms: ms_since_2010(&clock),
                since_ms: since_ms(arguments, &name)?,
                namespace: name.clone(),
                set: arguments.set.clone(),
            };
            let (writer, header, begun) = BackupWriter::open(output, header)?;
            let resumed = begun.is_some();
            let todo: Vec<_> = PartitionId::all()
                .zip(
                    begun
                        .unwrap_or_default()
                        .into_iter()
                        .map(Some)
                        .chain(std::iter::repeat(None)),
                )
                .filter(|(_, progress)| progress.is_none_or(|progress| !progress.is_done))
                .map(|(partition, progress)| (partition, progress.unwrap_or_default().token))
                .collect();
            let run = Rc::new(Run::new(
                arguments,
                (namespace, header),
                writer,
                todo,
                is_json,
            ));
            run.read_all(arguments.parallel).await;
            Ok((run.finish(ms_since_2010(&clock), resumed)?, name))
        })?;
    let made = Made {
        file: output,
        namespace: &namespace,
        records: totals.records,
        damaged: totals.damaged,
        size_bytes,
        unpacked_bytes: totals.unpacked_bytes,
        resumed,
        seconds: (clock.monotonic_ns().saturating_sub(start_ns) / 1_000_000) as f64 / 1e3,
    };
    tell(&made, is_json)?;
    let mut damages = Damages::new(Notices::new(is_json));
    damages.add(totals.damaged);
    damages.check()
}

fn tell(made: &Made<'_>, is_json: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    if is_json {
        output.json(made)?;
    } else {
        output.line(format!(
            "{} records in {}: {}, {} unpacked, {:.1} s{}",
            made.records,
            made.file.display(),
            display_size(made.size_bytes),
            display_size(made.unpacked_bytes),
            made.seconds,
            if made.resumed {
                "; went on with an unfinished backup"
            } else {
                ""
            }
        ))?;
    }
    output.finish()
}

/// From when on records are wanted.
fn since_ms(arguments: &BackupArguments, namespace: &str) -> Result<u64, Failure> {
    let Some(path) = &arguments.since_backup else {
        return Ok(0);
    };
    let reader = BackupReader::open(path).map_err(|error| error::failure(path, &error))?;
    let header = reader.header();
    if header.namespace != namespace {
        return Err(Failure::new(
            format!(
                "{} is a backup of the namespace {:?}, not of {namespace:?}",
                path.display(),
                header.namespace
            ),
            "give a backup of the same namespace with --since-backup",
        ));
    }
    // Zero would be all records.
    Ok(header.start_ms.saturating_sub(CLOCK_MARGIN_MS).max(1))
}

/// A backup under way.
struct Run {
    namespace: Namespace,
    options: Arc<ScanOptions>,
    since_ms: u64,
    todo: RefCell<std::vec::IntoIter<(PartitionId, Token)>>,
    writer: RefCell<BackupWriter>,
    pace: Pace,
    damages: RefCell<Damages>,
    records: Cell<u64>,
    progress: ProgressBar,
    /// Why no further page is read.
    stopped: RefCell<Option<Failure>>,
}

impl Run {
    fn new(
        arguments: &BackupArguments,
        (namespace, header): (Namespace, FileHeader),
        writer: BackupWriter,
        todo: Vec<(PartitionId, Token)>,
        is_json: bool,
    ) -> Self {
        let options = ScanOptions {
            set: header.set,
            page_length_bytes: PAGE_LENGTH_BYTES,
            ..ScanOptions::default()
        };
        let progress = progress_bar();
        progress.set_position(u64::from(PartitionId::COUNT) - todo.len() as u64);
        Self {
            namespace,
            options: Arc::new(options),
            since_ms: header.since_ms,
            todo: RefCell::new(todo.into_iter()),
            records: Cell::new(writer.totals().records),
            writer: RefCell::new(writer),
            pace: Pace::new(arguments.rate_bytes),
            damages: RefCell::new(Damages::new(Notices::new(is_json))),
            progress,
            stopped: RefCell::new(None),
        }
    }

    async fn read_all(self: &Rc<Self>, parallel: u16) {
        let workers: Vec<_> = (0..parallel)
            .map(|_| {
                let run = Rc::clone(self);
                tokio::task::spawn_local(async move { run.work().await })
            })
            .collect();
        for worker in workers {
            if let Err(error) = worker.await {
                self.stop(Failure::new(
                    format!("a part of the backup broke off: {error}"),
                    "",
                ));
            }
        }
        self.progress.finish_and_clear();
    }

    async fn work(&self) {
        loop {
            let next = self.todo.borrow_mut().next();
            let Some((partition, token)) = next else {
                return;
            };
            if let Err(failure) = self.read(partition, token).await {
                self.stop(failure);
            }
            if self.stopped.borrow().is_some() {
                return;
            }
            self.progress.inc(1);
        }
    }

    /// Reads one partition from a token on.
    async fn read(&self, partition: PartitionId, mut token: Token) -> Result<(), Failure> {
        while self.stopped.borrow().is_none() {
            let page = self.page(partition, &token).await?;
            token = Token::new(&page.resume).ok_or_else(|| {
                Failure::new("the node's token is longer than the protocol allows", "")
            })?;
            let (body, record_count, damaged_count) = self.body_of(&page);
            let length_bytes = body.len() as u64;
            if record_count > 0 || damaged_count > 0 {
                let packed = tokio::task::spawn_blocking(move || {
                    PackedBlock::new(partition, record_count, body)
                });
                let mut packed = packed
                    .await
                    .map_err(|error| Failure::new(format!("packing broke off: {error}"), ""))?;
                packed.token = token;
                packed.is_partition_end = page.is_last;
                packed.damaged_count = damaged_count;
                self.writer.borrow_mut().write(&packed)?;
                self.records
                    .set(self.records.get() + u64::from(record_count));
                self.progress
                    .set_message(format!("{} records", self.records.get()));
            }
            self.pace.pass(length_bytes).await;
            if page.is_last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Asks for a page; a busy node is given time.
    async fn page(&self, partition: PartitionId, token: &Token) -> Result<PartitionPage, Failure> {
        let mut pauses = Pauses::default();
        for _ in 1..TRIES_MAX {
            let page = self
                .namespace
                .scan_page(partition, token.as_bytes(), &self.options);
            match page.await {
                Err(error) if is_passing(&error) => pauses.wait().await,
                page => return page.map_err(failure_of),
            }
        }
        self.namespace
            .scan_page(partition, token.as_bytes(), &self.options)
            .await
            .map_err(failure_of)
    }

    /// The records of a page that are wanted, as a block has them, and how many; damaged ones are told.
    fn body_of(&self, page: &PartitionPage) -> (Vec<u8>, u32, u16) {
        let (mut body, mut record_count, mut damaged_count) = (Vec::new(), 0, 0);
        for found in &page.found {
            let found = match found {
                Scanned::Record(found) => found,
                Scanned::Damaged(damaged) => {
                    damaged_count += 1;
                    self.damages.borrow_mut().tell(damaged, &self.progress);
                    continue;
                }
            };
            let metadata = found.record.metadata();
            let update_ms = metadata.last_update.map_or(u64::MAX, LastUpdateMs::get);
            if update_ms < self.since_ms {
                continue;
            }
            record_count += 1;
            BackupRecord {
                digest: found.digest,
                metadata,
                set: &found.set,
                content: found.record.content_bytes(),
            }
            .write(&mut body);
        }
        (body, record_count, damaged_count)
    }

    fn stop(&self, failure: Failure) {
        self.stopped.borrow_mut().get_or_insert(failure);
    }

    /// Ends the file, if nothing went wrong.
    fn finish(self: Rc<Self>, end_ms: u64, resumed: bool) -> Result<(Totals, u64, bool), Failure> {
        if let Some(failure) = self.stopped.borrow_mut().take() {
            let remedy = match failure.remedy() {
                "" => "then the same command goes on from here".to_owned(),
                remedy => format!("{remedy}; then the same command goes on from here"),
            };
            return Err(Failure::new(failure.problem(), remedy).with_exit(Exit::Partial));
        }
        let Ok(run) = Rc::try_unwrap(self) else {
            return Err(Failure::new("a part of the backup is still at work", ""));
        };
        let (totals, size_bytes) = run.writer.into_inner().finish(end_ms)?;
        Ok((totals, size_bytes, resumed))
    }
}

/// A bar of partitions on standard error, if that is a terminal.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(PartitionId::COUNT.into());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left") {
        bar.set_style(style);
    }
    bar
}
