//! Admission of new keys: whether the index may take one more, asked before its record is appended.
//!
//! What is in the index can always be overwritten and deleted; only keys that it does not hold are refused.

use corelith_index::IndexFull;
use corelith_index::limits::SAME_TAG_COUNT_MAX;

use crate::WriteError;
use crate::batch::NewRecord;
use crate::format::record_header::RecordFlags;
use crate::limits::INDEX_FULL_TOLD_EVERY_MS;
use crate::state::ShardCore;

impl ShardCore {
    /// An error if the record brings a key that the index may not take.
    pub(crate) fn admit<E>(&self, record: &NewRecord<'_>) -> Result<(), WriteError<E>> {
        if record.previous.is_some() || record.flags.contains(RecordFlags::META) {
            return Ok(());
        }
        let (is_crowded, full) = {
            let state = self.state.borrow();
            let is_crowded = state.index.lookup(&record.digest).len() >= SAME_TAG_COUNT_MAX;
            (is_crowded, state.admit_key().err())
        };
        if let Some(full) = full {
            self.say_full(&full);
        } else if !is_crowded {
            return Ok(());
        }
        Err(WriteError::IndexFull)
    }

    /// Once in a while, however many keys are refused. While a sweep makes room they wait.
    fn say_full(&self, full: &IndexFull) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.borrow_mut();
        let is_told = |told_ms: u64| now_ms.abs_diff(told_ms) < INDEX_FULL_TOLD_EVERY_MS;
        if state.truncations.is_unswept() || state.index_full_told_ms.is_some_and(is_told) {
            return;
        }
        state.index_full_told_ms = Some(now_ms);
        tracing::warn!(
            shard = self.number,
            used_bytes = full.used_bytes,
            limit_bytes = full.limit_bytes,
            "the index has no memory for new keys, which are refused; overwrites and deletes go on: give it more \
             (index_memory, memory_limit) or delete records"
        );
    }
}
