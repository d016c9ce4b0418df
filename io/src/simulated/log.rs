//! The operation log of a simulated machine: what was submitted, what completed and how, cuts, and the notes
//! of whoever drives the machine, in the order in which they happened. Bounded: the newest entries are kept.
//!
//! Keeping entries or not changes nothing else, so a failing seed can be run again with a log. The
//! fingerprint covers every event and every written byte, kept or not.

use std::collections::VecDeque;
use std::fmt;

use super::drive_config::DriveId;
use super::fault::{Fault, OperationKind};
use crate::errno::Errno;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It succeeded, as far as anybody was told.
    Done,
    /// It failed with an error number.
    Failed(Errno),
    /// The device was gone.
    Gone,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An operation was submitted.
    Submitted {
        /// Its number on this machine.
        operation: u64,
        /// The drive it is for.
        drive: DriveId,
        /// What it does.
        kind: OperationKind,
        /// Whether a write must be durable when it completes.
        durable: bool,
        /// First byte that it touches.
        offset: u64,
        /// Bytes that it touches.
        length: u64,
        /// What will go wrong with it.
        fault: Option<Fault>,
    },
    /// An operation completed.
    Completed {
        /// Its number on this machine.
        operation: u64,
        /// How.
        ending: Ending,
    },
    /// The power failed.
    PowerCut {
        /// Operations that were in flight.
        pending_count: usize,
    },
    /// The process was killed.
    ProcessKill {
        /// Operations that were in flight.
        pending_count: usize,
    },
    /// The driver of the machine remarks something.
    Note(String),
}

/// The newest events, and a sum over all of them.
#[derive(Clone, Debug)]
pub(crate) struct OperationLog {
    entries: VecDeque<(u64, Event)>,
    capacity: usize,
    forgotten_count: u64,
    fingerprint: u64,
}

impl OperationLog {
    /// A log that keeps at most `capacity` events.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            capacity,
            forgotten_count: 0,
            fingerprint: 0,
        }
    }

    /// Keeps at most `capacity` events from now on.
    pub(crate) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.trim();
    }

    /// Whether events are kept at all.
    pub(crate) fn is_kept(&self) -> bool {
        self.capacity > 0
    }

    /// Adds an event that happened at `now_ns`.
    pub(crate) fn add(&mut self, now_ns: u64, event: Event) {
        self.mix_event(now_ns, &event);
        if self.is_kept() {
            self.entries.push_back((now_ns, event));
            self.trim();
        }
    }

    /// Adds written bytes to the fingerprint.
    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(crc_fast::checksum(
            crc_fast::CrcAlgorithm::Crc32Iscsi,
            bytes,
        ));
    }

    /// A sum over all that ever happened; equal for equal runs.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn trim(&mut self) {
        while self.entries.len() > self.capacity {
            self.entries.pop_front();
            self.forgotten_count += 1;
        }
    }

    fn mix(&mut self, word: u64) {
        self.fingerprint = (self.fingerprint ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    fn mix_event(&mut self, now_ns: u64, event: &Event) {
        // Notes are made only when somebody will read them; they must not make two runs differ.
        if !matches!(event, Event::Note(_)) {
            self.mix(now_ns);
        }
        match event {
            Event::Submitted {
                operation,
                drive,
                kind,
                durable,
                offset,
                length,
                fault,
            } => {
                let kind = match kind {
                    OperationKind::Read => 1,
                    OperationKind::Write => 2,
                    OperationKind::Flush => 3,
                    OperationKind::Discard => 4,
                };
                self.mix(*operation);
                self.mix(u64::from(drive.number()) << 8 | kind << 2 | u64::from(*durable));
                self.mix(*offset);
                self.mix(*length << 1 | u64::from(fault.is_some()));
            }
            Event::Completed { operation, ending } => {
                self.mix(*operation);
                self.mix(match ending {
                    Ending::Done => 0,
                    Ending::Failed(errno) => u64::from(errno.get().unsigned_abs()),
                    Ending::Gone => u64::MAX,
                });
            }
            Event::PowerCut { .. } => self.mix(5),
            Event::ProcessKill { .. } => self.mix(6),
            Event::Note(_) => {}
        }
    }
}

impl fmt::Display for OperationLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten_count > 0 {
            writeln!(
                formatter,
                "... {} earlier events forgotten",
                self.forgotten_count
            )?;
        }
        for (now_ns, event) in &self.entries {
            writeln!(formatter, "{:>12} us  {event}", now_ns / 1000)?;
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitted {
                operation,
                drive,
                kind,
                durable,
                offset,
                length,
                fault,
            } => {
                write!(formatter, "#{operation} {drive} {kind:?}")?;
                if *durable {
                    write!(formatter, " durable")?;
                }
                if *kind != OperationKind::Flush {
                    write!(formatter, " {offset}..{}", offset + length)?;
                }
                fault.map_or(Ok(()), |fault| write!(formatter, " !{fault:?}"))
            }
            Self::Completed {
                operation,
                ending: Ending::Done,
            } => write!(formatter, "#{operation} done"),
            Self::Completed {
                operation,
                ending: Ending::Failed(errno),
            } => {
                write!(formatter, "#{operation} failed: {errno:?}")
            }
            Self::Completed {
                operation,
                ending: Ending::Gone,
            } => write!(formatter, "#{operation} gone"),
            Self::PowerCut { pending_count } => {
                write!(formatter, "==== power cut, {pending_count} in flight")
            }
            Self::ProcessKill { pending_count } => {
                write!(formatter, "==== process killed, {pending_count} in flight")
            }
            Self::Note(note) => write!(formatter, "-- {note}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(log: &mut OperationLog, number: u64) {
        log.add(number * 1000, Event::Note(format!("note {number}")));
    }

    #[test]
    fn the_newest_events_are_kept_and_the_rest_counted() {
        let mut log = OperationLog::new(2);
        for number in 1..=5 {
            note(&mut log, number);
        }
        let text = log.to_string();
        assert!(text.contains("3 earlier events forgotten"), "{text}");
        assert!(
            !text.contains("note 3") && text.contains("note 4") && text.contains("note 5"),
            "{text}"
        );
        log.set_capacity(0);
        note(&mut log, 6);
        assert!(!log.to_string().contains("note"));
    }

    #[test]
    fn the_fingerprint_ignores_what_is_kept_but_not_what_happened() {
        let run = |capacity, length, byte| {
            let mut log = OperationLog::new(capacity);
            log.add(
                5,
                Event::Submitted {
                    operation: 1,
                    drive: DriveId::new(0),
                    kind: OperationKind::Write,
                    durable: true,
                    offset: 512,
                    length,
                    fault: None,
                },
            );
            log.mix_bytes(&[byte]);
            log.add(
                9,
                Event::Completed {
                    operation: 1,
                    ending: Ending::Done,
                },
            );
            log.fingerprint()
        };
        assert_eq!(run(0, 512, 1), run(100, 512, 1));
        assert_ne!(run(0, 512, 1), run(0, 1024, 1));
        assert_ne!(run(0, 512, 1), run(0, 512, 2));
    }
}
