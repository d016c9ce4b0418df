//! Numbers, names and sums in the fixed parts of a backup file: little-endian, at offsets that the callers
//! have checked against the part's length.

/// The checksum of every part: CRC-32C.
pub fn sum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Whether reserved bytes are as they must be.
pub fn zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The name in a room of fixed size, with zeros behind it.
pub fn text(room: &[u8], length: u8) -> Option<&str> {
    let (name, rest) = room.split_at_checked(usize::from(length))?;
    std::str::from_utf8(name).ok().filter(|_| zeros(rest))
}
