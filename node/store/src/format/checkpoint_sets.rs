//! Items of a checkpoint's page of sets: what is known of one number of a set, its name and the newest truncation.
//!
//! Numbers of which nothing is known have no item; items stand in the order of their numbers.

use corelith_index::{RecordAddress, RecordLength, SetId};

use crate::limits::SET_NAME_BYTES_MAX;
use crate::{Lsn, Version};

/// Longest item in bytes: head, name, place, truncation.
pub const SET_ITEM_BYTES_MAX: usize = 4 + SET_NAME_BYTES_MAX + PLACE_BYTES + TRUNCATION_BYTES;

const DEFINED: u8 = 1;
const PLACED: u8 = 2;
const TRUNCATED: u8 = 4;
const PLACE_BYTES: usize = 12;
const TRUNCATION_BYTES: usize = PLACE_BYTES + 24;

/// What is known of a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetItem {
    /// The number; [`SetId::NONE`] stands for all of the shard.
    pub set: SetId,
    /// The name, empty if it is lost, and where the definition lies, if it is anywhere.
    pub definition: Option<(String, Option<ItemPlace>)>,
    /// The newest truncation.
    pub truncation: Option<ItemTruncation>,
}

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemPlace {
    /// Its address.
    pub address: RecordAddress,
    /// How many bytes it takes there.
    pub length: RecordLength,
}

/// A truncation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemTruncation {
    /// Where its record lies.
    pub place: ItemPlace,
    /// First LSN of the segment that it first stood in.
    pub first_lsn: Lsn,
    /// Where it first stood in that.
    pub offset_bytes: u64,
    /// Its version.
    pub version: Version,
}

impl SetItem {
    /// Writes the item at the beginning of `target`; `None` if it does not fit. Returns its bytes.
    #[must_use]
    pub fn encode(&self, target: &mut [u8]) -> Option<usize> {
        let mut bytes = Vec::with_capacity(SET_ITEM_BYTES_MAX);
        let mut flags = 0;
        bytes.extend(self.set.get().to_le_bytes());
        bytes.extend([0, 0]);
        let mut name_length = 0;
        if let Some((name, place)) = &self.definition {
            flags |= DEFINED;
            name_length = u8::try_from(name.len()).ok()?;
            bytes.extend(name.as_bytes());
            if let Some(place) = place {
                flags |= PLACED;
                place.append_to(&mut bytes);
            }
        }
        if let Some(truncation) = &self.truncation {
            flags |= TRUNCATED;
            truncation.place.append_to(&mut bytes);
            bytes.extend(truncation.first_lsn.get().to_le_bytes());
            bytes.extend(truncation.offset_bytes.to_le_bytes());
            bytes.extend(truncation.version.get().to_le_bytes());
        }
        let [_, _, kept_flags, kept_length, ..] = bytes.as_mut_slice() else {
            return None;
        };
        (*kept_flags, *kept_length) = (flags, name_length);
        target.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some(bytes.len())
    }

    /// Takes the item at the beginning of `bytes`, and leaves what is behind it; `None` if there is none.
    #[must_use]
    pub fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let [n0, n1, flags, name_length] = take(bytes)?;
        let set = SetId::new(u16::from_le_bytes([n0, n1]))?;
        let name_length = usize::from(name_length);
        let is_sound = flags & !(DEFINED | PLACED | TRUNCATED) == 0
            && (flags & DEFINED != 0 || (name_length == 0 && flags & PLACED == 0))
            && name_length <= SET_NAME_BYTES_MAX;
        if !is_sound {
            return None;
        }
        let mut item = Self {
            set,
            definition: None,
            truncation: None,
        };
        if flags & DEFINED != 0 {
            let (name, rest) = bytes.split_at_checked(name_length)?;
            *bytes = rest;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            let place = match flags & PLACED {
                0 => None,
                _ => Some(ItemPlace::take_from(bytes)?),
            };
            item.definition = Some((name, place));
        }
        if flags & TRUNCATED != 0 {
            item.truncation = Some(ItemTruncation {
                place: ItemPlace::take_from(bytes)?,
                first_lsn: Lsn::new(u64::from_le_bytes(take(bytes)?)),
                offset_bytes: u64::from_le_bytes(take(bytes)?),
                version: Version::new(u64::from_le_bytes(take(bytes)?)),
            });
        }
        Some(item)
    }
}

impl ItemPlace {
    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.address.packed().to_le_bytes());
        bytes.extend(self.length.bytes_max().to_le_bytes());
    }

    fn take_from(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            address: RecordAddress::from_packed(u64::from_le_bytes(take(bytes)?))?,
            length: RecordLength::round_up(u32::from_le_bytes(take(bytes)?))?,
        })
    }
}

fn take<const WIDTH: usize>(bytes: &mut &[u8]) -> Option<[u8; WIDTH]> {
    let (field, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items() -> Vec<SetItem> {
        let place = |packed| ItemPlace {
            address: RecordAddress::from_packed(packed).unwrap(),
            length: RecordLength::round_up(100).unwrap(),
        };
        let truncation = ItemTruncation {
            place: place(9),
            first_lsn: Lsn::new(11),
            offset_bytes: 4096,
            version: Version::new(12),
        };
        let set = |number| SetId::new(number).unwrap();
        vec![
            SetItem {
                set: SetId::NONE,
                definition: None,
                truncation: Some(truncation),
            },
            SetItem {
                set: set(1),
                definition: Some(("users".to_owned(), Some(place(7)))),
                truncation: None,
            },
            SetItem {
                set: set(2),
                definition: Some((String::new(), None)),
                truncation: None,
            },
            SetItem {
                set: set(4095),
                definition: Some(("x".repeat(63), Some(place(RecordAddress::PACKED_MAX)))),
                truncation: Some(truncation),
            },
        ]
    }

    #[test]
    fn items_round_trip_and_end_where_they_end() {
        let mut bytes = vec![0; 4 * SET_ITEM_BYTES_MAX];
        let mut used = 0;
        for item in items() {
            used += item.encode(&mut bytes[used..]).unwrap();
        }
        bytes.truncate(used);
        let mut rest = &bytes[..];
        for item in items() {
            assert_eq!(SetItem::decode(&mut rest), Some(item));
        }
        assert!(rest.is_empty());
        let longest = items().pop().unwrap();
        let mut exact = [0; SET_ITEM_BYTES_MAX];
        assert_eq!(longest.encode(&mut exact), Some(SET_ITEM_BYTES_MAX));
        assert_eq!(longest.encode(&mut exact[1..]), None);
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = [0; SET_ITEM_BYTES_MAX];
        let used = items()[1].encode(&mut bytes).unwrap();
        let expected = [
            1, 0, 3, 5, b'u', b's', b'e', b'r', b's', 7, 0, 0, 0, 0, 0, 0, 0, 112, 0, 0, 0,
        ];
        assert_eq!(bytes[..used], expected);
    }

    #[test]
    fn what_is_cut_off_or_made_up_is_refused() {
        let mut bytes = [0; SET_ITEM_BYTES_MAX];
        let used = items()[3].encode(&mut bytes).unwrap();
        for length in 0..used {
            assert_eq!(SetItem::decode(&mut &bytes[..length]), None, "{length}");
        }
        for (place, value) in [(1, 0xff), (2, 0x0f), (2, 2), (3, 64), (67, 0)] {
            let mut made_up = bytes;
            made_up[place] = value;
            if place == 67 {
                made_up[67..75].fill(0);
            }
            assert_eq!(SetItem::decode(&mut &made_up[..used]), None, "{place}");
        }
    }
}
