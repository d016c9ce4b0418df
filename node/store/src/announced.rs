//! Gets that are about to look the index up. Each waits for one round of the core's tasks; the first that
//! comes back has the lines fetched that all of them will read, so that their misses overlap instead
//! of following one another. It never changes what a get finds.

use std::cell::RefCell;

use corelith_index::Digest;
use corelith_io::prefetch_line;

use crate::limits::ANNOUNCED_MAX;
use crate::pause::yield_once;
use crate::state::ShardCore;

/// The keys of gets that wait for their round to end.
pub(crate) struct Announced {
    digests: RefCell<Vec<Digest>>,
}

impl Announced {
    /// None yet; the memory is taken now.
    pub(crate) fn new() -> Self {
        Self {
            digests: RefCell::new(Vec::with_capacity(ANNOUNCED_MAX)),
        }
    }
}

impl ShardCore {
    /// Announces a look-up and waits for one round, if the index is so large that the look-up would miss the
    /// caches.
    pub(crate) async fn announce(&self, digest: &Digest) {
        if self.state.borrow().index.memory_bytes() <= self.index_bytes_cached {
            return;
        }
        let announced = {
            let mut digests = self.announced.digests.borrow_mut();
            digests.push(*digest);
            digests.len()
        };
        if announced < ANNOUNCED_MAX {
            yield_once().await;
        }
        self.fetch_announced();
    }

    /// Has the lines fetched that look-ups of these keys are about to read, if the index is so large that they
    /// would miss the caches.
    pub(crate) fn fetch(&self, digests: &[Digest]) {
        let state = self.state.borrow();
        if digests.len() > 1 && state.index.memory_bytes() > self.index_bytes_cached {
            state.index.prefetch_by(digests, prefetch_line);
        }
    }

    fn fetch_announced(&self) {
        let mut digests = self.announced.digests.borrow_mut();
        // One alone would only do its look-up twice.
        self.fetch(&digests);
        digests.clear();
    }
}
