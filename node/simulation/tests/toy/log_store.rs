//! The smallest log store that keeps its word, and variants that each break it in one way. One write at a
//! time, one record after the other from the drive's first block on, never reclaimed: full is full.
//!
//! It exists to test the simulator: the honest one must pass, every other must be caught.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use corelith_io::{Device, DeviceOffset, FrozenBuffer};
use corelith_simulation::subject::{Answer, Key, Operation, Process, Stored, Subject};
use corelith_simulation::value::{decode, encode};

/// Nothing is wrong.
pub const HONEST: u8 = 0;
/// Acknowledges what the drive has completed, not what is durable.
pub const ACKNOWLEDGES_BEFORE_FLUSH: u8 = 1;
/// Believes a record by its first bytes.
pub const NO_CHECKSUM: u8 = 2;
/// Shows a value to readers while it is on its way.
pub const DIRTY_READS: u8 = 3;
/// Serves what it has read at start without making it durable.
pub const NO_FLUSH_AT_START: u8 = 4;
/// Deletes in memory only.
pub const FORGETS_DELETES: u8 = 5;
/// Checks a condition before it is alone with the key.
pub const RACY_CONDITION: u8 = 6;
/// Says "not done" when the drive failed in the middle.
pub const DENIES_DOUBT: u8 = 7;
/// Forgets to wake who waits for the lock.
pub const NEVER_WAKES: u8 = 8;
/// Keeps the buffers of its writes.
pub const LEAKS: u8 = 9;
/// Lists keys that are gone.
pub const LISTS_THE_DEAD: u8 = 10;
/// Takes what the drive does not return for the end of the log.
pub const SWALLOWS_READ_ERRORS: u8 = 11;

const MAGIC: u64 = 0x746f_795f_6c6f_6721;
const HEADER_BYTES: usize = 40;

/// One open toy store with the defect `DEFECT`.
#[derive(Clone)]
pub struct Toy<const DEFECT: u8> {
    device: Device,
    process: Rc<Process>,
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Key, Place>,
    dead: Vec<Key>,
    end_bytes: u64,
    sequence: u64,
    locked: bool,
    waiting: VecDeque<Waker>,
    broken: bool,
    kept: Vec<FrozenBuffer>,
}

#[derive(Clone)]
struct Place {
    offset: u64,
    stored: Stored,
    /// The value's bytes while they are not on the drive.
    pending: Option<Rc<Vec<u8>>>,
}

struct Header {
    checksum: u64,
    sequence: u64,
    key: Key,
    generation: u16,
    is_put: bool,
    length: usize,
}

impl<const DEFECT: u8> Subject for Toy<DEFECT> {
    async fn format(_: Process) -> Result<(), String> {
        Ok(())
    }

    async fn open(process: Process) -> Result<Self, String> {
        let device = process.devices[0].clone();
        let toy = Self {
            device,
            process: Rc::new(process),
            state: Rc::default(),
        };
        toy.recover().await?;
        if DEFECT != NO_FLUSH_AT_START {
            toy.device
                .flush()
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(toy)
    }

    fn background(&self) -> impl Future<Output = ()> + 'static {
        std::future::ready(())
    }

    async fn apply(&self, key: Key, operation: Operation) -> Answer {
        match operation {
            Operation::Get => self.get(key).await,
            Operation::Look => {
                let state = self.state.borrow();
                Answer::Seen(state.records.get(&key).map(|place| place.stored.generation))
            }
            write => self.write(key, write).await,
        }
    }

    async fn keys(&self) -> Result<Option<Vec<Key>>, String> {
        let state = self.state.borrow();
        let mut keys: Vec<Key> = state.records.keys().copied().collect();
        if DEFECT == LISTS_THE_DEAD {
            keys.extend(&state.dead);
        }
        Ok(Some(keys))
    }

    fn close(&self) {}
}

impl<const DEFECT: u8> Toy<DEFECT> {
    async fn get(&self, key: Key) -> Answer {
        let place = self.state.borrow().records.get(&key).cloned();
        let Some(place) = place else {
            return Answer::Found(None);
        };
        let bytes = match &place.pending {
            Some(bytes) => bytes.to_vec(),
            None => match self.read_record(place.offset).await {
                Ok(Some((_, bytes))) => bytes,
                Ok(None) => return Answer::Mangled("not a record".to_owned()),
                Err(error) => return Answer::Unreadable(error),
            },
        };
        match decode(key, &bytes) {
            Ok(value) if value == place.stored.value => Answer::Found(Some(place.stored)),
            Ok(value) => Answer::Mangled(format!("another value: {value}")),
            Err(mangled) => Answer::Mangled(format!("{mangled:?}")),
        }
    }

    async fn write(&self, key: Key, operation: Operation) -> Answer {
        let mut allowed = DEFECT == RACY_CONDITION && self.is_met(key, operation);
        self.lock().await;
        allowed |= self.is_met(key, operation);
        let answer = if allowed {
            self.change(key, operation).await
        } else {
            Answer::Refused
        };
        let mut state = self.state.borrow_mut();
        state.locked = false;
        if DEFECT != NEVER_WAKES
            && let Some(waker) = state.waiting.pop_front()
        {
            waker.wake();
        }
        answer
    }

    fn is_met(&self, key: Key, operation: Operation) -> bool {
        let state = self.state.borrow();
        let there = state.records.get(&key).map(|place| place.stored.generation);
        match operation {
            Operation::Create(_) => there.is_none(),
            Operation::PutIf { generation, .. } => there == Some(generation),
            _ => true,
        }
    }

    /// Writes the record of a change whose condition is met. The lock is held.
    async fn change(&self, key: Key, operation: Operation) -> Answer {
        let before = self.state.borrow().records.get(&key).cloned();
        let generation = before
            .as_ref()
            .map_or(1, |place| place.stored.generation + 1);
        let value = match operation {
            Operation::Put(value) | Operation::Create(value) => Some(value),
            Operation::PutIf { value, .. } => Some(value),
            _ => None,
        };
        if value.is_none() && before.is_none() {
            return Answer::Deleted(false);
        }
        let content = value.map(|value| encode(key, value)).unwrap_or_default();
        let offset = self.state.borrow().end_bytes;
        let place = value.map(|value| Place {
            offset,
            stored: Stored { value, generation },
            pending: None,
        });
        if DEFECT == DIRTY_READS {
            let pending = Some(Rc::new(content.clone()));
            self.show(key, place.clone().map(|place| Place { pending, ..place }));
        }
        if DEFECT == FORGETS_DELETES && value.is_none() {
            self.show(key, None);
            return Answer::Deleted(true);
        }
        if let Err(refusal) = self
            .append((key, generation, value.is_some()), &content)
            .await
        {
            return refusal;
        }
        self.show(key, place);
        if value.is_some() {
            Answer::Written(generation)
        } else {
            Answer::Deleted(true)
        }
    }

    async fn append(
        &self,
        (key, generation, is_put): (Key, u16, bool),
        content: &[u8],
    ) -> Result<(), Answer> {
        let (offset, sequence, broken) = {
            let state = self.state.borrow();
            (state.end_bytes, state.sequence, state.broken)
        };
        let block_bytes = usize::try_from(self.device.geometry().logical_block_bytes).unwrap();
        let length = (HEADER_BYTES + content.len()).next_multiple_of(block_bytes);
        let end = offset + u64::try_from(length).unwrap();
        if broken || end > self.device.geometry().size_bytes {
            return Err(Answer::NotDone("full or broken".to_owned()));
        }
        let mut buffer = self.process.pool.take(length).unwrap();
        let bytes = &mut buffer.as_mut_slice()[..length];
        bytes.fill(0);
        bytes[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
        bytes[24..28].copy_from_slice(&key.0.to_le_bytes());
        bytes[28..30].copy_from_slice(&generation.to_le_bytes());
        bytes[30] = u8::from(is_put);
        bytes[32..36].copy_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
        bytes[HEADER_BYTES..][..content.len()].copy_from_slice(content);
        let checksum = checksum(&bytes[16..HEADER_BYTES + content.len()]);
        bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
        let buffer = buffer.freeze();
        if DEFECT == LEAKS {
            self.state.borrow_mut().kept.push(buffer.clone());
            std::mem::forget(Rc::clone(&self.state));
        }
        let offset = DeviceOffset::new(offset);
        let written = match DEFECT {
            ACKNOWLEDGES_BEFORE_FLUSH => self.device.write(offset, buffer, 0..length).await,
            _ => self.device.write_durable(offset, buffer, 0..length).await,
        };
        let mut state = self.state.borrow_mut();
        match written {
            Ok(()) => {
                state.end_bytes = end;
                state.sequence += 1;
                Ok(())
            }
            Err(error) => {
                state.broken = true;
                let denied = DEFECT == DENIES_DOUBT;
                Err(if denied {
                    Answer::NotDone(error.to_string())
                } else {
                    Answer::InDoubt
                })
            }
        }
    }

    fn show(&self, key: Key, place: Option<Place>) {
        let mut state = self.state.borrow_mut();
        match place {
            Some(place) => {
                state.records.insert(key, place);
            }
            None => {
                state.records.remove(&key);
                state.dead.push(key);
            }
        }
    }

    async fn lock(&self) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.locked {
                state.waiting.push_back(context.waker().clone());
                return Poll::Pending;
            }
            state.locked = true;
            Poll::Ready(())
        })
        .await;
    }

    async fn recover(&self) -> Result<(), String> {
        loop {
            let (offset, sequence) = {
                let state = self.state.borrow();
                (state.end_bytes, state.sequence)
            };
            let read = match self.read_record(offset).await {
                Err(_) if DEFECT == SWALLOWS_READ_ERRORS => None,
                read => read?,
            };
            let Some((header, content)) = read else {
                return Ok(());
            };
            if header.sequence != sequence {
                return Ok(());
            }
            let block_bytes = u64::from(self.device.geometry().logical_block_bytes);
            let length = u64::try_from(HEADER_BYTES + header.length).unwrap();
            let place = match decode(header.key, &content) {
                Ok(value) if header.is_put => {
                    let stored = Stored {
                        value,
                        generation: header.generation,
                    };
                    Some(Place {
                        offset,
                        stored,
                        pending: None,
                    })
                }
                // Only a store without checksums gets here; it finds out when it reads.
                Err(_) if header.is_put => {
                    let value = corelith_simulation::subject::ValueId(0);
                    let stored = Stored {
                        value,
                        generation: header.generation,
                    };
                    Some(Place {
                        offset,
                        stored,
                        pending: None,
                    })
                }
                _ => None,
            };
            self.show(header.key, place);
            let mut state = self.state.borrow_mut();
            state.end_bytes = offset + length.next_multiple_of(block_bytes);
            state.sequence += 1;
        }
    }

    /// The record at `offset`, if there is one.
    async fn read_record(&self, offset: u64) -> Result<Option<(Header, Vec<u8>)>, String> {
        let block_bytes = usize::try_from(self.device.geometry().logical_block_bytes).unwrap();
        let Some(first) = self.read(offset, block_bytes).await? else {
            return Ok(None);
        };
        let Some(header) = Header::decode(&first) else {
            return Ok(None);
        };
        let length = HEADER_BYTES + header.length;
        let Some(whole) = self
            .read(offset, length.next_multiple_of(block_bytes))
            .await?
        else {
            return Ok(None);
        };
        let sound = checksum(&whole[16..length]) == header.checksum;
        let content = whole[HEADER_BYTES..length].to_vec();
        Ok((sound || DEFECT == NO_CHECKSUM).then_some((header, content)))
    }

    /// Bytes of the drive; `None` past its end.
    async fn read(&self, offset: u64, length: usize) -> Result<Option<Vec<u8>>, String> {
        if offset + u64::try_from(length).unwrap() > self.device.geometry().size_bytes {
            return Ok(None);
        }
        let buffer = self.process.pool.take(length).unwrap();
        let (buffer, result) = self
            .device
            .read(DeviceOffset::new(offset), buffer, length)
            .await;
        result.map_err(|error| error.to_string())?;
        Ok(Some(buffer.as_slice()[..length].to_vec()))
    }
}

impl Header {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = usize::try_from(half(32)).unwrap();
        let plausible = word(0) == MAGIC && length <= 64 << 10;
        plausible.then(|| Self {
            checksum: word(8),
            sequence: word(16),
            key: Key(half(24)),
            generation: u16::from_le_bytes([bytes[28], bytes[29]]),
            is_put: bytes[30] == 1,
            length,
        })
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
