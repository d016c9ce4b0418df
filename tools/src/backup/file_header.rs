//! The header of a backup file, as `BACKUP.md` has it: what was backed up, of which node, when.

use corelith_wire::limits::{NAMESPACE_NAME_BYTES_MAX, SET_NAME_BYTES_MAX};

use super::error::{BackupError, Disagreement};
use super::fields::{sum, text, u16_at, u32_at, u64_at, zeros};

/// Length of the header, in bytes.
pub const LENGTH_BYTES: usize = 256;

/// How every backup begins.
pub const MAGIC: &[u8; 8] = b"CLBACKUP";

/// The format's version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum FormatVersion {
    /// The first.
    One = 1,
}

const VERSION_AT: usize = 8;
const RESERVED_AT: usize = 10;
const SUM_AT: usize = 12;
const SUMMED_AT: usize = 16;
const INCOMPATIBLE_AT: usize = 16;
const COMPATIBLE_AT: usize = 24;
const IDENTITY_AT: usize = 32;
const NODE_AT: usize = 48;
const START_AT: usize = 56;
const SINCE_AT: usize = 64;
const HAS_SET_AT: usize = 72;
const SET_LENGTH_AT: usize = 73;
const NAMESPACE_LENGTH_AT: usize = 74;
const SET_AT: usize = 76;
const NAMESPACE_AT: usize = 140;
const NAME_ROOM: usize = 64;
const REST_AT: usize = NAMESPACE_AT + NAME_ROOM;

const _: () = assert!(SET_AT + NAME_ROOM == NAMESPACE_AT && REST_AT < LENGTH_BYTES);
const _: () = assert!(SET_NAME_BYTES_MAX < NAME_ROOM && NAMESPACE_NAME_BYTES_MAX < NAME_ROOM);

/// What a backup is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// The backup's identity: 16 random bytes.
    pub identity: [u8; 16],
    /// The node that it was taken from.
    pub node_id: u64,
    /// When it began, in ms since 2010, by the clock of the machine that took it.
    pub start_ms: u64,
    /// Only records last written at or after this moment, in ms since 2010; 0 for all.
    pub since_ms: u64,
    /// The namespace.
    pub namespace: String,
    /// The one set that it is of (empty for records without one); `None` for all.
    pub set: Option<String>,
}

impl FileHeader {
    /// The bytes of the header. Names that are longer than a node has are cut off.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH_BYTES] {
        let mut bytes = [0; LENGTH_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[VERSION_AT..][..2].copy_from_slice(&(FormatVersion::One as u16).to_le_bytes());
        bytes[IDENTITY_AT..][..16].copy_from_slice(&self.identity);
        bytes[NODE_AT..][..8].copy_from_slice(&self.node_id.to_le_bytes());
        bytes[START_AT..][..8].copy_from_slice(&self.start_ms.to_le_bytes());
        bytes[SINCE_AT..][..8].copy_from_slice(&self.since_ms.to_le_bytes());
        if let Some(set) = &self.set {
            bytes[HAS_SET_AT] = 1;
            bytes[SET_LENGTH_AT] = write_name(&mut bytes[SET_AT..], set, SET_NAME_BYTES_MAX);
        }
        bytes[NAMESPACE_LENGTH_AT] = write_name(
            &mut bytes[NAMESPACE_AT..],
            &self.namespace,
            NAMESPACE_NAME_BYTES_MAX,
        );
        let sum = sum(&bytes[SUMMED_AT..]);
        bytes[SUM_AT..][..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// It is of another kind of file, of a later release, or damaged.
    pub fn decode(bytes: &[u8; LENGTH_BYTES]) -> Result<Self, BackupError> {
        if !bytes.starts_with(MAGIC) {
            return Err(BackupError::Foreign);
        }
        let version = u16_at(bytes, VERSION_AT);
        if version != FormatVersion::One as u16 {
            return Err(BackupError::Version { found: version });
        }
        if u32_at(bytes, SUM_AT) != sum(&bytes[SUMMED_AT..]) {
            return Err(BackupError::damaged(0, Disagreement::HeaderSum));
        }
        let unknown = u64_at(bytes, INCOMPATIBLE_AT);
        if unknown != 0 {
            return Err(BackupError::Features { unknown });
        }
        let field = || BackupError::damaged(0, Disagreement::HeaderField);
        let set = text(&bytes[SET_AT..NAMESPACE_AT], bytes[SET_LENGTH_AT]);
        let namespace = text(&bytes[NAMESPACE_AT..REST_AT], bytes[NAMESPACE_LENGTH_AT]);
        let (set, namespace) = (set.ok_or_else(field)?, namespace.ok_or_else(field)?);
        let set = match (bytes[HAS_SET_AT], set) {
            (0, "") => None,
            (1, set) => Some(set.to_owned()),
            _ => return Err(field()),
        };
        // Compatible features are whatever a later release adds that may be passed over.
        let are_zero = zeros(&bytes[RESERVED_AT..SUM_AT])
            && zeros(&bytes[NAMESPACE_LENGTH_AT + 1..SET_AT])
            && zeros(&bytes[REST_AT..]);
        if !are_zero || namespace.is_empty() || namespace.len() > NAMESPACE_NAME_BYTES_MAX {
            return Err(field());
        }
        let mut identity = [0; 16];
        identity.copy_from_slice(&bytes[IDENTITY_AT..][..16]);
        Ok(Self {
            identity,
            node_id: u64_at(bytes, NODE_AT),
            start_ms: u64_at(bytes, START_AT),
            since_ms: u64_at(bytes, SINCE_AT),
            namespace: namespace.to_owned(),
            set,
        })
    }

    /// Whether a backup that was begun with this header may be gone on with under another: of the same
    /// node, of the same records.
    #[must_use]
    pub fn is_of_same(&self, other: &Self) -> bool {
        let what = |header: &Self| {
            (
                header.node_id,
                header.since_ms,
                header.namespace.clone(),
                header.set.clone(),
            )
        };
        what(self) == what(other)
    }
}

fn write_name(room: &mut [u8], name: &str, length_max: usize) -> u8 {
    let name = &name.as_bytes()[..name.len().min(length_max)];
    room[..name.len()].copy_from_slice(name);
    name.len() as u8
}

const _: () = assert!(COMPATIBLE_AT + 8 == IDENTITY_AT);

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn header() -> FileHeader {
        FileHeader {
            identity: [7; 16],
            node_id: 0x0102_0304_0506_0708,
            start_ms: 533_000_000_000,
            since_ms: 0,
            namespace: "test".to_owned(),
            set: Some("flights".to_owned()),
        }
    }

    #[test]
    fn comes_back_as_it_was() {
        for set in [None, Some(String::new()), Some("s".repeat(63))] {
            let header = FileHeader { set, ..header() };
            assert_eq!(FileHeader::decode(&header.encode()).unwrap(), header);
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = header().encode();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&text[..32], GOLDEN_START);
        assert_eq!(&text[152..166], "666c6967687473");
        assert_eq!(&text[280..288], "74657374");
    }

    /// Magic, version 1, reserved, and the sum of the rest.
    const GOLDEN_START: &str = "434c4241434b5550010000002b4d8526";

    #[test]
    fn one_flipped_bit_is_seen() {
        let good = header().encode();
        for bit in 0..LENGTH_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let mut later = header().encode();
        later[VERSION_AT] = 2;
        assert!(matches!(
            FileHeader::decode(&later),
            Err(BackupError::Version { found: 2 })
        ));
        let mut feature = header().encode();
        feature[INCOMPATIBLE_AT] = 4;
        let sum = sum(&feature[SUMMED_AT..]);
        feature[SUM_AT..][..4].copy_from_slice(&sum.to_le_bytes());
        assert!(matches!(
            FileHeader::decode(&feature),
            Err(BackupError::Features { unknown: 4 })
        ));
    }
}
