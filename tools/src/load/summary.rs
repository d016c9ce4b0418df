//! What a load has come to: counts, and how they are told.

use std::cell::Cell;

use serde::Serialize;

/// Counts of rows. Read is the sum of acknowledged, in doubt and failed once the load is over.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Taken from the file, rows that cannot become a record included.
    pub(super) read: Cell<u64>,
    /// Handed to the node, wholly or in part.
    pub(super) sent: Cell<u64>,
    /// Acknowledged by the node.
    pub(super) acknowledged: Cell<u64>,
    /// Sent, and nobody knows.
    pub(super) in_doubt: Cell<u64>,
    /// Certainly not loaded.
    pub(super) failed: Cell<u64>,
    /// Failures that were told one by one.
    pub(super) told: Cell<u64>,
}

/// The summary for programs.
#[derive(Serialize)]
pub(super) struct SummaryObject<'a> {
    read: u64,
    sent: u64,
    acknowledged: u64,
    in_doubt: u64,
    failed: u64,
    seconds: f64,
    rows_per_second: u64,
    stopped: Option<&'a str>,
}

impl Summary {
    pub(super) fn object<'a>(
        &self,
        elapsed_ns: u64,
        stopped: Option<&'a str>,
    ) -> SummaryObject<'a> {
        SummaryObject {
            read: self.read.get(),
            sent: self.sent.get(),
            acknowledged: self.acknowledged.get(),
            in_doubt: self.in_doubt.get(),
            failed: self.failed.get(),
            seconds: (elapsed_ns / 1_000_000) as f64 / 1e3,
            rows_per_second: self.rows_per_second(elapsed_ns),
            stopped,
        }
    }

    pub(super) fn text(&self, elapsed_ns: u64) -> String {
        format!(
            "{} rows sent, {} acknowledged, {} in doubt, {} failed; {:.1} s, {} rows/s",
            self.sent.get(),
            self.acknowledged.get(),
            self.in_doubt.get(),
            self.failed.get(),
            elapsed_ns as f64 / 1e9,
            self.rows_per_second(elapsed_ns),
        )
    }

    /// Acknowledged rows a second.
    fn rows_per_second(&self, elapsed_ns: u64) -> u64 {
        let rate =
            u128::from(self.acknowledged.get()) * 1_000_000_000 / u128::from(elapsed_ns.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_to_people_and_programs() {
        let summary = Summary::default();
        summary.read.set(10);
        summary.sent.set(9);
        summary.acknowledged.set(6);
        summary.in_doubt.set(2);
        summary.failed.set(2);
        assert_eq!(
            summary.text(2_000_000_000),
            "9 rows sent, 6 acknowledged, 2 in doubt, 2 failed; 2.0 s, 3 rows/s"
        );
        let object = serde_json::to_string(&summary.object(2_500_000_000, Some("why"))).unwrap();
        assert_eq!(
            object,
            r#"{"read":10,"sent":9,"acknowledged":6,"in_doubt":2,"failed":2,"seconds":2.5,"rows_per_second":2,"stopped":"why"}"#
        );
    }
}
