//! The life of segments: prepared, opened, freed.
//!
//! Invariants: a life is on record, durably and read back, before any byte of it is written, so that
//! no two attempts at a life can be taken for each other; a segment is free only when a read of its
//! header has said so, because tombstones are dropped on the strength of it.

use std::rc::Rc;

use corelith_io::{
    BufferError, Device, DeviceError, DeviceKind, DeviceOffset, DmaBuffer, FrozenBuffer,
};

use crate::chain::Link;
use crate::committer::{Event, Work};
use crate::format::fields::{u64_of, usize_of};
use crate::format::segment_header::{SEGMENT_HEADER_COPIES, SegmentHeader, SegmentUse};
use crate::log::OpenSegment;
use crate::place::SegmentPlace;
use crate::segments::SegmentState;
use crate::state::{ShardCore, State};
use crate::{Life, Lsn};

/// Length of one write of zeros, in bytes.
const ZEROS_BYTES: u64 = 1 << 20;

/// Why a segment's header is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device took it and gives back other bytes.
    #[error("the header that was written cannot be read back")]
    ReadBack,
}

impl HeaderError {
    /// What the device said, if it failed.
    pub(crate) fn device(&self) -> Option<&DeviceError> {
        match self {
            Self::Device(error) => Some(error),
            Self::ReadBack => None,
        }
    }
}

/// Keeps one segment ready to be opened.
pub(crate) fn start_preparation(core: &Rc<ShardCore>, work: &mut Work) {
    let mut state = core.state.borrow_mut();
    if let Some(number) = state.segments.prepared() {
        let slot = state.segments.get(number).map(|segment| segment.place.slot);
        if slot.is_some_and(|slot| core.is_slot_fenced(slot)) {
            state.segments.set_state(number, SegmentState::Unusable);
        }
    }
    if state.segments.has_ready() {
        return;
    }
    let Some(number) = state
        .segments
        .next_to_prepare(|slot| core.is_slot_fenced(slot))
    else {
        return;
    };
    let Some(segment) = state.segments.get(number) else {
        return;
    };
    let Some(life) = segment.life.next() else {
        return;
    };
    let first_use = segment.state == SegmentState::Unused;
    let mut header = new_header(core, &state, (segment.place, life), SegmentUse::Prepared);
    header.freed_lsn = segment.freed_lsn;
    let Ok(write) = HeaderWrite::new(core, &state, header) else {
        return;
    };
    state.segments.change(number, |segment| {
        segment.state = SegmentState::Preparing;
        segment.life = life;
    });
    drop(state);
    let task = Rc::clone(core);
    work.push(Box::pin(async move {
        let result = prepare(&task, write, first_use).await;
        Event::Prepared {
            segment: number,
            result,
        }
    }));
}

/// Puts a life on record. Returns the bytes written.
pub(crate) async fn prepare(
    core: &ShardCore,
    write: HeaderWrite,
    first_use: bool,
) -> Result<u64, HeaderError> {
    let attached = core.device(write.header.slot).ok_or(DeviceError::Gone)?;
    // A file's blocks are allocated by their first write: zeros now, so that no durable write has to
    // wait for the file system's own.
    let mut written = 0;
    if first_use && attached.device.geometry().kind == DeviceKind::File {
        let start = DeviceOffset::new(write.header.offset_bytes);
        written = write_zeros(core, &attached.device, start).await?;
    }
    Ok(written + write.run(core).await?)
}

/// Writes zeros over a segment and makes them durable; not without memory to spare, since it only
/// saves time later. Returns the bytes written.
async fn write_zeros(
    core: &ShardCore,
    device: &Device,
    start: DeviceOffset,
) -> Result<u64, HeaderError> {
    let segment_bytes = core.state.borrow().segments.segment_bytes();
    let Ok(mut buffer) = core.pool.take(usize_of(segment_bytes.min(ZEROS_BYTES))) else {
        return Ok(0);
    };
    buffer.as_mut_slice().fill(0);
    let zeros = buffer.freeze();
    let mut done = 0;
    while done < segment_bytes {
        let length = ZEROS_BYTES.min(segment_bytes - done);
        let Some(offset) = start.checked_add(done) else {
            break;
        };
        device
            .write(offset, zeros.clone(), 0..usize_of(length))
            .await?;
        done += length;
    }
    device.flush().await?;
    Ok(done)
}

/// Frees segments that hold nothing, when few are left to open or their stale copies keep too many tombstones.
pub(crate) fn start_freeing(core: &Rc<ShardCore>, work: &mut Work) {
    loop {
        let mut state = core.state.borrow_mut();
        if !core.wants_reclaim(&state) {
            return;
        }
        let Some(number) = state.segments.freeable() else {
            return;
        };
        let Some(segment) = state.segments.get(number) else {
            return;
        };
        let place = (segment.place, segment.life);
        let mut header = new_header(core, &state, place, SegmentUse::Free);
        header.freed_lsn = header.first_lsn;
        let freed_lsn = header.freed_lsn;
        let Ok(write) = HeaderWrite::new(core, &state, header) else {
            return;
        };
        let last_counted = state.log.last_counted();
        state.chain.free(number, last_counted);
        state.segments.change(number, |segment| {
            segment.state = SegmentState::Freeing;
            // From here on the device may say either.
            segment.header_is_durable = false;
        });
        drop(state);
        let task = Rc::clone(core);
        work.push(Box::pin(async move {
            let result = write.run(&task).await.map(|_| freed_lsn);
            Event::Freed {
                segment: number,
                result,
            }
        }));
    }
}

/// A header as of now; what only some uses have is left at zero.
pub(crate) fn new_header(
    core: &ShardCore,
    state: &State,
    (place, life): (SegmentPlace, Life),
    used_as: SegmentUse,
) -> SegmentHeader {
    SegmentHeader {
        volume: core.volume,
        slot: place.slot,
        shard: core.number,
        life,
        offset_bytes: place.offset_bytes,
        state: used_as,
        first_lsn: state.log.next_lsn(),
        predecessor: Lsn::NONE,
        previous_first_lsn: Lsn::NONE,
        first_version: state.log.next_version(),
        opened_ms: core.clock.now_ms(),
        freed_lsn: Lsn::NONE,
        older_segments: 0,
        durable: state.log.durable,
        durable_first_lsn: state.log.durable_first_lsn(),
    }
}

/// A header about to be written, with all the memory that takes.
pub(crate) struct HeaderWrite {
    header: SegmentHeader,
    copies: FrozenBuffer,
    length_bytes: usize,
    read_back: DmaBuffer,
}

impl HeaderWrite {
    pub(crate) fn new(
        core: &ShardCore,
        state: &State,
        header: SegmentHeader,
    ) -> Result<Self, BufferError> {
        let (copies, length_bytes) = header_buffer(core, state, &header)?;
        let read_back = core.pool.take(length_bytes)?;
        Ok(Self {
            header,
            copies,
            length_bytes,
            read_back,
        })
    }

    /// Writes both copies durably and reads them back. Returns the bytes written.
    pub(crate) async fn run(self, core: &ShardCore) -> Result<u64, HeaderError> {
        let attached = core.device(self.header.slot).ok_or(DeviceError::Gone)?;
        let offset = DeviceOffset::new(self.header.offset_bytes);
        let written = 0..self.length_bytes;
        attached
            .device
            .write_durable(offset, self.copies.clone(), written)
            .await?;
        let (found, result) = attached
            .device
            .read(offset, self.read_back, self.length_bytes)
            .await;
        result?;
        if found.as_slice().get(..self.length_bytes) != self.copies.get(..self.length_bytes) {
            return Err(HeaderError::ReadBack);
        }
        Ok(u64_of(self.length_bytes))
    }
}

/// Both copies of a header, and their length in bytes.
fn header_buffer(
    core: &ShardCore,
    state: &State,
    header: &SegmentHeader,
) -> Result<(FrozenBuffer, usize), BufferError> {
    let unit = usize_of(state.log.geometry().write_unit_bytes);
    let length = usize_of(SEGMENT_HEADER_COPIES) * unit;
    let mut buffer = core.pool.take(length)?;
    buffer.as_mut_slice().fill(0);
    let encoded = header.encode();
    for copy in buffer
        .as_mut_slice()
        .chunks_exact_mut(unit)
        .take(usize_of(SEGMENT_HEADER_COPIES))
    {
        if let Some(target) = copy.get_mut(..encoded.len()) {
            target.copy_from_slice(&encoded);
        }
    }
    Ok((buffer.freeze(), length))
}

/// Opens a prepared segment for the log. `Ok(false)` if none is ready.
pub(crate) fn open_segment(core: &ShardCore) -> Result<bool, BufferError> {
    let mut state = core.state.borrow_mut();
    if !state.log.may_open_segment() {
        return Ok(false);
    }
    let Some(number) = state.segments.prepared() else {
        return Ok(false);
    };
    let Some((place, life)) = state
        .segments
        .get(number)
        .map(|segment| (segment.place, segment.life))
    else {
        return Ok(false);
    };
    let Some(attached) = core
        .device(place.slot)
        .filter(|device| !device.device.is_fenced())
    else {
        return Ok(false);
    };
    let header = SegmentHeader {
        predecessor: state.log.last_counted(),
        previous_first_lsn: state.log.previous_first_lsn(),
        older_segments: state.segments.durable_log_count(),
        ..new_header(core, &state, (place, life), SegmentUse::Log)
    };
    let (buffer, length) = header_buffer(core, &state, &header)?;
    state.segments.change(number, |segment| {
        segment.state = SegmentState::Open;
        segment.first_lsn = header.first_lsn;
        segment.declares_void = header.predecessor.advanced(1) < header.first_lsn;
        segment.version_min = header.first_version;
    });
    state.counters.overhead_bytes += u64_of(length);
    state.chain.open(Link {
        number,
        first_lsn: header.first_lsn,
        predecessor: header.predecessor,
    });
    let segment = OpenSegment {
        number,
        place,
        life,
        binding: attached.binding,
        end_bytes: u64_of(length),
        previous_first_lsn: header.previous_first_lsn,
        first_lsn: header.first_lsn,
        last_lsn: Lsn::NONE,
        rows: Vec::new(),
    };
    state.log.open_segment(segment, buffer);
    drop(state);
    core.work.notify_all();
    Ok(true)
}
