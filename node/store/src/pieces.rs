//! Long records in pieces: what is copied or summed stops after each and lets the core's other tasks go first.
//!
//! A record that is longer than a piece is a batch of its own. It is copied into that batch's buffer before the batch
//! has a place in the log, so that nothing there waits for it, and what gives it up leaves nothing behind.

use corelith_io::{BufferError, DmaBuffer};

use crate::format::batch_header::BATCH_HEADER_BYTES;
use crate::format::binding::{RunningSum, crc32c};
use crate::format::fields::u64_of;
use crate::format::record_header::{RECORD_HEADER_BYTES, RecordHeader};
use crate::limits::{BATCHES_QUEUED_MAX, PIECE_BYTES};
use crate::pause::yield_once;
use crate::state::ShardCore;

/// A content that stands where it belongs in the buffer of a batch.
pub(crate) struct Prepared {
    pub(crate) buffer: DmaBuffer,
    pub(crate) content_checksum: u32,
}

/// The right to prepare a content, given back when dropped.
pub(crate) struct Preparation<'a>(&'a ShardCore);

impl Drop for Preparation<'_> {
    fn drop(&mut self) {
        let preparing = &self.0.preparing;
        preparing.set(preparing.get().saturating_sub(1));
        self.0.room.notify_all();
    }
}

/// True if a content of so many bytes goes in pieces.
pub(crate) const fn is_long(content_bytes: usize) -> bool {
    content_bytes > PIECE_BYTES
}

/// The checksum of a content.
pub(crate) async fn sum_of(content: &[u8]) -> u32 {
    if !is_long(content.len()) {
        return crc32c(content);
    }
    let mut sum = RunningSum::new();
    for piece in content.chunks(PIECE_BYTES) {
        sum.add(piece);
        yield_once().await;
    }
    sum.finish()
}

impl ShardCore {
    /// The right to prepare a content, unless as many batches wait for the device or are being prepared as may
    /// wait: the memory of those that are prepared counts like that of those that wait.
    pub(crate) fn begin_preparation(&self) -> Option<Preparation<'_>> {
        let waiting = self.state.borrow().log.queued_batches() + self.preparing.get();
        if waiting >= BATCHES_QUEUED_MAX {
            return None;
        }
        self.preparing.set(self.preparing.get() + 1);
        Some(Preparation(self))
    }

    /// Copies and sums a content for a batch of its own.
    pub(crate) async fn prepare(&self, content: &[u8]) -> Result<Prepared, BufferError> {
        let stored = RecordHeader::stored_bytes(u64_of(content.len()));
        let length = self.state.borrow().log.batch_buffer_bytes(stored);
        let mut buffer = self.pool.take(length)?;
        let mut sum = RunningSum::new();
        let mut at = BATCH_HEADER_BYTES + RECORD_HEADER_BYTES;
        for piece in content.chunks(PIECE_BYTES) {
            let end = at + piece.len();
            let Some(target) = buffer.as_mut_slice().get_mut(at..end) else {
                unreachable!("the buffer is taken for this content");
            };
            target.copy_from_slice(piece);
            sum.add(piece);
            at = end;
            yield_once().await;
        }
        Ok(Prepared {
            buffer,
            content_checksum: sum.finish(),
        })
    }
}
