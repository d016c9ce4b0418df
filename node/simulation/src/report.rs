//! What runs have gone through, and how it is told: the figures that show whether a run has proved anything.
//! Knows nothing of how they come about.

use std::fmt;

use crate::feed::FeedFigures;
use crate::oracle::Totals;
use crate::subject::CheckpointFigures;

/// What a run has gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Power cuts, those of forks included.
    pub power_cuts: u64,
    /// Of those, in the middle of a start.
    pub cuts_in_start: u64,
    /// Of those, in forks.
    pub cuts_in_forks: u64,
    /// Kills.
    pub kills: u64,
    /// Clean stops.
    pub stops: u64,
    /// Starts that failed because of a fault.
    pub failed_starts: u64,
    /// Silent faults that struck, without those of forks.
    pub silent_faults: u64,
    /// Starts after which the store said that it may have lost something.
    pub stale_starts: u64,
    /// Segments emptied by moving what lived in them, as far as clients were served, without those of forks.
    pub segments_reclaimed: u64,
    /// Expired records removed, as far as clients were served, without those of forks.
    pub expired_records: u64,
    /// Polls and machine steps, without those of forks.
    pub moments: u64,
    /// What checkpoints came to, without those of lives that ended in a start, and of forks.
    pub checkpoints: CheckpointFigures,
    /// What followers came to, without those of forks.
    pub feed: FeedFigures,
    /// What the oracle has checked, without forks.
    pub totals: Totals,
    /// A sum over everything that the machine did.
    pub fingerprint: u64,
}

impl Report {
    /// Adds another run's figures. Fingerprints are combined.
    pub fn add(&mut self, other: &Self) {
        self.power_cuts += other.power_cuts;
        self.cuts_in_start += other.cuts_in_start;
        self.cuts_in_forks += other.cuts_in_forks;
        self.kills += other.kills;
        self.stops += other.stops;
        self.failed_starts += other.failed_starts;
        self.silent_faults += other.silent_faults;
        self.stale_starts += other.stale_starts;
        self.segments_reclaimed += other.segments_reclaimed;
        self.expired_records += other.expired_records;
        self.moments += other.moments;
        self.checkpoints.add(&other.checkpoints);
        self.feed.add(&other.feed);
        self.totals.add(&other.totals);
        self.fingerprint = self.fingerprint.rotate_left(1) ^ other.fingerprint;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            power_cuts,
            cuts_in_start,
            cuts_in_forks,
            kills,
            stops,
            ..
        } = self;
        let Totals {
            reads,
            writes,
            truncated,
            refused,
            not_done,
            in_doubt,
            ..
        } = self.totals;
        let Totals {
            cut_off,
            surfaced,
            unreadable,
            stale,
            untold,
            taken_back,
            ..
        } = self.totals;
        writeln!(
            formatter,
            "{power_cuts} power cuts ({cuts_in_start} during a start, {cuts_in_forks} in forks), \
             {kills} kills, {stops} clean stops, {} failed starts, {} segments reclaimed, \
             {} expired records removed, {} moments",
            self.failed_starts, self.segments_reclaimed, self.expired_records, self.moments
        )?;
        writeln!(
            formatter,
            "{writes} writes acknowledged, {truncated} keys truncated, {reads} reads, {refused} refused, \
             {not_done} not done, {in_doubt} in doubt, {cut_off} cut off, {surfaced} of those surfaced"
        )?;
        writeln!(
            formatter,
            "{} silent faults, {} starts that may be stale, {unreadable} reads answered with an error, \
             {untold} times a key was untold, {stale} losses that nothing vouched against, \
             {taken_back} keys of which a crash took buffered writes back",
            self.silent_faults, self.stale_starts
        )?;
        let CheckpointFigures {
            starts,
            unusable,
            pages_damaged,
            rounds,
            given_back,
        } = self.checkpoints;
        writeln!(
            formatter,
            "{rounds} rounds of checkpoints, {starts} starts of a log from one, {unusable} with one that could not be used, \
             {pages_damaged} pages damaged, {given_back} segments given back to the log"
        )?;
        let FeedFigures {
            changes,
            compared,
            found,
            states,
            reclaimed,
            damaged,
        } = self.feed;
        if self.feed != FeedFigures::default() {
            writeln!(
                formatter,
                "{changes} changes followed, {compared} compared after a start, {found} acknowledged writes and {states} states \
                 of keys found in them, {reclaimed} times reclaimed, {damaged} times damaged"
            )?;
        }
        write!(formatter, "fingerprint {:016x}", self.fingerprint)
    }
}
