//! What may be answered about each key: what was acknowledged last, or a write after it whose outcome is unknown. Pure memory; every
//! write has a stamp of its own, and a record's bytes follow from its key and its stamp, so that an answer tells which write it
//! shows and whether all of it is right.

use std::fmt::Write;

use corelith_client::{ContentBuilder, Record, ValueRef};

/// Which write a record shows. Unique in a run.
pub(super) type Stamp = u64;

/// What a key holds: the write it shows, or nothing.
pub(super) type Held = Option<Stamp>;

/// Longest filler of a record, in bytes: what it makes of a record is below half a segment of the rig's volumes.
const FILLER_BYTES_MAX: u64 = 90_000;

/// One key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// The last acknowledged state.
    held: Held,
    /// States that writes since then may have led to.
    doubts: Vec<Held>,
}

/// All keys of a run, numbered from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Oracle {
    keys: Vec<Known>,
    stamps: Stamp,
}

impl Oracle {
    /// `key_count` keys, none of which holds anything.
    pub(super) fn new(key_count: usize) -> Self {
        Self {
            keys: vec![Known::default(); key_count],
            stamps: 0,
        }
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// A stamp that no write has had.
    pub(super) fn next_stamp(&mut self) -> Stamp {
        self.stamps += 1;
        self.stamps
    }

    /// What the key holds for certain; `None` if that is in doubt.
    pub(super) fn certain(&self, key: usize) -> Option<Held> {
        let known = self.keys.get(key)?;
        known.doubts.is_empty().then_some(known.held)
    }

    /// A write was acknowledged.
    pub(super) fn acknowledge(&mut self, key: usize, held: Held) {
        if let Some(known) = self.keys.get_mut(key) {
            *known = Known {
                held,
                doubts: Vec::new(),
            };
        }
    }

    /// The outcome of a write is unknown.
    pub(super) fn doubt(&mut self, key: usize, held: Held) {
        if let Some(known) = self.keys.get_mut(key) {
            known.doubts.push(held);
        }
    }

    /// A write whose outcome was unknown is known not to have happened.
    pub(super) fn retract(&mut self, key: usize, held: Held) {
        if let Some(known) = self.keys.get_mut(key)
            && known.doubts.last() == Some(&held)
        {
            known.doubts.pop();
        }
    }

    /// Compares what a read found with what may be there. A read after a restart settles doubts: what has been shown must stay.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn settle(&mut self, key: usize, found: Held) -> Result<(), String> {
        let known = self.keys.get_mut(key).ok_or("there is no such key")?;
        if found != known.held && !known.doubts.contains(&found) {
            let mut text = format!("key {key} holds {}", describe(found));
            let _ = write!(text, ", acknowledged was {}", describe(known.held));
            for doubt in &known.doubts {
                let _ = write!(text, ", or perhaps {}", describe(*doubt));
            }
            return Err(text);
        }
        *known = Known {
            held: found,
            doubts: Vec::new(),
        };
        Ok(())
    }

    /// Keys that hold a record for certain.
    pub(super) fn held_count(&self) -> usize {
        let held = |known: &&Known| known.doubts.is_empty() && known.held.is_some();
        self.keys.iter().filter(held).count()
    }

    /// A line for each key that is or may be there: its number, the stamp that was acknowledged, those in doubt. 0 is "absent".
    pub(super) fn lines(&self) -> Vec<String> {
        let number = |held: Held| held.unwrap_or(0).to_string();
        let lines = self.keys.iter().enumerate().map(|(key, known)| {
            let mut words = vec![key.to_string(), number(known.held)];
            words.extend(known.doubts.iter().map(|&doubt| number(doubt)));
            words.join(" ")
        });
        lines.collect()
    }

    /// The oracle of such lines.
    ///
    /// # Errors
    /// The line that is none.
    pub(super) fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut oracle = Self::new(0);
        for line in lines {
            let numbers: Result<Vec<u64>, _> = line.split_whitespace().map(str::parse).collect();
            let numbers = numbers.map_err(|error| format!("{line:?}: {error}"))?;
            let (Some(&key), Some(held)) = (numbers.first(), numbers.get(1..)) else {
                return Err(format!("{line:?} says nothing of a key"));
            };
            if key != oracle.keys.len() as u64 || held.is_empty() {
                return Err(format!(
                    "{line:?} is not the line of key {}",
                    oracle.keys.len()
                ));
            }
            let mut held = held.iter().map(|&stamp| (stamp != 0).then_some(stamp));
            oracle.keys.push(Known {
                held: held.next().flatten(),
                doubts: held.collect(),
            });
        }
        Ok(oracle)
    }
}

fn describe(held: Held) -> String {
    held.map_or("nothing".to_owned(), |stamp| format!("write {stamp}"))
}

/// The bins of a write: its stamp, and bytes that follow from key and stamp.
pub(super) fn content(key: usize, stamp: Stamp) -> ContentBuilder {
    ContentBuilder::new()
        .bin("stamp", stamp as i64)
        .bin("filler", filler(key, stamp))
}

/// Which write of `key` a record shows.
///
/// # Errors
/// What in it no write of the key has made.
pub(super) fn stamp_of(key: usize, record: &Record) -> Result<Stamp, String> {
    let Some(ValueRef::Integer(stamp)) = record.get("stamp") else {
        return Err(format!("key {key} has no stamp"));
    };
    let stamp = stamp as Stamp;
    match record.get("filler") {
        Some(ValueRef::Bytes(bytes)) if bytes == filler(key, stamp) => Ok(stamp),
        Some(ValueRef::Bytes(bytes)) => Err(format!(
            "key {key} has {} bytes that write {stamp} did not write",
            bytes.len()
        )),
        _ => Err(format!("key {key} has write {stamp} without its bytes")),
    }
}

/// Mostly some hundred bytes, now and then more than a drive takes in one command.
fn filler(key: usize, stamp: Stamp) -> Vec<u8> {
    let mut state = mixed(stamp ^ (key as u64) << 40);
    let length = match state % 64 {
        0 => state >> 8 & 0xffff_ffff,
        1..8 => (state >> 8) % 8192,
        _ => (state >> 8) % 600,
    } % FILLER_BYTES_MAX;
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        state = mixed(state);
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// One step of SplitMix64.
fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let mut oracle = Oracle::new(2);
        assert_eq!(oracle.settle(0, None), Ok(()));
        oracle.acknowledge(0, Some(1));
        assert_eq!(oracle.settle(0, Some(1)), Ok(()));
        let lost = oracle.settle(0, None).unwrap_err();
        assert_eq!(lost, "key 0 holds nothing, acknowledged was write 1");
        oracle.acknowledge(0, Some(2));
        assert!(oracle.settle(0, Some(1)).is_err(), "an older version");
        oracle.acknowledge(0, None);
        assert!(
            oracle.settle(0, Some(2)).is_err(),
            "a deleted record is back"
        );
        assert!(oracle.settle(1, Some(2)).is_err(), "a record from nowhere");
    }

    #[test]
    fn what_is_in_doubt_may_be_there_until_it_was_looked_at() {
        let mut oracle = Oracle::new(1);
        oracle.acknowledge(0, Some(1));
        oracle.doubt(0, Some(2));
        assert_eq!(oracle.certain(0), None);
        for found in [Some(1), Some(2)] {
            let mut oracle = oracle.clone();
            assert_eq!(oracle.settle(0, found), Ok(()));
            assert_eq!(oracle.certain(0), Some(found));
            let other = if found == Some(1) { Some(2) } else { Some(1) };
            assert!(
                oracle.settle(0, other).is_err(),
                "it has been shown as {found:?}"
            );
        }
        assert!(oracle.settle(0, None).is_err());
        oracle.doubt(0, None);
        assert_eq!(oracle.settle(0, None), Ok(()));
        oracle.doubt(0, Some(3));
        oracle.retract(0, Some(3));
        assert!(oracle.settle(0, Some(3)).is_err(), "it was refused");
    }

    #[test]
    fn lines_are_the_oracle() {
        let mut oracle = Oracle::new(3);
        oracle.acknowledge(0, Some(5));
        oracle.doubt(0, None);
        oracle.doubt(2, Some(7));
        let lines = oracle.lines();
        assert_eq!(lines, ["0 5 0", "1 0", "2 0 7"]);
        let read = Oracle::of_lines(lines.iter().map(String::as_str)).unwrap();
        assert_eq!(read.keys, oracle.keys);
        for wrong in ["", "0", "1 0", "0 x"] {
            assert!(Oracle::of_lines([wrong].into_iter()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_follow_from_key_and_stamp() {
        let all: Vec<Vec<u8>> = (0..2000).map(|stamp| filler(3, stamp)).collect();
        assert_eq!(filler(3, 77), all[77]);
        assert_ne!(filler(4, 77), all[77]);
        let longest = all.iter().map(Vec::len).max().unwrap();
        assert!(
            (60_000..FILLER_BYTES_MAX as usize).contains(&longest),
            "{longest}"
        );
    }
}
