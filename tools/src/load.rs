//! `load`: the rows of a file become records, many on their way at once.
//!
//! As many workers as may be in flight share one reader: each takes a row, writes it and waits for
//! the answer before it takes the next, so that a row is in memory only while it is on its way. All run
//! on one thread. A row is acknowledged when the node says so, and only then noted.

mod input;
mod journal;
mod summary;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelith_client::{Doubt, Error, PutMode, Set, Status, WriteOptions};
use corelith_io::Clock;
use indicatif::ProgressBar;
use tokio::sync::Notify;

use crate::arguments::{LoadArguments, LoadMode};
use crate::failure::{Exit, Failure};
use crate::key_text::KeyType;
use crate::node::{failure_of, namespace_of, with_node};
use crate::notice::Notices;
use crate::output::Output;
use crate::pace::{Pauses, TRIES_MAX, is_passing};
use crate::rows::{Next, Row, Rows};
use input::{open, progress_bar};
use journal::Journal;
use summary::Summary;

/// Failures that are told one by one; the others are counted.
const FAILURES_TOLD_MAX: u64 = 10;

/// `corelith load`.
///
/// # Errors
/// Nothing or only a part was loaded; the summary has been printed.
pub fn load(arguments: &LoadArguments, is_json: bool) -> Result<(), Failure> {
    check(arguments)?;
    let read_bytes = Rc::new(Cell::new(0));
    let rows = open(arguments, Rc::clone(&read_bytes))?;
    let journal = match &arguments.acknowledged {
        Some(path) => Some(Journal::open(path)?),
        None => None,
    };
    let progress = progress_bar(&arguments.file);
    let clock = Clock::real();
    let start_ns = clock.monotonic_ns();
    let outcome = with_node(&arguments.place.node, async |client| {
        let namespace = namespace_of(&arguments.place, &client).await?;
        let set = namespace.set(&arguments.set);
        let notices = Notices::new(is_json);
        let load = Rc::new(Load::new(arguments, set, (rows, journal), notices));
        load.run(arguments.in_flight, &progress, &read_bytes).await;
        Ok(load)
    });
    progress.finish_and_clear();
    let load = outcome?;
    load.end(clock.monotonic_ns().saturating_sub(start_ns), is_json)
}

/// What the command line's own checks cannot see.
fn check(arguments: &LoadArguments) -> Result<(), Failure> {
    if arguments.key.len() > 1 && arguments.key_type != KeyType::String {
        return Err(Failure::new(
            "several key columns are joined into one string",
            "leave out --key-type, or give one column",
        ));
    }
    Ok(())
}

/// A load under way.
struct Load {
    rows: RefCell<Rows>,
    left: Cell<u64>,
    set: Set,
    options: WriteOptions,
    failures_max: u64,
    summary: Summary,
    notices: Notices,
    journal: RefCell<Option<Journal>>,
    /// Why no further row is taken.
    stopped: RefCell<Option<Failure>>,
    /// Something was acknowledged or read.
    has_news: Notify,
    is_over: Cell<bool>,
}

impl Load {
    fn new(
        arguments: &LoadArguments,
        set: Set,
        (rows, journal): (Rows, Option<Journal>),
        notices: Notices,
    ) -> Self {
        let options = WriteOptions {
            mode: match arguments.mode {
                LoadMode::Replace => PutMode::Replace,
                LoadMode::Merge => PutMode::Merge,
                LoadMode::CreateOnly => PutMode::CreateOnly,
                LoadMode::UpdateOnly => PutMode::UpdateOnly,
            },
            ttl: arguments.ttl,
            commit: arguments.commit.rule(),
            ..WriteOptions::default()
        };
        Self {
            rows: RefCell::new(rows),
            left: Cell::new(arguments.rows.unwrap_or(u64::MAX)),
            set,
            options,
            failures_max: arguments.failures_max,
            summary: Summary::default(),
            notices,
            journal: RefCell::new(journal),
            stopped: RefCell::new(None),
            has_news: Notify::new(),
            is_over: Cell::new(false),
        }
    }

    /// Runs until the file's end or the first reason to stop, and until nothing is on its way.
    async fn run(
        self: &Rc<Self>,
        in_flight: u32,
        progress: &ProgressBar,
        read_bytes: &Rc<Cell<u64>>,
    ) {
        let told = progress.clone();
        let workers: Vec<_> = (0..in_flight)
            .map(|_| {
                let (load, told) = (Rc::clone(self), told.clone());
                tokio::task::spawn_local(async move { load.work(&told).await })
            })
            .collect();
        let notes = {
            let (load, progress, read_bytes) =
                (Rc::clone(self), progress.clone(), Rc::clone(read_bytes));
            tokio::task::spawn_local(async move { load.keep_notes(&progress, &read_bytes).await })
        };
        for worker in workers {
            if let Err(error) = worker.await {
                self.stop(Failure::new(
                    format!("a part of the load broke off: {error}"),
                    "",
                ));
            }
        }
        self.is_over.set(true);
        self.has_news.notify_one();
        if let Err(error) = notes.await {
            self.stop(Failure::new(
                format!("a part of the load broke off: {error}"),
                "",
            ));
        }
    }

    async fn work(&self, progress: &ProgressBar) {
        let mut row = Row::default();
        while self.take(&mut row, progress) {
            match self.write(&row).await {
                Ok(()) => self.acknowledge(row.number),
                Err(error) => self.fail(row.number, error, progress),
            }
        }
    }

    /// Hands what was acknowledged to the system, once for all that came together.
    async fn keep_notes(&self, progress: &ProgressBar, read_bytes: &Cell<u64>) {
        while !self.is_over.get() {
            self.has_news.notified().await;
            if let Some(journal) = self.journal.borrow_mut().as_mut()
                && let Err(failure) = journal.flush()
            {
                self.stop(failure);
            }
            progress.set_position(read_bytes.get());
            if !progress.is_hidden() {
                progress.set_message(format!("{} rows", self.summary.acknowledged.get()));
            }
        }
    }

    /// Takes the next row that can become a record. False if there is none, or none shall be taken.
    fn take(&self, row: &mut Row, progress: &ProgressBar) -> bool {
        loop {
            if self.left.get() == 0 || self.stopped.borrow().is_some() {
                return false;
            }
            match self.rows.borrow_mut().next(row) {
                Ok(Next::Row) => {
                    self.left.set(self.left.get() - 1);
                    self.summary.read.set(self.summary.read.get() + 1);
                    return true;
                }
                Ok(Next::Fault(fault)) => {
                    self.left.set(self.left.get() - 1);
                    self.summary.read.set(self.summary.read.get() + 1);
                    self.count_failure(&fault.to_string(), progress);
                }
                Ok(Next::End) => self.left.set(0),
                Err(error) => self.stop(Failure::from_text(error)),
            }
        }
    }

    /// Writes a row; a busy node is given time.
    async fn write(&self, row: &Row) -> Result<(), Error> {
        let mut pauses = Pauses::default();
        for _ in 0..TRIES_MAX {
            match self
                .set
                .put_content(&row.key, &row.content, &self.options)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if is_passing(&error) && self.stopped.borrow().is_none() => {
                    pauses.wait().await;
                }
                Err(error) => return Err(error),
            }
        }
        self.set
            .put_content(&row.key, &row.content, &self.options)
            .await
            .map(drop)
    }

    fn acknowledge(&self, number: u64) {
        self.summary.sent.set(self.summary.sent.get() + 1);
        self.summary
            .acknowledged
            .set(self.summary.acknowledged.get() + 1);
        if let Some(journal) = self.journal.borrow_mut().as_mut()
            && let Err(failure) = journal.note(number)
        {
            self.stop(failure);
        }
        self.has_news.notify_one();
    }

    fn fail(&self, number: u64, error: Error, progress: &ProgressBar) {
        let is_final = is_final(&error);
        let was_sent = matches!(error, Error::InDoubt(_) | Error::Refused(_));
        self.summary
            .sent
            .set(self.summary.sent.get() + u64::from(was_sent));
        if error.is_in_doubt() {
            self.summary.in_doubt.set(self.summary.in_doubt.get() + 1);
            if !is_final {
                self.tell(&format!("row {number}: {error}"), progress);
                self.stop_after_too_many();
            }
        } else if is_final {
            self.summary.failed.set(self.summary.failed.get() + 1);
        } else {
            self.count_failure(&format!("row {number}: {error}"), progress);
        }
        if is_final {
            self.stop(failure_of(error));
        }
    }

    fn count_failure(&self, text: &str, progress: &ProgressBar) {
        self.summary.failed.set(self.summary.failed.get() + 1);
        self.tell(text, progress);
        self.stop_after_too_many();
    }

    /// Tells a failure on standard error, above the bar, if not too many have been told.
    fn tell(&self, text: &str, progress: &ProgressBar) {
        let told = self.summary.told.get();
        self.summary.told.set(told + 1);
        let line = match told {
            0..FAILURES_TOLD_MAX => self.notices.line(text),
            FAILURES_TOLD_MAX => self.notices.line("more rows failed; they are counted"),
            _ => return,
        };
        progress.suspend(|| eprintln!("{line}"));
    }

    fn stop_after_too_many(&self) {
        let count = self.summary.failed.get() + self.summary.in_doubt.get();
        if count >= self.failures_max {
            self.stop(Failure::new(
                format!("{count} rows could not be loaded"),
                "see the first of them above; --failures-max sets when to stop",
            ));
        }
    }

    /// Takes no further row. The first reason counts.
    fn stop(&self, failure: Failure) {
        self.stopped.borrow_mut().get_or_insert(failure);
    }

    /// Prints the summary and says how the program ends.
    fn end(&self, elapsed_ns: u64, is_json: bool) -> Result<(), Failure> {
        let stopped = self.stopped.borrow_mut().take();
        let mut output = Output::new();
        let reason = stopped.as_ref().map(Failure::problem);
        if is_json {
            output.json(&self.summary.object(elapsed_ns, reason))?;
        } else {
            output.line(self.summary.text(elapsed_ns))?;
        }
        output.finish()?;
        let is_untouched = self.summary.acknowledged.get() + self.summary.in_doubt.get() == 0;
        match stopped {
            Some(failure) if is_untouched => Err(failure),
            Some(failure) => Err(failure.with_exit(Exit::Partial)),
            None if self.summary.failed.get() + self.summary.in_doubt.get() > 0 => {
                Err(Failure::new(
                    format!(
                        "{} rows failed and {} are in doubt",
                        self.summary.failed.get(),
                        self.summary.in_doubt.get()
                    ),
                    "mend them and load them again; the others are in",
                )
                .with_exit(Exit::Partial))
            }
            None => Ok(()),
        }
    }
}

/// Whether no other row would fare better.
pub(crate) fn is_final(error: &Error) -> bool {
    match error {
        Error::Disconnected(_)
        | Error::InDoubt(Doubt::Disconnected(_))
        | Error::UnknownNamespace { .. }
        | Error::ReadOnly
        | Error::Closed => true,
        Error::Refused(refused) => matches!(
            refused.status,
            Status::UnknownNamespace
                | Status::ReadOnly
                | Status::Fenced
                | Status::Stopping
                | Status::OutOfSpace
                | Status::Incompatible
        ),
        _ => false,
    }
}
