//! Every bound of the client, with its derivation.

use std::time::Duration;

/// Step of the clock that ends requests: a request ends at most two steps after its timeout. Coarse, so
/// that no timer has to be set for each request; fine against the timeouts that make sense (100 ms and
/// more).
pub const TICK: Duration = Duration::from_millis(10);

/// How long a connection lives with a request unanswered whose caller gave up. A node answers late or not
/// at all; after this it is taken for dead, since it counts such requests against the connection.
pub const UNANSWERED: Duration = Duration::from_secs(30);

/// What a connection reads in one go at least. Half a thousand answers of ordinary size.
pub const READ_LENGTH_BYTES: usize = 64 * 1024;

/// A buffer that grew above this for a large record is given back once it is empty.
pub const BUFFER_KEPT_LENGTH_BYTES_MAX: usize = 1024 * 1024;

/// Frames that wait for the writer hold at most about so many bytes; then callers wait for room. One record
/// of the largest size and many ordinary ones.
pub const OUTGOING_LENGTH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most requests in flight on one connection, whatever a node allows: each takes a slot of about 100 bytes
/// and its answer's buffer.
pub const IN_FLIGHT_MAX: u32 = 4096;

/// Records that one page of a scan asks for at most, by default.
pub const SCAN_PAGE_RECORD_COUNT: u32 = 1000;

/// Payload that one page of a scan asks for at most, by default, in bytes.
pub const SCAN_PAGE_LENGTH_BYTES: u32 = 512 * 1024;

/// Rows of a batch that go in one request: a quarter of what a node has in flight for one connection, so that it
/// has the next ones while it answers the first.
pub const BATCH_ROW_COUNT: usize = 256;

/// What the rows of one request carry at most together, in bytes, but for a single larger one: little enough
/// that no other request waits long behind it.
pub const BATCH_LENGTH_BYTES: usize = 1024 * 1024;

/// Bytes of a row beside its content: header, table and padding, with a set's name of ordinary length.
pub const BATCH_ROW_LENGTH_BYTES: usize = 160;

/// Requests of one batch on their way at once, and rows of one request that are asked for by themselves.
pub const BATCH_REQUESTS_AT_ONCE: usize = 16;

const _: () = assert!(BATCH_ROW_COUNT <= corelith_wire::limits::BATCH_ROWS_MAX);
const _: () = assert!(READ_LENGTH_BYTES < BUFFER_KEPT_LENGTH_BYTES_MAX);
const _: () =
    assert!(corelith_wire::limits::FRAME_LENGTH_BYTES_MAX as usize <= OUTGOING_LENGTH_BYTES_MAX);
