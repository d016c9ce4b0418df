//! Damaged records that a scan came upon: each is told on standard error, and that there were any ends the
//! command with a failure when everything else has been done.

use corelith_client::DamagedRecord;
use indicatif::ProgressBar;

use crate::failure::{Exit, Failure};

/// Damaged records so far.
#[derive(Debug, Default)]
pub struct Damages {
    count: u64,
}

impl Damages {
    /// Tells one, above the bar if there is one.
    pub fn tell(&mut self, damaged: &DamagedRecord, progress: &ProgressBar) {
        self.count += 1;
        let line = match &*damaged.set {
            "" => format!("corelith: {damaged}"),
            set => format!("corelith: in set {set:?}, {damaged}"),
        };
        progress.suspend(|| eprintln!("{line}"));
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
