//! Writes pages, one after another, as far as their pace allows, beside everything else that the background task does.
//!
//! Pages are plain writes. A flush makes them durable where something relies on it: before older ones are written over.

use std::rc::Rc;

use corelith_io::{DeviceError, DeviceOffset, FrozenBuffer};

use crate::allocation::{HeaderError, HeaderWrite, new_header, prepare};
use crate::committer::{Event, Work};
use crate::format::checkpoint_page::{PAGE_HEADER_BYTES, PageHeader, PagePoint};
use crate::format::fields::{u32_of, u64_of, usize_of};
use crate::format::segment_header::{SEGMENT_HEADER_COPIES, SegmentUse};
use crate::limits::{CHECKPOINT_PAGE_BYTES, CHECKPOINT_PAGE_BYTES_MIN};
use crate::place::SegmentNumber;
use crate::segments::SegmentState;
use crate::state::{ShardCore, State};

use super::ring::OpenPages;

/// What a step has come to.
pub(crate) enum Checkpointed {
    /// A segment is ready for pages, after so many bytes; what was in the one before is durable.
    Opened {
        /// The segment.
        open: OpenPages,
        /// How it went.
        result: Result<u64, HeaderError>,
        /// How far the pages of the segment before go.
        flushed: (u64, PagePoint),
    },
    /// A page has been written, so many bytes.
    Written {
        /// How it went.
        result: Result<u64, DeviceError>,
        /// How far pages go that are durable now, if the page was followed by a flush.
        flushed: Option<(u64, PagePoint)>,
    },
}

/// Gives the log a segment of the ring when it has no other. True if it did.
fn give_back(core: &ShardCore) -> bool {
    let mut state = core.state.borrow_mut();
    let is_needed = state.segments.checkpoint_count() > 0
        && core.is_out_of_room(&state.segments)
        && !state.segments.is_freeing()
        && state.segments.freeable().is_none()
        && !(state.may_reclaim() && state.may_keep_pages(0));
    if !is_needed {
        return false;
    }
    let Some(number) = state.checkpoints.pop_oldest() else {
        return false;
    };
    release(&mut state, number);
    state.counters.checkpoint_segments_given_back += 1;
    true
}

/// Starts the next step, if one is due.
pub(crate) fn start_checkpoint(core: &Rc<ShardCore>, work: &mut Work) {
    while give_back(core) {
        core.room.notify_all();
    }
    let mut state = core.state.borrow_mut();
    while let Some(number) = state.checkpoints.pop_superseded() {
        release(&mut state, number);
    }
    let (batch_bytes, durable) = (state.counters.batch_bytes, state.log.durable);
    if !state.checkpoints.is_due(batch_bytes, durable) || state.checkpoints.is_busy() {
        return;
    }
    let segment_bytes = state.segments.segment_bytes();
    let least = CHECKPOINT_PAGE_BYTES_MIN;
    let open = state.checkpoints.open;
    match open.filter(|open| open.end_bytes + least <= segment_bytes) {
        Some(open) => start_page(core, work, &mut state, open),
        None => start_segment(core, work, &mut state),
    }
}

fn release(state: &mut State, number: SegmentNumber) {
    // Its header may go on saying what it says: pages that are written over are none.
    state.segments.set_state(number, SegmentState::Free);
}

/// Begins the life of another segment, if the log can spare one.
fn start_segment(core: &Rc<ShardCore>, work: &mut Work, state: &mut State) {
    let is_fenced = |slot| core.is_slot_fenced(slot);
    let may_take = !core.is_short(&state.segments) && state.may_keep_pages(1);
    if !may_take {
        return;
    }
    let chosen = state
        .segments
        .next_to_prepare(is_fenced)
        .and_then(|number| {
            let segment = state.segments.get(number)?;
            Some((number, segment.clone(), segment.life.next()?))
        });
    let Some((number, segment, life)) = chosen else {
        return;
    };
    let Some(binding) = core.device(segment.place.slot).map(|device| device.binding) else {
        return;
    };
    let mut header = new_header(core, state, (segment.place, life), SegmentUse::Checkpoint);
    header.freed_lsn = segment.freed_lsn;
    let Ok(write) = HeaderWrite::new(core, state, header) else {
        return;
    };
    state.segments.change(number, |segment| {
        segment.state = SegmentState::Checkpoint;
        segment.life = life;
    });
    let before = state.checkpoints.open.map(|open| open.place.slot);
    let flushed = state.checkpoints.written();
    state.checkpoints.close_segment();
    state.checkpoints.begin_step();
    let open = OpenPages {
        number,
        place: segment.place,
        life,
        binding,
        end_bytes: SEGMENT_HEADER_COPIES * state.log.geometry().write_unit_bytes,
    };
    let first_use = segment.state == SegmentState::Unused;
    let task = Rc::clone(core);
    work.push(Box::pin(async move {
        let result = match flush(&task, before).await {
            Ok(()) => prepare(&task, write, first_use).await,
            Err(error) => Err(error.into()),
        };
        Event::Checkpointed(Checkpointed::Opened {
            open,
            result,
            flushed,
        })
    }));
}

async fn flush(core: &ShardCore, slot: Option<u16>) -> Result<(), DeviceError> {
    match slot.map(|slot| core.device(slot)) {
        Some(Some(attached)) => attached.device.flush().await,
        Some(None) => Err(DeviceError::Gone),
        None => Ok(()),
    }
}

/// Takes a page and sends it off.
fn start_page(core: &Rc<ShardCore>, work: &mut Work, state: &mut State, open: OpenPages) {
    let geometry = state.log.geometry();
    let unit = geometry.write_unit_bytes;
    let room = CHECKPOINT_PAGE_BYTES.min(geometry.segment_bytes - open.end_bytes);
    let Ok(mut buffer) = core.pool.take(usize_of(room)) else {
        return;
    };
    let bytes = buffer
        .as_mut_slice()
        .get_mut(..usize_of(room))
        .unwrap_or_default();
    let Some((head, content)) = bytes.split_at_mut_checked(PAGE_HEADER_BYTES) else {
        return;
    };
    let from = state.checkpoints.cursor();
    let (used, to) = state.take_page(from, content);
    let length = (u64_of(PAGE_HEADER_BYTES) + u64_of(used)).next_multiple_of(unit);
    let (filled, padding) = content.split_at_mut_checked(used).unwrap_or_default();
    padding.fill(0);
    let header = PageHeader {
        life: open.life,
        shard: core.number,
        lsn: state.log.durable,
        first_lsn: state.log.durable_first_lsn(),
        version: state.log.next_version(),
        time_ms: core.clock.now_ms(),
        from,
        to,
        length_bytes: u32_of(usize_of(length)),
        used_bytes: u32_of(used),
        content_checksum: PageHeader::checksum_content(filled),
    };
    let offset_bytes = open.place.offset_bytes + open.end_bytes;
    head.copy_from_slice(&header.encode(open.binding, offset_bytes));
    let shard = state.index.shard();
    let is_last = state.checkpoints.take_off(shard, to, length);
    let flushed = is_last.then(|| state.checkpoints.written());
    state.checkpoints.begin_step();
    let task = Rc::clone(core);
    let page = (buffer.freeze(), usize_of(length));
    work.push(Box::pin(async move {
        let place = (open.place.slot, DeviceOffset::new(offset_bytes));
        let result = write_page(&task, place, page, is_last).await;
        Event::Checkpointed(Checkpointed::Written { result, flushed })
    }));
}

async fn write_page(
    core: &ShardCore,
    (slot, offset): (u16, DeviceOffset),
    (buffer, length): (FrozenBuffer, usize),
    is_last: bool,
) -> Result<u64, DeviceError> {
    let attached = core.device(slot).ok_or(DeviceError::Gone)?;
    attached.device.write(offset, buffer, 0..length).await?;
    if is_last {
        attached.device.flush().await?;
    }
    Ok(u64_of(length))
}

/// A step is over.
pub(crate) fn checkpointed(core: &ShardCore, outcome: Checkpointed) {
    let mut state = core.state.borrow_mut();
    let state = &mut *state;
    let shard = state.index.shard();
    let failure = match outcome {
        Checkpointed::Opened {
            open,
            result: Ok(bytes),
            flushed,
        } => {
            state.counters.checkpoint_bytes += bytes;
            state.checkpoints.end_step(shard, Some(flushed));
            state.checkpoints.open_segment(open);
            return;
        }
        Checkpointed::Written {
            result: Ok(bytes),
            flushed,
        } => {
            state.counters.checkpoint_bytes += bytes;
            state.counters.checkpoint_pages += 1;
            state.counters.checkpoint_rounds += u64::from(flushed.is_some());
            state.checkpoints.end_step(shard, flushed);
            return;
        }
        Checkpointed::Opened {
            open,
            result: Err(error),
            ..
        } => {
            state
                .segments
                .set_state(open.number, SegmentState::Unusable);
            state.counters.segments_lost += 1;
            error.to_string()
        }
        Checkpointed::Written {
            result: Err(error), ..
        } => error.to_string(),
    };
    state.checkpoints.fail_step();
    state.counters.checkpoint_failures += 1;
    tracing::warn!(
        shard = core.number,
        error = failure,
        "a checkpoint was broken off: the next one begins when it is due, a start until then reads more of the log"
    );
}
