//! What a restore has come to, and how it is told.

use std::cell::Cell;

use serde::Serialize;

/// Counts of records. Each that was read is in one of them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    restored: Cell<u64>,
    kept: Cell<u64>,
    expired: Cell<u64>,
    failed: Cell<u64>,
    in_doubt: Cell<u64>,
    skipped: Cell<u64>,
}

/// The counts for programs.
#[derive(Serialize)]
pub(super) struct CountsObject<'a> {
    restored: u64,
    kept: u64,
    expired: u64,
    failed: u64,
    in_doubt: u64,
    skipped: u64,
    seconds: f64,
    stopped: Option<&'a str>,
}

fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Counts {
    /// One is in the namespace.
    pub(super) fn restored(&self) {
        count(&self.restored);
    }

    /// One that was there was kept.
    pub(super) fn kept(&self) {
        count(&self.kept);
    }

    /// One has expired.
    pub(super) fn expired(&self) {
        count(&self.expired);
    }

    /// One could not be written.
    pub(super) fn fail(&self) {
        count(&self.failed);
    }

    /// One was sent, and nobody knows.
    pub(super) fn doubt(&self) {
        count(&self.in_doubt);
    }

    /// Some were decided by an earlier run.
    pub(super) fn skip(&self, more: u64) {
        self.skipped.set(self.skipped.get() + more);
    }

    /// All that need no second look.
    pub(super) fn decided(&self) -> u64 {
        self.restored.get() + self.kept.get() + self.expired.get() + self.skipped.get()
    }

    /// All that do.
    pub(super) fn not_restored(&self) -> u64 {
        self.failed.get() + self.in_doubt.get()
    }

    pub(super) fn object<'a>(&self, elapsed_ns: u64, stopped: Option<&'a str>) -> CountsObject<'a> {
        CountsObject {
            restored: self.restored.get(),
            kept: self.kept.get(),
            expired: self.expired.get(),
            failed: self.failed.get(),
            in_doubt: self.in_doubt.get(),
            skipped: self.skipped.get(),
            seconds: (elapsed_ns / 1_000_000) as f64 / 1e3,
            stopped,
        }
    }

    pub(super) fn text(&self, elapsed_ns: u64) -> String {
        let earlier = match self.skipped.get() {
            0 => String::new(),
            skipped => format!(", {skipped} restored before"),
        };
        format!(
            "{} records restored, {} kept, {} expired, {} failed, {} in doubt{earlier}; {:.1} s",
            self.restored.get(),
            self.kept.get(),
            self.expired.get(),
            self.failed.get(),
            self.in_doubt.get(),
            elapsed_ns as f64 / 1e9,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_to_people_and_programs() {
        let counts = Counts::default();
        counts.restored();
        counts.restored();
        counts.expired();
        counts.doubt();
        assert_eq!(
            counts.text(1_500_000_000),
            "2 records restored, 0 kept, 1 expired, 0 failed, 1 in doubt; 1.5 s"
        );
        counts.skip(7);
        assert_eq!((counts.decided(), counts.not_restored()), (10, 1));
        let object = serde_json::to_string(&counts.object(2_500_000_000, None)).unwrap();
        assert_eq!(
            object,
            r#"{"restored":2,"kept":0,"expired":1,"failed":0,"in_doubt":1,"skipped":7,"seconds":2.5,"stopped":null}"#
        );
    }
}
