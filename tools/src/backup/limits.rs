//! Bounds of backup files and of the commands that write and read them.

use corelith_wire::limits::{PAYLOAD_LENGTH_BYTES_MAX, SCAN_ENTRIES_MAX, SET_NAME_BYTES_MAX};

/// Records of a block at most: those of one page of a scan.
pub const BLOCK_RECORD_COUNT_MAX: u32 = SCAN_ENTRIES_MAX as u32;

/// Bytes of a record in a block beside its content: the fixed part and the name of its set.
const RECORD_OVERHEAD_BYTES_MAX: u32 =
    super::record::FIXED_LENGTH_BYTES as u32 + SET_NAME_BYTES_MAX as u32;

/// Length of a block's records before they are packed: the contents of a page, and for each of its
/// records what stands beside it. A reader takes no more memory for a block than twice this, whatever
/// the file says.
pub const UNPACKED_LENGTH_BYTES_MAX: u32 =
    PAYLOAD_LENGTH_BYTES_MAX + BLOCK_RECORD_COUNT_MAX * RECORD_OVERHEAD_BYTES_MAX;

/// What a page asks for at most, in bytes of content: a block is packed by itself, and larger ones pack better;
/// each partition that is being read takes as much memory, packed and unpacked.
pub const PAGE_LENGTH_BYTES: u32 = 1 << 20;

/// Level of zstd: its own default.
pub const PACKING_LEVEL: i32 = 3;

/// How much earlier than the start of the backup before an incremental one begins, in ms: the start is by
/// this machine's clock, the time of a record's last update by the node's. A node's own clock may
/// step by as much before it takes it for wrong.
pub const CLOCK_MARGIN_MS: u64 = 10 * 60 * 1000;

const _: () = assert!(PAGE_LENGTH_BYTES <= PAYLOAD_LENGTH_BYTES_MAX);
