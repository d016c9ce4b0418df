//! The shard's background task: gives batches to the device, settles them in log order, seals full
//! segments, and keeps segments ready.
//!
//! A batch that somebody waits for leaves as soon as there is a place in flight; what is appended meanwhile
//! forms the next one. A lone durable write therefore leaves at once, and no timer is involved. A batch
//! of buffered writes alone leaves when it is full, or when the shard is flushed.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use corelith_io::{DeviceError, DeviceOffset};
use futures_util::stream::{FuturesUnordered, Stream};

use crate::Lsn;
use crate::allocation::{HeaderError, start_freeing, start_preparation};
use crate::checkpoint::{Checkpointed, checkpointed, start_checkpoint};
use crate::expiry::start_expiry;
use crate::format::fields::u64_of;
use crate::limits::BATCHES_IN_FLIGHT_MAX;
use crate::log::{LogWrite, Submission};
use crate::outcome::BatchEnd;
use crate::place::SegmentNumber;
use crate::planted::{PlantedBug, is_planted};
use crate::reclaim::start_reclaim;
use crate::seal::{SealError, seal};
use crate::segments::SegmentState;
use crate::state::{ShardCore, State};
use crate::truncation::start_sweep;

/// Something that the background task has waited for.
pub(crate) enum Event {
    /// A write of the log has ended.
    Landed {
        flight: u64,
        segment: SegmentNumber,
        result: Result<(), DeviceError>,
    },
    /// A summary has been written, so many bytes of it.
    Sealed {
        segment: SegmentNumber,
        result: Result<u64, SealError>,
    },
    /// A segment is ready for its next life, after so many bytes, or could not be made so.
    Prepared {
        segment: SegmentNumber,
        result: Result<u64, HeaderError>,
    },
    /// A header says free, since the shard's next LSN was this one.
    Freed {
        segment: SegmentNumber,
        result: Result<Lsn, HeaderError>,
    },
    /// A sweep of truncated records is over.
    Swept,
    /// A sweep of expired records is over.
    Expired,
    /// Reclaim has done what there was to do.
    Reclaimed,
    /// A step of a checkpoint is over.
    Checkpointed(Checkpointed),
}

/// What the background task waits for.
pub(crate) type Work = FuturesUnordered<Pin<Box<dyn Future<Output = Event>>>>;

/// Runs until the shard is closed and nothing is left to do.
pub(crate) async fn run(core: Rc<ShardCore>) {
    let mut work = Work::new();
    loop {
        let mut changed = std::pin::pin!(core.work.wait());
        start(&core, &mut work);
        if core.closing.get() && work.is_empty() {
            core.room.notify_all();
            core.followed.notify_all();
            return;
        }
        let event = std::future::poll_fn(|context| {
            if let Poll::Ready(Some(event)) = Pin::new(&mut work).poll_next(context) {
                return Poll::Ready(Some(event));
            }
            changed.as_mut().poll(context).map(|()| None)
        })
        .await;
        if let Some(event) = event {
            handle(&core, event);
        }
    }
}

/// Starts all that can be started.
fn start(core: &Rc<ShardCore>, work: &mut Work) {
    start_batches(core, work);
    start_seals(core, work);
    // While it is not known what was lost, nothing on the devices is changed for good.
    if !core.closing.get() && !core.stale.get() {
        start_preparation(core, work);
        start_freeing(core, work);
        start_sweep(core, work);
        start_expiry(core, work);
        start_reclaim(core, work);
        start_checkpoint(core, work);
    }
}

fn start_batches(core: &Rc<ShardCore>, work: &mut Work) {
    loop {
        let submission = {
            let mut state = core.state.borrow_mut();
            if state.log.flights.len() >= BATCHES_IN_FLIGHT_MAX {
                return;
            }
            // A batch that nobody waits for goes on filling until its shard is flushed.
            let leaves = core.closing.get() || state.log.is_open_wanted();
            if leaves && state.log.queued.is_empty() {
                state.log.close_batch(core.clock.now_ms());
            }
            let Some(submission) = state.log.take_off() else {
                return;
            };
            state.segments.note_write(submission.segment);
            submission
        };
        work.push(Box::pin(write(Rc::clone(core), submission)));
    }
}

/// Writes a header or a batch durably.
async fn write(core: Rc<ShardCore>, submission: Submission) -> Event {
    let Submission {
        flight,
        segment,
        offset_bytes,
        buffer,
        length_bytes: length,
    } = submission;
    let place = core
        .state
        .borrow()
        .segments
        .get(segment)
        .map(|segment| segment.place);
    let target = place.and_then(|place| Some((core.device(place.slot)?, place.offset_bytes)));
    let result = match target {
        Some((attached, start)) => {
            let offset = DeviceOffset::new(start + offset_bytes);
            if is_planted(PlantedBug::AcknowledgeEarly) {
                attached.device.write(offset, buffer, 0..length).await
            } else {
                let write = attached.device.write_durable(offset, buffer, 0..length);
                write.await
            }
        }
        None => Err(DeviceError::Gone),
    };
    Event::Landed {
        flight,
        segment,
        result,
    }
}

/// Seals full segments, oldest first, whose batches are all durable.
fn start_seals(core: &Rc<ShardCore>, work: &mut Work) {
    loop {
        let ready = {
            let mut state = core.state.borrow_mut();
            if core.closing.get()
                && state.log.is_drained()
                && let Some(number) = state.log.close_segment()
            {
                state.segments.set_state(number, SegmentState::Closed);
            }
            let durable = state.log.durable;
            state.log.closed.pop_front_if(|segment| {
                segment.last_lsn <= durable || is_planted(PlantedBug::SealTooEarly)
            })
        };
        let Some(segment) = ready else { return };
        let task = Rc::clone(core);
        work.push(Box::pin(async move {
            Event::Sealed {
                segment: segment.number,
                result: seal(&task, &segment).await,
            }
        }));
    }
}

fn handle(core: &ShardCore, event: Event) {
    match event {
        Event::Landed {
            flight,
            segment,
            result,
        } => {
            core.state.borrow_mut().segments.note_answer(segment);
            match result {
                Ok(()) => land(&mut core.state.borrow_mut(), flight),
                Err(_) if is_planted(PlantedBug::AcknowledgeFailed) => {
                    land(&mut core.state.borrow_mut(), flight);
                }
                Err(error) => fail(core, (flight, segment), &error),
            }
        }
        Event::Sealed { segment, result } => {
            let mut state = core.state.borrow_mut();
            match result {
                Ok(bytes) => {
                    state.counters.overhead_bytes += bytes;
                    state.segments.set_state(segment, SegmentState::Sealed);
                }
                Err(error) => {
                    if !is_told_gone(core, &state, (segment, error.device())) {
                        tracing::error!(shard = core.number, %error, "a segment's summary could not be written: it is kept, and scanned at the next start");
                    }
                    state.segments.set_state(segment, SegmentState::Lost);
                    state.counters.segments_lost += 1;
                    core.tell_fenced();
                }
            }
        }
        Event::Prepared { segment, result } => {
            let mut state = core.state.borrow_mut();
            match result {
                Ok(bytes) => {
                    state.counters.overhead_bytes += bytes;
                    state.segments.set_state(segment, SegmentState::Prepared);
                }
                Err(error) => {
                    if !is_told_gone(core, &state, (segment, error.device())) {
                        tracing::error!(shard = core.number, %error, "a segment could not be made ready: it is not used");
                    }
                    state.segments.set_state(segment, SegmentState::Unusable);
                    state.counters.segments_lost += 1;
                    core.tell_fenced();
                }
            }
        }
        Event::Freed { segment, result } => freed(core, segment, result),
        Event::Swept | Event::Expired | Event::Reclaimed => {}
        Event::Checkpointed(outcome) => checkpointed(core, outcome),
    }
    core.room.notify_all();
    core.followed.notify_all();
}

/// Whether the segment's device is gone. That is said once, instead of what becomes of each of its segments.
fn is_told_gone(
    core: &ShardCore,
    state: &State,
    (segment, error): (SegmentNumber, Option<&DeviceError>),
) -> bool {
    let is_gone = error == Some(&DeviceError::Gone);
    let place = state.segments.get(segment).map(|segment| segment.place);
    if let Some(attached) = place
        .and_then(|place| core.device(place.slot))
        .filter(|_| is_gone)
    {
        attached.tell_gone(core.number);
    }
    is_gone
}

fn freed(core: &ShardCore, number: SegmentNumber, result: Result<Lsn, HeaderError>) {
    let mut state = core.state.borrow_mut();
    match result {
        Ok(freed_lsn) => {
            let segment_bytes = state.segments.segment_bytes();
            state.truncations.forget_in(number, segment_bytes);
            state.segments.change(number, |segment| {
                segment.become_free(segment.life, freed_lsn);
            });
        }
        Err(error) => {
            if !is_told_gone(core, &state, (number, error.device())) {
                tracing::error!(shard = core.number, %error, "a segment could not be freed: it is not used");
            }
            state.segments.set_state(number, SegmentState::Lost);
            state.counters.segments_lost += 1;
            core.tell_fenced();
        }
    }
}

/// A write has completed: settles, in log order, all that can be.
fn land(state: &mut State, flight: u64) {
    if let Some(number) = state.log.land(flight) {
        state
            .segments
            .change(number, |segment| segment.header_is_durable = true);
    }
    while let Some(write) = state.log.settle_next() {
        if let LogWrite::Batch(batch) = write {
            state.apply(&batch);
        }
    }
}

/// A write failed: what was given to the device from there on is in doubt, what was not is not
/// written, and the segments concerned are not appended to again.
fn fail(core: &ShardCore, (flight, segment): (u64, SegmentNumber), error: &DeviceError) {
    let mut state = core.state.borrow_mut();
    let place = state.segments.get(segment).map(|segment| segment.place);
    let attached = place.and_then(|place| core.device(place.slot));
    if let Some(attached) = attached.filter(|_| *error == DeviceError::Gone) {
        attached.tell_gone(core.number);
    }
    core.tell_fenced();
    let Some(abandoned) = state.log.abandon_from(flight) else {
        return;
    };
    tracing::error!(
        shard = core.number,
        device = attached.map(|attached| attached.device.name()),
        segment_at = place.map(|place| place.offset_bytes),
        %error,
        in_doubt = abandoned.in_doubt.len(),
        not_written = abandoned.not_written.len(),
        "a write to the log failed: its records are answered in doubt, the log goes on in another segment"
    );
    state.counters.batches_in_doubt += u64_of(abandoned.in_doubt.len());
    for writes in &abandoned.in_doubt {
        let end = if is_planted(PlantedBug::DenyDoubt) {
            BatchEnd::NotWritten
        } else {
            BatchEnd::InDoubt
        };
        state.give_up(writes, end);
    }
    for writes in &abandoned.not_written {
        state.give_up(writes, BatchEnd::NotWritten);
    }
    state.restore_pending();
    for number in abandoned.closed {
        state.segments.set_state(number, SegmentState::Closed);
    }
    state.counters.segments_lost += u64_of(abandoned.lost.len());
    for number in abandoned.lost {
        state.chain.drop_lost(number);
        state.segments.set_state(number, SegmentState::Lost);
    }
}
