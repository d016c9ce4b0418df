//! The order of rows about one key in a batch: each sees what those before it did. Writes queue for their key
//! by themselves and share batches of the log, so only a read and a write hold each other back. A batch
//! that only reads, or whose keys differ, is not looked at again.

use corelith_index::{Digest, PartitionId};
use corelith_wire::{BatchRows, DecodeError, MessageKind, Request};

use crate::namespaces::ServedNamespace;

/// Words of a bit for each partition.
const WORD_COUNT: usize = 64;
const _: () = assert!(PartitionId::COUNT == 64 * 64);

/// A bit for each partition.
type Partitions = [u64; WORD_COUNT];

/// What of the rows under way others may have to wait for.
#[derive(Default)]
pub(crate) struct RowOrder {
    /// The partitions of several rows, if any of all writes.
    shared: Option<Box<Partitions>>,
    running: Vec<Held>,
}

/// A row under way whose key others may be about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    digest: Digest,
    is_write: bool,
}

impl RowOrder {
    /// Of these rows.
    pub(crate) fn of(rows: BatchRows<'_>) -> Self {
        let mut kinds = rows.iter().filter_map(|row| row.header.kind());
        if !kinds.any(MessageKind::is_write) {
            return Self::default();
        }
        let mut seen: Partitions = [0; WORD_COUNT];
        let mut shared = seen;
        for partition in rows.iter().filter_map(|row| row.header.partition()) {
            let (word, bit) = place_of(partition);
            if let (Some(seen), Some(shared)) = (seen.get_mut(word), shared.get_mut(word)) {
                *shared |= *seen & bit;
                *seen |= bit;
            }
        }
        let any = shared.iter().any(|word| *word != 0);
        Self {
            shared: any.then(|| Box::new(shared)),
            running: Vec::new(),
        }
    }

    /// True while a row under way must end before this one begins.
    pub(crate) fn holds_back(&self, request: &Result<Request<'_>, DecodeError>) -> bool {
        self.held_by(request).is_some_and(|row| {
            let mut others = self.running.iter();
            others.any(|other| other.digest == row.digest && !(other.is_write && row.is_write))
        })
    }

    /// Begins a row. A write whose set is not known yet would lose its place in its key's queue to a later
    /// one, so the set is made known first.
    pub(crate) async fn begin(
        &mut self,
        namespace: &ServedNamespace,
        request: &Result<Request<'_>, DecodeError>,
    ) -> Option<Held> {
        let row = self.held_by(request)?;
        if let (Ok(Request::Put(_) | Request::Operate(_)), true) = (request, row.is_write)
            && let Some(name) = request.as_ref().ok().and_then(Request::set)
            && let Some(shard) = namespace.shards.owner(row.digest.partition())
            && shard.known_set(name).is_none()
        {
            // If it cannot be, the row will say so.
            drop(shard.set_id(name).await);
        }
        self.running.push(row);
        Some(row)
    }

    /// A row has ended.
    pub(crate) fn end(&mut self, held: Option<Held>) {
        let found = held.and_then(|held| self.running.iter().position(|row| *row == held));
        if let Some(found) = found {
            self.running.swap_remove(found);
        }
    }

    fn held_by(&self, request: &Result<Request<'_>, DecodeError>) -> Option<Held> {
        let shared = self.shared.as_ref()?;
        let request = request.as_ref().ok()?;
        let digest = *request.digest()?;
        let (word, bit) = place_of(digest.partition());
        let is_shared = shared.get(word).is_some_and(|word| word & bit != 0);
        is_shared.then(|| Held {
            digest,
            is_write: request.is_write(),
        })
    }
}

/// Word and bit of a partition.
fn place_of(partition: PartitionId) -> (usize, u64) {
    let number = partition.get();
    (usize::from(number / 64), 1 << (number % 64))
}
