//! How a ring is made: the best that the kernel gives, with a note of all that it refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::features::{FeatureMask, Lack, RingFeatures};
use super::tracker::Tracker;
use super::{RingConfig, RingError, RingInner, RingStatistics};
use crate::buffer::{BUFFER_ALIGNMENT_BYTES, BufferPool};
use crate::clock::Clock;
use crate::descriptor::{FixedFile, Graveyard};
use crate::errno::Errno;
use crate::limits::{
    COMPLETION_FACTOR, COMPLETIONS_PER_TURN_MAX, RECEIVE_BUFFER_BYTES_MAX,
    RECEIVE_BUFFER_COUNT_MAX, REGISTERED_BUFFER_BYTES, RING_ENTRIES_MIN, RING_FILES_MAX,
    RING_RESERVED_SLOTS, RING_SLOTS_MAX,
};
use crate::preflight::{Surroundings, memlock_bytes};
use crate::sys::operation::Registered;
use crate::sys::receive_ring::ReceiveRing;
use crate::sys::ring::{SetUp, Uring};
use crate::wake::CoreWaker;

impl RingInner {
    pub(super) fn new(config: RingConfig, pool: &BufferPool) -> Result<Self, RingError> {
        check(&config)?;
        let mut lacking = Vec::new();
        let slot_count = config.slot_count + RING_RESERVED_SLOTS;
        let mut uring = make(&config, slot_count, &mut lacking)?;
        let waker = match config.waker {
            Some(waker) => waker,
            None => CoreWaker::new().map_err(|errno| RingError::Exhausted {
                what: "eventfd",
                errno,
            })?,
        };
        let file_count = register_files(&mut uring, config.without, &mut lacking);
        let registered_bytes = register_arena(&mut uring, config.without, pool, &mut lacking);
        let count = config.receive_buffer_count;
        let bytes = config.receive_buffer_bytes;
        let receive = register_receive(&mut uring, config.without, (count, bytes), &mut lacking)?;
        let features = RingFeatures {
            set_up: uring.set_up(),
            registered_file_count: file_count,
            registered_bytes,
            multishot_receive: receive.is_some(),
            multishot_accept: !config.without.multishot,
            receive_limit: !config.without.receive_limit,
            lacking,
        };
        Ok(Self {
            uring: RefCell::new(uring),
            completions: RefCell::new(Vec::with_capacity(COMPLETIONS_PER_TURN_MAX)),
            woken: RefCell::new(Vec::with_capacity(COMPLETIONS_PER_TURN_MAX)),
            graveyard: Rc::new(Graveyard::new(waker.clone())),
            cancels: RefCell::new(Vec::new()),
            files_free: RefCell::new((0..file_count).rev().map(FixedFile).collect()),
            starved: RefCell::new(VecDeque::new()),
            watched: RefCell::new(Vec::new()),
            receive,
            receive_buffer_bytes: config.receive_buffer_bytes,
            features: RefCell::new(features),
            statistics: Cell::new(RingStatistics::default()),
            clock: Clock::real(),
            turn_ns: Cell::new(0),
            waker,
            spin_ns: config.spin_ns,
            stopping: Cell::new(false),
            entering: Cell::new(false),
            bell_watched: Cell::new(false),
            device_count: Cell::new(0),
            slot_count: config.slot_count,
            pool: pool.clone(),
        })
    }
}

fn check(config: &RingConfig) -> Result<(), RingError> {
    let alignment = u32::try_from(BUFFER_ALIGNMENT_BYTES).unwrap_or(u32::MAX);
    let figures = [
        ("entries", config.entries, 1, 1 << 15),
        ("slot_count", config.slot_count, 1, RING_SLOTS_MAX),
        (
            "receive_buffer_count",
            u32::from(config.receive_buffer_count),
            0,
            u32::from(RECEIVE_BUFFER_COUNT_MAX),
        ),
        (
            "receive_buffer_bytes",
            config.receive_buffer_bytes,
            alignment,
            RECEIVE_BUFFER_BYTES_MAX,
        ),
    ];
    for (what, value, min, max) in figures {
        if value < min || value > max {
            let (value, min, max) = (u64::from(value), u64::from(min), u64::from(max));
            return Err(RingError::Configuration {
                what,
                value,
                min,
                max,
            });
        }
    }
    Ok(())
}

/// The ring with the best set-up that the kernel accepts, smaller than configured where the lockable
/// memory does not suffice: newer kernels count the queues themselves.
fn make(
    config: &RingConfig,
    slot_count: u32,
    lacking: &mut Vec<Lack>,
) -> Result<Uring<Tracker>, RingError> {
    let surroundings = Surroundings::find();
    surroundings.check_kernel()?;
    if config.without.deferred_completions {
        lacking.push(Lack::LeftOut {
            feature: "deferred completions",
        });
    }
    let mut entries = config.entries;
    loop {
        match make_of_size(config, entries, slot_count) {
            Ok(ring) => {
                if ring.set_up() != SetUp::Deferred && !config.without.deferred_completions {
                    lacking.push(Lack::DeferredCompletions {
                        errno: Errno::EINVAL,
                    });
                }
                if entries < config.entries {
                    let limit_bytes = memlock_bytes();
                    let lack = Lack::Entries {
                        entries,
                        wanted: config.entries,
                        limit_bytes,
                    };
                    warn_once(&lack);
                    lacking.push(lack);
                }
                return Ok(ring);
            }
            Err(Errno::ENOMEM) if entries > RING_ENTRIES_MIN => entries /= 2,
            Err(errno) => return Err(surroundings.diagnose(errno).into()),
        }
    }
}

fn make_of_size(
    config: &RingConfig,
    entries: u32,
    slot_count: u32,
) -> Result<Uring<Tracker>, Errno> {
    let completion_entries = entries.saturating_mul(COMPLETION_FACTOR);
    let best = if config.without.deferred_completions {
        SetUp::Cooperative
    } else {
        SetUp::Deferred
    };
    for set_up in [SetUp::Deferred, SetUp::Cooperative, SetUp::Plain] {
        if set_up < best {
            continue;
        }
        let reserved_count = RING_RESERVED_SLOTS;
        match Uring::new(
            entries,
            completion_entries,
            slot_count,
            reserved_count,
            set_up,
        ) {
            Err(Errno::EINVAL) => (),
            other => return other,
        }
    }
    Err(Errno::EINVAL)
}

/// The number of places for registered files.
fn register_files(
    uring: &mut Uring<Tracker>,
    without: FeatureMask,
    lacking: &mut Vec<Lack>,
) -> u32 {
    if without.registered_files {
        lacking.push(Lack::LeftOut {
            feature: "registered files",
        });
        return 0;
    }
    // The kernel allows no larger a table than the process may have descriptors.
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let limit = limit.map_or(0, |(soft, _)| u32::try_from(soft).unwrap_or(u32::MAX));
    let count = limit.clamp(1, RING_FILES_MAX);
    match uring.register_files(count) {
        Ok(()) => count,
        Err(errno) => {
            lacking.push(Lack::RegisteredFiles { errno });
            0
        }
    }
}

/// The number of bytes that are registered.
fn register_arena(
    uring: &mut Uring<Tracker>,
    without: FeatureMask,
    pool: &BufferPool,
    lacking: &mut Vec<Lack>,
) -> usize {
    let Some((arena, start_address, length)) = pool.arena() else {
        return 0;
    };
    if without.registered_buffers {
        lacking.push(Lack::LeftOut {
            feature: "registered buffers",
        });
        return 0;
    }
    let registered = Registered {
        arena,
        start_address,
    };
    match uring.register_arena(registered, length, REGISTERED_BUFFER_BYTES) {
        Ok(()) => length,
        Err(errno) => {
            let limit_bytes = memlock_bytes();
            let lack = Lack::RegisteredBuffers {
                errno,
                arena_bytes: length,
                limit_bytes,
            };
            warn_once(&lack);
            lacking.push(lack);
            0
        }
    }
}

/// Every core meets the same limit of lockable memory: one warning for all.
fn warn_once(lack: &Lack) {
    static WARNED: std::sync::Once = std::sync::Once::new();
    WARNED.call_once(|| tracing::warn!("{lack}"));
}

/// The receive buffers; `None` if there are to be none or the kernel cannot use them.
fn register_receive(
    uring: &mut Uring<Tracker>,
    without: FeatureMask,
    (count, buffer_bytes): (u16, u32),
    lacking: &mut Vec<Lack>,
) -> Result<Option<Rc<ReceiveRing>>, RingError> {
    if without.multishot {
        lacking.push(Lack::LeftOut {
            feature: "multishot",
        });
        return Ok(None);
    }
    if count == 0 {
        return Ok(None);
    }
    let receive = ReceiveRing::new(count, buffer_bytes).map_err(|errno| RingError::Exhausted {
        what: "receive buffers",
        errno,
    })?;
    match uring.register_receive_ring(Rc::clone(&receive)) {
        Ok(()) => Ok(Some(receive)),
        Err(errno) => {
            lacking.push(Lack::MultishotReceive { errno });
            Ok(None)
        }
    }
}
