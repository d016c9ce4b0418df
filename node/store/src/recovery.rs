//! Recovery: from what the devices hold to an index that serves, by reading segment headers, the
//! summaries of sealed segments and the data of unsealed ones.
//!
//! Steps: `headers` reads what each segment says of itself; `data` scans unsealed segments batch by
//! batch, across holes; `replay` applies rows in log order. Then devices are flushed, so that
//! nothing that a reader may see from here on can be taken back by a power cut; headers that a crash
//! left half rewritten are made whole, and segments that it left open are sealed, oldest first.
//!
//! Invariants: a batch counts only if its life is the segment's, its LSN is not below the segment's
//! first and in no range that a later header declares void. A batch that a watermark or a footer
//! proves durable and that cannot be read is reported, never passed over in silence; and until someone
//! has accepted the loss, nothing is written that would hide it from the next start.

mod checkpoint;
mod data;
mod expected;
mod headers;
mod replay;

use corelith_io::{DeviceError, DeviceOffset};

use self::checkpoint::{Loaded, Unusable};
use self::headers::Headers;
use self::replay::Replayed;
use crate::allocation::{HeaderError, HeaderWrite};
use crate::chain::{Link, LogChain};
use crate::checkpoint::FoundSegment;
use crate::format::fields::usize_of;
use crate::format::segment_header::{SEGMENT_HEADER_COPIES, SegmentHeader, SegmentUse};
use crate::format::summary::{Footer, SummaryRow};
use crate::limits::{LSN_GAP_AT_START, RECOVERY_SPARES, VERSION_GAP_AT_START};
use crate::log::{Log, OpenSegment};
use crate::place::SegmentNumber;
use crate::planted::{PlantedBug, is_planted};
use crate::progress::RecoveryProgress;
use crate::seal::{SealError, seal};
use crate::segments::SegmentState;
use crate::state::ShardCore;
use crate::store_clock::expired_at;
use crate::{Lsn, OpenError, Version};

/// What recovery found and did, for the log and the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Segments with a log in them.
    pub segments: u64,
    /// Of those, read by their summaries.
    pub sealed: u64,
    /// Of those, scanned because they had no usable summary.
    pub scanned: u64,
    /// Batches replayed.
    pub batches: u64,
    /// Records replayed, superseded ones and tombstones included.
    pub records: u64,
    /// Batches that were durable for certain and cannot be read.
    pub batches_lost: u64,
    /// Records that were durable for certain and whose content cannot be read: answered with errors.
    pub records_damaged: u64,
    /// Segments whose headers cannot be read.
    pub segments_unreadable: u64,
    /// Segments that were part of the log for certain and that are no more, though nobody freed them.
    pub segments_missing: u64,
    /// Headers that a crash had left half rewritten and that are whole again.
    pub headers_repaired: u64,
    /// Segments of which pages of checkpoints hold everything: neither summary nor data were read.
    pub in_pages: u64,
    /// Pages of checkpoints that were loaded.
    pub checkpoint_pages: u64,
    /// Entries of the index that they brought.
    pub checkpoint_entries: u64,
    /// Pages that would have been, had they not been damaged.
    pub checkpoint_pages_damaged: u64,
    /// There was a checkpoint, and it could not be used: the whole log was read.
    pub checkpoint_unusable: bool,
    /// How much later the wall clock was than anything in the log, in ms; `None` if there was no log.
    pub clock_gap_ms: Option<u64>,
}

impl RecoveryReport {
    /// True if acknowledged writes may be missing without anyone knowing which.
    #[must_use]
    pub const fn may_be_stale(&self) -> bool {
        self.batches_lost > 0 || self.segments_unreadable > 0 || self.segments_missing > 0
    }
}

/// Rows of a segment as its data has them, with what reading the data found out.
struct ScannedSegment {
    rows: Vec<SummaryRow>,
    /// Positions in `rows` of records whose header is right and whose content is not.
    damaged: Vec<usize>,
    /// Batches of which not every record header could be read.
    torn: Vec<Lsn>,
    /// Of `damaged`, those that the device refuses to return: they are not merely unfinished.
    refused: Vec<usize>,
    /// Places where the device returns nothing and a batch, or a record of one, may be.
    refused_holes: u64,
    /// Where the last batch ends, in bytes.
    end_bytes: u64,
}

/// A segment that holds part of the log.
struct LogSegment {
    number: SegmentNumber,
    header: SegmentHeader,
    footer: Option<Footer>,
}

/// The highest numbers that recovery met.
#[derive(Clone, Copy, Debug, Default)]
struct Highest {
    /// Of the batches that count.
    counted: Lsn,
    /// Of all that anything speaks of.
    lsn: Lsn,
    version: Version,
    time_ms: u64,
}

/// Fills the core's empty index from its devices, and makes its log ready to go on.
pub(crate) async fn recover(
    core: &ShardCore,
    accept_stale: bool,
    progress: &RecoveryProgress,
) -> Result<RecoveryReport, OpenError> {
    let mut report = RecoveryReport::default();
    let segment_bytes = usize_of(core.state.borrow().log.geometry().segment_bytes);
    let _spares = core.pool.keep_spares(RECOVERY_SPARES * segment_bytes);
    let (headers, replayed, loaded) = replay_log(core, &mut report, progress).await?;
    check_memory(core)?;
    flush_all(core).await?;
    continue_log(core, (&headers, replayed.highest), report.may_be_stale());
    if report.may_be_stale() && !accept_stale {
        core.stale.set(true);
        return Ok(report);
    }
    for segment in &replayed.unsealed {
        let found = headers
            .log
            .iter()
            .find(|found| found.number == segment.number);
        if let Some(found) = found {
            write_again(core, found, &segment.rows).await?;
        }
    }
    for header in &headers.torn {
        repair(core, header, &mut report).await;
    }
    for segment in replayed.unsealed {
        seal_unsealed(core, &segment).await?;
    }
    // Those that contradict what is served now would answer otherwise after the next start.
    if report.may_be_stale() || report.checkpoint_unusable {
        destroy_pages(core, &headers).await?;
    }
    adopt_pages(core, headers, loaded);
    Ok(report)
}

/// Replays what pages of checkpoints do not hold, if they can be used; else the whole log.
async fn replay_log(
    core: &ShardCore,
    report: &mut RecoveryReport,
    progress: &RecoveryProgress,
) -> Result<(Headers, Replayed, Option<Loaded>), OpenError> {
    let mut headers = headers::read_headers(core, report).await?;
    progress.found(headers.log.len());
    if headers.checkpoints.is_empty() || report.may_be_stale() {
        let replayed = replay::replay(core, (&headers, None), report, progress).await?;
        return Ok((headers, replayed, None));
    }
    let (evidence, loaded) = checkpoint::load(core, &headers, report).await?;
    evidence.teach(&mut headers);
    headers.miss_begun(core, report);
    let reason = match loaded {
        Err(reason) => reason,
        Ok(loaded) => {
            let from = (&headers, Some(&loaded));
            let replayed = replay::replay(core, from, report, progress).await?;
            if report.may_be_stale() {
                Unusable::Loss
            } else {
                match checkpoint::settle_accounts(core, &loaded, &replayed) {
                    Ok(()) => return Ok((headers, replayed, Some(loaded))),
                    Err(reason) => reason,
                }
            }
        }
    };
    let damaged = report.checkpoint_pages_damaged;
    // A first round that was never finished is no fault of anyone's.
    let is_fault = damaged > 0 || !matches!(reason, Unusable::Incomplete);
    if is_fault {
        tracing::warn!(shard = core.number, damaged, %reason, "the checkpoint cannot be used: the whole log is read");
    } else {
        tracing::info!(shard = core.number, %reason, "there is no whole checkpoint yet: the whole log is read");
    }
    *report = RecoveryReport {
        checkpoint_pages_damaged: damaged,
        checkpoint_unusable: is_fault,
        ..RecoveryReport::default()
    };
    core.state.borrow_mut().forget_recovered();
    let mut headers = headers::read_headers(core, report).await?;
    evidence.teach(&mut headers);
    headers.miss_begun(core, report);
    let replayed = replay::replay(core, (&headers, None), report, progress).await?;
    Ok((headers, replayed, None))
}

/// An operator has accepted a loss: pages from before it would bring back what was answered without.
async fn destroy_pages(core: &ShardCore, headers: &Headers) -> Result<(), OpenError> {
    let unit = core.state.borrow().log.geometry().write_unit_bytes;
    for segment in &headers.checkpoints {
        let header = SegmentHeader {
            state: SegmentUse::Free,
            ..segment.header.clone()
        };
        let slot = header.slot;
        let write = HeaderWrite::new(core, &core.state.borrow(), header)?;
        match write.run(core).await {
            Ok(_) => {}
            Err(HeaderError::ReadBack) => {
                let refused = DeviceError::Short {
                    offset: DeviceOffset::new(segment.header.offset_bytes),
                    length_bytes: SEGMENT_HEADER_COPIES * unit,
                    done_bytes: 0,
                };
                return Err(device_error(core, slot, refused));
            }
            Err(HeaderError::Device(error)) => return Err(device_error(core, slot, error)),
        }
    }
    Ok(())
}

/// Segments with pages go on in the ring, if the index came from pages; else the log may have them.
fn adopt_pages(core: &ShardCore, mut headers: Headers, loaded: Option<Loaded>) {
    let mut state = core.state.borrow_mut();
    let Some(loaded) = loaded else {
        for segment in &headers.checkpoints {
            state.segments.set_state(segment.number, SegmentState::Free);
        }
        return;
    };
    headers
        .checkpoints
        .sort_by_key(|segment| segment.header.first_lsn);
    let found = headers.checkpoints.iter().map(|segment| FoundSegment {
        number: segment.number,
        is_newest: loaded.newest.contains(&segment.number),
    });
    let shard = state.index.shard();
    state.checkpoints.adopt(shard, found, loaded.pages.floor());
}

/// The index has taken all records, whatever memory it needed: refuses to go on if that is more than
/// a full index of the memory that was granted can have grown to.
fn check_memory(core: &ShardCore) -> Result<(), OpenError> {
    let state = core.state.borrow();
    let (used_bytes, limit_bytes) = (state.index.used_bytes(), state.index_memory_bytes);
    if used_bytes > limit_bytes.saturating_add(limit_bytes / 8) {
        return Err(OpenError::IndexFull {
            shard: core.number,
            records: state.index.len(),
            used_bytes,
            limit_bytes,
        });
    }
    Ok(())
}

/// Makes durable whatever recovery could read: it may have been in a drive's cache only.
async fn flush_all(core: &ShardCore) -> Result<(), OpenError> {
    if is_planted(PlantedBug::ServeUndurable) {
        return Ok(());
    }
    for attached in &core.devices {
        attached
            .device
            .flush()
            .await
            .map_err(|error| OpenError::Device {
                device: attached.device.name().to_owned(),
                error,
            })?;
    }
    Ok(())
}

/// Makes what recovery read of an unsealed segment durable for certain, header first. A flush is not
/// enough: see [`data::write_again`].
async fn write_again(
    core: &ShardCore,
    segment: &LogSegment,
    rows: &[SummaryRow],
) -> Result<(), OpenError> {
    if is_planted(PlantedBug::ServeUndurable) {
        return Ok(());
    }
    let write = HeaderWrite::new(core, &core.state.borrow(), segment.header.clone())?;
    match write.run(core).await {
        // What cannot be read back is what was there before, and that was read.
        Ok(_) | Err(HeaderError::ReadBack) => {}
        Err(HeaderError::Device(error)) => {
            return Err(device_error(core, segment.header.slot, error));
        }
    }
    data::write_again(core, segment, rows).await
}

/// Positions and versions go on above all that any device may hold.
fn continue_log(core: &ShardCore, (headers, highest): (&Headers, Highest), is_loss: bool) {
    let counted = highest.counted;
    let firsts = || headers.log.iter().map(|segment| segment.header.first_lsn);
    let newest = firsts().max().unwrap_or(Lsn::NONE);
    let holder = firsts().filter(|first| *first <= counted).max();
    let holder = holder.unwrap_or(Lsn::NONE);
    // The last segment may have been freed since; then no other speaks of what it held.
    let freed = headers.vouched_last();
    let freed = freed.filter(|freed| freed.first_lsn > newest && freed.durable > counted);
    let (counted, holder, newest) = freed.map_or((counted, holder, newest), |freed| {
        (freed.durable, freed.first_lsn, freed.first_lsn)
    });
    core.clock.raise(highest.time_ms);
    let is_fresh = highest.lsn == Lsn::NONE && highest.version == Version::NONE;
    let (lsn, version) = if is_fresh {
        (Lsn::new(1), Version::new(1))
    } else {
        (
            highest.lsn.advanced(LSN_GAP_AT_START),
            highest.version.advanced(VERSION_GAP_AT_START),
        )
    };
    let mut gone = freed.map_or(Lsn::NONE, |freed| freed.durable);
    let mut previous = newest;
    if is_loss {
        // Nobody knows what is missing: the log can be followed from here on, and the next segment names none before it.
        gone = highest.lsn;
        previous = Lsn::NONE;
    }
    let links = headers.log.iter().map(|segment| {
        let header = &segment.header;
        let link = Link {
            number: segment.number,
            first_lsn: header.first_lsn,
            predecessor: header.predecessor,
        };
        (link, header.previous_first_lsn)
    });
    let links: Vec<(Link, Lsn)> = links.collect();
    let mut state = core.state.borrow_mut();
    state.segments.note_time(expired_at(highest.time_ms));
    let geometry = state.log.geometry();
    state.log = Log::new(geometry, (counted, holder, previous), lsn, version);
    state.chain = LogChain::recovered(&links, gone);
}

/// Makes both copies of a header say what the newer one says: on one copy alone the state of a segment
/// would not survive a bad block.
async fn repair(core: &ShardCore, header: &SegmentHeader, report: &mut RecoveryReport) {
    let write = HeaderWrite::new(core, &core.state.borrow(), header.clone());
    let result = match write {
        Ok(write) => write
            .run(core)
            .await
            .map(drop)
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match result {
        Ok(()) => report.headers_repaired += 1,
        Err(error) => {
            tracing::warn!(
                shard = core.number,
                error,
                "a segment's header that a crash left half rewritten could not be made whole"
            );
        }
    }
}

/// Seals what a crash left open. A device that does not take the summary stops the start: the next one would
/// find what this one has dropped, with newer batches that seem to vouch for it. A segment in which the
/// summary has no room is kept as it is.
async fn seal_unsealed(core: &ShardCore, segment: &OpenSegment) -> Result<(), OpenError> {
    let state = match seal(core, segment).await {
        Ok(_) => SegmentState::Sealed,
        Err(SealError::Device(error)) => {
            return Err(device_error(core, segment.place.slot, error));
        }
        Err(SealError::Buffer(error)) => return Err(OpenError::Buffer(error)),
        Err(error @ SealError::NoRoom { .. }) => {
            tracing::warn!(shard = core.number, %error, "a segment that a crash left open could not be sealed: it is kept, and scanned at the next start");
            SegmentState::Lost
        }
    };
    core.state
        .borrow_mut()
        .segments
        .set_state(segment.number, state);
    Ok(())
}

fn device_error(core: &ShardCore, slot: u16, error: DeviceError) -> OpenError {
    let device = core.device(slot);
    OpenError::Device {
        device: device.map_or_else(String::new, |device| device.device.name().to_owned()),
        error,
    }
}
