//! What the index keeps of one record, and its 22 packed bytes.
//!
//! Never holds the key, the digest as a whole, or anything of the record's content. The packed form
//! is that of memory only: what a checkpoint writes is laid down elsewhere.
//!
//! | bytes | what | order |
//! |---|---|---|
//! | 0 to 7 | tag | least significant byte first |
//! | 8 to 15 | address in bits 0 to 39, length 40 to 49, damaged 50, moved 51, set 52 to 63 | least first |
//! | 16 to 17 | generation | least first |
//! | 18 to 21 | expiry | least first |

use crate::address::RecordAddress;
use crate::expiry::ExpirySeconds;
use crate::generation::Generation;
use crate::length::RecordLength;
use crate::set::SetId;

/// What the index keeps of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the record lies.
    pub address: RecordAddress,
    /// How many bytes at most it takes there.
    pub length: RecordLength,
    /// Its generation.
    pub generation: Generation,
    /// When it expires.
    pub expiry: ExpirySeconds,
    /// The set it belongs to.
    pub set: SetId,
    /// The record is known to be lost: it must be answered by an error, never as absent and never
    /// by an older version.
    pub is_damaged: bool,
    /// It lies where reclaim has copied it, so it may be older than its neighbours.
    pub is_moved: bool,
}

/// What a start wants to know of an entry that it takes from an image, beside the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// How many bytes at most the record takes.
    pub length: RecordLength,
    /// See [`Entry::is_moved`].
    pub is_moved: bool,
    /// When the record expires.
    pub expiry: ExpirySeconds,
}

/// Bytes of a packed entry.
pub(crate) const ENTRY_BYTES: usize = 22;

/// An entry with its tag, as a group holds it.
pub(crate) type PackedEntry = [u8; ENTRY_BYTES];

const LENGTH_SHIFT: u32 = RecordAddress::BITS;
const DAMAGED_SHIFT: u32 = LENGTH_SHIFT + RecordLength::BITS;
const MOVED_SHIFT: u32 = DAMAGED_SHIFT + 1;
const SET_SHIFT: u32 = MOVED_SHIFT + 1;
const _: () = assert!(SetId::COUNT.ilog2() + SET_SHIFT == u64::BITS);
/// The bit of `DAMAGED_SHIFT` in byte 14 of a packed entry.
const DAMAGED_IN_BYTE: u8 = 1 << (DAMAGED_SHIFT - 48);
const _: () = assert!(DAMAGED_SHIFT >= 48 && DAMAGED_SHIFT < 56);

/// Packs an entry under its tag.
pub(crate) fn pack(tag: u64, entry: &Entry) -> PackedEntry {
    let word = entry.address.packed()
        | u64::from(entry.length.packed()) << LENGTH_SHIFT
        | u64::from(entry.is_damaged) << DAMAGED_SHIFT
        | u64::from(entry.is_moved) << MOVED_SHIFT
        | u64::from(entry.set.get()) << SET_SHIFT;
    let [t0, t1, t2, t3, t4, t5, t6, t7] = tag.to_le_bytes();
    let [w0, w1, w2, w3, w4, w5, w6, w7] = word.to_le_bytes();
    let [g0, g1] = entry.generation.get().to_le_bytes();
    let [e0, e1, e2, e3] = entry.expiry.get().to_le_bytes();
    [
        t0, t1, t2, t3, t4, t5, t6, t7, w0, w1, w2, w3, w4, w5, w6, w7, g0, g1, e0, e1, e2, e3,
    ]
}

/// The tag of a packed entry.
pub(crate) fn tag_of(packed: &PackedEntry) -> u64 {
    let [t0, t1, t2, t3, t4, t5, t6, t7, ..] = *packed;
    u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7])
}

/// The packed entry's address.
pub(crate) fn address_of(packed: &PackedEntry) -> RecordAddress {
    let Some(address) = RecordAddress::from_packed(word_of(packed) & RecordAddress::PACKED_MAX)
    else {
        unreachable!("an entry is packed from an address, which is not zero")
    };
    address
}

/// The packed entry's address and what a start wants to know of it; no address where the bytes are no entry that [`pack`] and then [`undamaged`]
/// made.
pub(crate) fn parts_of(packed: &PackedEntry) -> (Option<RecordAddress>, ImageEntry) {
    let word = word_of(packed);
    let [.., g0, g1, e0, e1, e2, e3] = *packed;
    let is_sound = word >> DAMAGED_SHIFT & 1 == 0 && (g0 | g1) != 0;
    let address = RecordAddress::from_packed(word & RecordAddress::PACKED_MAX);
    let length = RecordLength::from_packed(low_bits(word >> LENGTH_SHIFT, RecordLength::BITS));
    let is_moved = word >> MOVED_SHIFT & 1 == 1;
    let expiry = ExpirySeconds::new(u32::from_le_bytes([e0, e1, e2, e3]));
    let parts = ImageEntry {
        length,
        is_moved,
        expiry,
    };
    (address.filter(|_| is_sound), parts)
}

/// The same entry, not known to be damaged.
pub(crate) fn undamaged(packed: &PackedEntry) -> PackedEntry {
    let mut packed = *packed;
    let [.., flags, _, _, _, _, _, _, _] = &mut packed;
    *flags &= !DAMAGED_IN_BYTE;
    packed
}

/// The inverse of [`pack`], without the tag.
pub(crate) fn unpack(packed: &PackedEntry) -> Entry {
    let [.., g0, g1, e0, e1, e2, e3] = *packed;
    let word = word_of(packed);
    let Some(generation) = Generation::new(u16::from_le_bytes([g0, g1])) else {
        unreachable!("an entry is packed from a generation, which is not zero")
    };
    Entry {
        address: address_of(packed),
        length: RecordLength::from_packed(low_bits(word >> LENGTH_SHIFT, RecordLength::BITS)),
        generation,
        expiry: ExpirySeconds::new(u32::from_le_bytes([e0, e1, e2, e3])),
        set: SetId::new(low_bits(word >> SET_SHIFT, SetId::COUNT.ilog2())).unwrap_or(SetId::NONE),
        is_damaged: word >> DAMAGED_SHIFT & 1 == 1,
        is_moved: word >> MOVED_SHIFT & 1 == 1,
    }
}

fn word_of(packed: &PackedEntry) -> u64 {
    let [_, _, _, _, _, _, _, _, w0, w1, w2, w3, w4, w5, w6, w7, ..] = *packed;
    u64::from_le_bytes([w0, w1, w2, w3, w4, w5, w6, w7])
}

/// The lowest `bit_count` bits, at most 16.
#[expect(
    clippy::as_conversions,
    reason = "the value is masked to at most 16 bits"
)]
fn low_bits(word: u64, bit_count: u32) -> u16 {
    (word & ((1 << bit_count.min(u16::BITS)) - 1)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: u64, length_bytes: u32, generation: u16, expiry: u32, set: u16) -> Entry {
        Entry {
            address: RecordAddress::from_packed(address).unwrap(),
            length: RecordLength::round_up(length_bytes).unwrap(),
            generation: Generation::new(generation).unwrap(),
            expiry: ExpirySeconds::new(expiry),
            set: SetId::new(set).unwrap(),
            is_damaged: false,
            is_moved: false,
        }
    }

    #[test]
    fn every_field_round_trips_at_its_bounds() {
        let plain = entry(1, 0, 1, 0, 0);
        let cases = [
            plain,
            entry(RecordAddress::PACKED_MAX, 0, 1, 0, 0),
            entry(1, 8 * 1024 * 1024, 1, 0, 0),
            entry(1, 0, u16::MAX, 0, 0),
            entry(1, 0, 1, u32::MAX, 0),
            entry(1, 0, 1, 0, 4095),
            Entry {
                is_damaged: true,
                ..plain
            },
            Entry {
                is_moved: true,
                ..plain
            },
            Entry {
                is_damaged: true,
                ..entry(
                    RecordAddress::PACKED_MAX,
                    8 * 1024 * 1024,
                    u16::MAX,
                    u32::MAX,
                    4095,
                )
            },
            entry(0x12_3456_789a, 1000, 0xbcde, 0xf012_3456, 0x789),
        ];
        for case in cases {
            for tag in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
                let packed = pack(tag, &case);
                assert_eq!(tag_of(&packed), tag);
                assert_eq!(address_of(&packed), case.address);
                assert_eq!(unpack(&packed), case);
            }
        }
    }

    #[test]
    fn packed_bytes_are_as_the_table_says() {
        let case = Entry {
            is_damaged: true,
            ..entry(0x05_0403_0201, 16, 0x0706, 0x0b0a_0908, 0x0fe)
        };
        let packed = pack(0x1817_1615_1413_1211, &case);
        let expected = [
            0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x01, 0x02, 0x03, 0x04, 0x05, 0x01,
            0xe4, 0x0f, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b,
        ];
        assert_eq!(packed, expected);
    }
}
