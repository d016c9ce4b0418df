//! Gets that are about to look the index up. Each waits for one round of the core's tasks; the first that
//! comes back has the lines fetched that all of them will read, so that their misses overlap instead
//! of following one another. It never changes what a get finds.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use corelith_index::Digest;
use corelith_io::prefetch_line;

use crate::limits::ANNOUNCED_MAX;
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
    /// Announces a look-up, if the index is so large that it would miss the caches.
    pub(crate) fn announce<'a>(&'a self, digest: &'a Digest) -> Announcement<'a> {
        Announcement {
            core: self,
            digest,
            is_announced: self.state.borrow().index.memory_bytes() <= self.index_bytes_cached,
        }
    }

    fn fetch_announced(&self) {
        let mut digests = self.announced.digests.borrow_mut();
        // One alone would only do its look-up twice.
        if digests.len() > 1 {
            self.state
                .borrow()
                .index
                .prefetch_by(&digests, prefetch_line);
        }
        digests.clear();
    }
}

/// Waits for one round.
pub(crate) struct Announcement<'a> {
    core: &'a ShardCore,
    digest: &'a Digest,
    is_announced: bool,
}

impl Future for Announcement<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_announced {
            self.core.fetch_announced();
            return Poll::Ready(());
        }
        self.is_announced = true;
        let mut digests = self.core.announced.digests.borrow_mut();
        digests.push(*self.digest);
        let is_full = digests.len() >= ANNOUNCED_MAX;
        drop(digests);
        if is_full {
            self.core.fetch_announced();
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
