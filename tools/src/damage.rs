//! Damaged records that a scan came upon: each is told on standard error, and that there were any ends the
//! command with a failure when everything else has been done.

use corelith_client::DamagedRecord;
use indicatif::ProgressBar;

use crate::failure::{Exit, Failure};
use crate::notice::Notices;

/// Damaged records so far.
#[derive(Debug)]
pub struct Damages {
    count: u64,
    notices: Notices,
}

impl Damages {
    /// None so far; they will be told in this form.
    #[must_use]
    pub const fn new(notices: Notices) -> Self {
        Self { count: 0, notices }
    }

    /// Tells one, above the bar if there is one.
    pub fn tell(&mut self, damaged: &DamagedRecord, progress: &ProgressBar) {
        self.count += 1;
        let line = match &*damaged.set {
            "" => self.notices.line(&damaged.to_string()),
            set => self.notices.line(&format!("in set {set:?}, {damaged}")),
        };
        progress.suspend(|| eprintln!("{line}"));
    }

    /// Counts some that were told by someone else.
    pub const fn add(&mut self, count: u64) {
        self.count += count;
    }

    /// How many.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The failure that they are.
    ///
    /// # Errors
    /// There was one.
    pub fn check(&self) -> Result<(), Failure> {
        let problem = match self.count {
            0 => return Ok(()),
            1 => "1 record is damaged and was left out".to_owned(),
            count => format!("{count} records are damaged and were left out"),
        };
        let remedy = "see them above; everything else was read. A put or a delete of its key repairs a record";
        Err(Failure::new(problem, remedy).with_exit(Exit::Partial))
    }
}
