//! Deliberate faults of the store, one at a time, to show that the simulator finds each. Never in what ships: without
//! the feature `planted-bugs`, which the simulator's own command alone turns on, none can be planted and the
//! questions for them are gone from the code.

/// A way in which the store would be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlantedBug {
    /// A content is believed whatever its checksum says.
    SkipContentChecksum,
    /// Checksums do not cover the place that bytes were written to.
    IgnorePlace,
    /// A scan takes batches and records of any life of a segment for those of its own.
    BelieveOtherLife,
    /// Of two keys with one tag the first that is read is answered.
    SkipDigest,
    /// A batch is acknowledged when the device has it, durable or not.
    AcknowledgeEarly,
    /// A batch is acknowledged although its write failed.
    AcknowledgeFailed,
    /// What a failed device may have written is answered "not written".
    DenyDoubt,
    /// A segment is freed while one record in it lives.
    FreeTooEarly,
    /// A segment is freed although its tombstones are needed.
    IgnorePin,
    /// A segment is sealed while batches of it are on their way.
    SealTooEarly,
    /// The last record of a segment is missing in its summary.
    ShortenSummary,
    /// Replay leaves tombstones out.
    ForgetTombstones,
    /// Replay leaves truncations out.
    ForgetTruncations,
    /// A truncation is forgotten when its segment is reclaimed, not when that is durably free.
    ForgetTruncationEarly,
    /// Replay takes segments from the newest to the oldest.
    ReplayBackwards,
    /// Positions that were given up count all the same.
    IgnoreVoid,
    /// A start serves what it has read before that is durable.
    ServeUndurable,
    /// A record that was durable and cannot be read is left out.
    DropDamaged,
    /// Batches that were durable and are missing are not reported.
    HideLostBatches,
    /// What headers of segments vouch for is not asked.
    ForgetVouchers,
    /// The header of an expired record is dropped although an older version may come back.
    DropExpiredHeader,
    /// Expired records are removed while the clock is doubtful.
    RemoveInDoubt,
    /// Followers are given changes that a device has, durable or not.
    FollowPastWatermark,
    /// Followers are given copies that reclaim has made.
    FollowMoves,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::SkipContentChecksum,
        Self::IgnorePlace,
        Self::BelieveOtherLife,
        Self::SkipDigest,
        Self::AcknowledgeEarly,
        Self::AcknowledgeFailed,
        Self::DenyDoubt,
        Self::FreeTooEarly,
        Self::IgnorePin,
        Self::SealTooEarly,
        Self::ShortenSummary,
        Self::ForgetTombstones,
        Self::ForgetTruncations,
        Self::ForgetTruncationEarly,
        Self::ReplayBackwards,
        Self::IgnoreVoid,
        Self::ServeUndurable,
        Self::DropDamaged,
        Self::HideLostBatches,
        Self::ForgetVouchers,
        Self::DropExpiredHeader,
        Self::RemoveInDoubt,
        Self::FollowPastWatermark,
        Self::FollowMoves,
    ];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
}

/// Has the stores of this thread be wrong in this way from now on; `None` for in none.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<PlantedBug>) {
    PLANTED.set(bug);
}

/// Whether the store is to be wrong in this way.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is_planted(bug: PlantedBug) -> bool {
    PLANTED.get() == Some(bug)
}

/// The store is right.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is_planted(_: PlantedBug) -> bool {
    false
}
