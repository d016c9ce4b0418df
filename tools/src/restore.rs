//! `restore`: the records of a backup written into a namespace, many on their way at once.
//!
//! As many workers as may be in flight share one reader: each takes a record, writes it and waits for the
//! answer. A block counts as restored when all of its records have been decided; only then is it noted. A
//! record restored twice is the same record, so whatever is in doubt is tried again.

mod counts;
mod journal;
mod one;
mod source;

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::rc::Rc;

use corelith_client::{Error, Namespace};
use corelith_io::Clock;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Mutex;

use crate::arguments::RestoreArguments;
use crate::backup::error::failure;
use crate::backup::reader::BackupReader;
use crate::failure::{Exit, Failure};
use crate::load::is_final;
use crate::node::{check_namespace, failure_of, with_node};
use crate::notice::Notices;
use crate::output::Output;
use crate::pace::Pace;
use counts::Counts;
use journal::Journal;
use one::{Decided, One};
use source::{Source, Taken};

/// Failures that are told one by one; the others are counted.
const FAILURES_TOLD_MAX: u64 = 10;

/// `corelith restore`.
///
/// # Errors
/// Nothing or only a part was restored; the counts have been printed.
pub fn restore(arguments: &RestoreArguments, is_json: bool) -> Result<(), Failure> {
    let path = &arguments.file;
    let reader = BackupReader::open(path).map_err(|error| failure(path, &error))?;
    let progress = progress_bar(arguments);
    let clock = Clock::real();
    let start_ns = clock.monotonic_ns();
    let run = with_node(&arguments.node, async |client| {
        let backed_up = reader.header();
        let name = arguments.namespace.as_ref().unwrap_or(&backed_up.namespace);
        let namespace = client.namespace(name);
        let node_id = check_namespace(&client, name).await?.node_id;
        let journal = match &arguments.journal {
            Some(path) => Some(Journal::open(path, &backed_up.identity, node_id, name)?),
            None => None,
        };
        let run = Rc::new(Run {
            namespace,
            source: Mutex::new(Source::new(reader, path.clone())),
            journal: RefCell::new(journal),
            pace: Pace::new(arguments.rate_bytes),
            counts: Counts::default(),
            notices: Notices::new(is_json),
            told: Cell::new(0),
            failures_max: arguments.failures_max,
            progress,
            stopped: RefCell::new(None),
        });
        run.write_all(arguments).await;
        Ok(run)
    })?;
    run.progress.finish_and_clear();
    run.end(clock.monotonic_ns().saturating_sub(start_ns), is_json)
}

/// A restore under way.
struct Run {
    namespace: Namespace,
    source: Mutex<Source>,
    journal: RefCell<Option<Journal>>,
    pace: Pace,
    counts: Counts,
    notices: Notices,
    told: Cell<u64>,
    failures_max: u64,
    progress: ProgressBar,
    /// Why no further record is taken.
    stopped: RefCell<Option<Failure>>,
}

impl Run {
    async fn write_all(self: &Rc<Self>, arguments: &RestoreArguments) {
        let workers: Vec<_> = (0..arguments.in_flight)
            .map(|_| {
                let (run, mode) = (Rc::clone(self), arguments.mode);
                tokio::task::spawn_local(async move {
                    let one = One::new(run.namespace.clone(), mode);
                    run.work(&one).await;
                })
            })
            .collect();
        for worker in workers {
            if let Err(error) = worker.await {
                let problem = format!("a part of the restore broke off: {error}");
                self.stop(Failure::new(problem, ""));
            }
        }
    }

    async fn work(&self, one: &One) {
        while let Some(taken) = self.take().await {
            let Some(record) = taken.record() else {
                continue;
            };
            self.pace.pass(record.content.len() as u64).await;
            match one.restore(&record).await {
                Ok(decided) => {
                    self.counts.add(decided);
                    self.settle(&taken);
                }
                Err(error) => {
                    let is_stopped = is_final(&error);
                    self.fail(&record.digest.to_string(), error);
                    // A record that failed for good is decided; one that any other would have shared is not.
                    if !is_stopped {
                        self.settle(&taken);
                    }
                }
            }
        }
    }

    /// The next record; `None` if there is none, or none shall be taken.
    async fn take(&self) -> Option<Taken> {
        let mut source = self.source.lock().await;
        if self.stopped.borrow().is_some() {
            return None;
        }
        let is_done = |number| {
            let journal = self.journal.borrow();
            journal
                .as_ref()
                .is_some_and(|journal| journal.is_done(number))
        };
        let taken = source.take(is_done, &self.counts).await;
        self.progress.set_position(source.offset_bytes());
        if !self.progress.is_hidden() {
            self.progress
                .set_message(format!("{} records", self.counts.decided()));
        }
        taken.unwrap_or_else(|failure| {
            self.stop(failure);
            None
        })
    }

    /// Notes the block of a record if it was the last of it.
    fn settle(&self, taken: &Taken) {
        if taken.settle()
            && let Some(journal) = self.journal.borrow_mut().as_mut()
            && let Err(failure) = journal.note(taken.block_number())
        {
            self.stop(failure);
        }
    }

    fn fail(&self, digest: &str, error: Error) {
        if error.is_in_doubt() {
            self.counts.doubt();
        } else {
            self.counts.fail();
        }
        let told = self.told.replace(self.told.get() + 1);
        let line = match told {
            0..FAILURES_TOLD_MAX => self.notices.line(&format!("record {digest}: {error}")),
            FAILURES_TOLD_MAX => self.notices.line("more records failed; they are counted"),
            _ => String::new(),
        };
        if !line.is_empty() {
            self.progress.suspend(|| eprintln!("{line}"));
        }
        if is_final(&error) {
            self.stop(failure_of(error));
        } else if self.counts.not_restored() >= self.failures_max {
            self.stop(Failure::new(
                format!(
                    "{} records could not be restored",
                    self.counts.not_restored()
                ),
                "see the first of them above; --failures-max sets when to stop",
            ));
        }
    }

    /// Takes no further record. The first reason counts.
    fn stop(&self, failure: Failure) {
        self.stopped.borrow_mut().get_or_insert(failure);
    }

    /// Prints the counts and says how the program ends.
    fn end(&self, elapsed_ns: u64, is_json: bool) -> Result<(), Failure> {
        let stopped = self.stopped.borrow_mut().take();
        let mut output = Output::new();
        if is_json {
            let reason = stopped.as_ref().map(Failure::problem);
            output.json(&self.counts.object(elapsed_ns, reason))?;
        } else {
            output.line(self.counts.text(elapsed_ns))?;
        }
        output.finish()?;
        let failed = self.counts.not_restored();
        match stopped {
            Some(failure) if self.counts.decided() == 0 => Err(failure),
            Some(failure) => Err(failure.with_exit(Exit::Partial)),
            None if failed > 0 => Err(Failure::new(
                format!("{failed} records were not restored, or that is in doubt"),
                "see why above, mend it and restore again: what is restored stays as it is",
            )
            .with_exit(Exit::Partial)),
            None => match self.journal.borrow_mut().take() {
                Some(journal) => journal.remove(),
                None => Ok(()),
            },
        }
    }
}

/// A bar of the file on standard error, if that is a terminal.
fn progress_bar(arguments: &RestoreArguments) -> ProgressBar {
    let length = arguments.file.metadata().map(|metadata| metadata.len());
    let Ok(length_bytes) = length else {
        return ProgressBar::hidden();
    };
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length_bytes);
    let template = "{bar:30} {percent:>3} %  {msg}  {bytes_per_sec}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// What the workers do with one record, and the count that it is.
impl Counts {
    fn add(&self, decided: Decided) {
        match decided {
            Decided::Restored => self.restored(),
            Decided::Kept => self.kept(),
            Decided::Expired => self.expired(),
        }
    }
}
