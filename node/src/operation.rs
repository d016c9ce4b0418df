//! Operations: what a request about records does, on the core that owns them. One file each; all of
//! them take the frame as it came, ask the store, and say what to answer.

mod delete;
mod get;
mod operate;
mod put;
mod room;
mod row_order;
mod rows;
mod scan;
mod terms;
mod touch;

use corelith_index::{ExpirySeconds, PartitionId};
use corelith_io::Clock;
use corelith_store::{Current, Shard, Written};
use corelith_wire::{
    Answer, DecodeError, FrameEncoder, FrameHeader, LastUpdateMs, MessageKind, RecordMetadata,
    Refusal, Request, RequestId, Status,
};

use crate::commit::CommitPolicy;
use crate::frames::body_of;
use crate::hot_keys::HotKeys;
use crate::metrics::Outcomes;
use crate::namespaces::{Namespaces, ServedNamespace};
use crate::refusal::Rejection;

pub(crate) use room::Room;
pub(crate) use rows::{BatchPart, run_part};
pub(crate) use terms::Deadline;
use terms::{Lookup, Terms};

/// What an operation works with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// What this core owns of each namespace.
    pub(crate) namespaces: &'a Namespaces,
    /// This core's clock.
    pub(crate) clock: &'a Clock,
    /// The monotonic clock now, in ns.
    pub(crate) now_ns: u64,
    /// When the request arrived, by the same clock.
    pub(crate) arrived_ns: u64,
}

/// The shards of one namespace that a core owns, by number.
pub(crate) struct Shards {
    shard_count: u16,
    by_number: Vec<Option<Shard>>,
    /// When writes to them are answered.
    pub(crate) commit: CommitPolicy,
    /// False if no get can be answered from memory: then it is not tried.
    pub(crate) may_answer_at_once: bool,
    /// How operations on them ended, on this core.
    pub(crate) outcomes: Outcomes,
    /// What is asked for most.
    pub(crate) hot_keys: HotKeys,
}

impl Shards {
    pub(crate) fn new(shard_count: u16, owned: Vec<(u16, Shard)>, commit: CommitPolicy) -> Self {
        let may_answer_at_once = owned.iter().any(|(_, shard)| shard.may_get_at_once());
        let mut by_number: Vec<Option<Shard>> = std::iter::repeat_with(|| None)
            .take(usize::from(shard_count))
            .collect();
        for (number, shard) in owned {
            if let Some(slot) = by_number.get_mut(usize::from(number)) {
                *slot = Some(shard);
            }
        }
        Self {
            shard_count,
            by_number,
            commit,
            may_answer_at_once,
            outcomes: Outcomes::default(),
            hot_keys: HotKeys::default(),
        }
    }

    /// How many the namespace has, on all cores.
    pub(crate) const fn count_of_all(&self) -> u16 {
        self.shard_count
    }

    /// The shard that owns `partition`, if it is one of this core's.
    pub(crate) fn owner(&self, partition: PartitionId) -> Option<&Shard> {
        let number = partition.get() % self.shard_count.max(1);
        self.by_number.get(usize::from(number))?.as_ref()
    }

    /// All of this core's.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.by_number.iter().flatten()
    }
}

/// Where an answer is written.
pub(crate) struct Reply<'a> {
    pub(crate) encoder: &'a mut FrameEncoder,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) request_id: RequestId,
    pub(crate) kind_number: u8,
}

impl<'a> Reply<'a> {
    /// The answer to the request with this header.
    pub(crate) const fn to(
        header: &FrameHeader,
        encoder: &'a mut FrameEncoder,
        out: &'a mut Vec<u8>,
    ) -> Self {
        Self {
            encoder,
            out,
            request_id: header.request_id(),
            kind_number: header.kind_number(),
        }
    }
}

impl Reply<'_> {
    /// Writes an answer; one that cannot be encoded becomes an internal error.
    pub(crate) fn answer(&mut self, answer: &Answer<'_>) {
        if self
            .encoder
            .answer(self.out, self.request_id, answer)
            .is_err()
        {
            self.refuse(&Refusal::new(Status::Internal));
        }
    }

    /// Writes a refusal.
    pub(crate) fn refuse(&mut self, refusal: &Refusal<'_>) {
        let written = self
            .encoder
            .refusal(self.out, self.request_id, self.kind_number, refusal);
        if let Err(error) = written {
            tracing::error!(%error, "a refusal could not be encoded");
        }
    }
}

/// How an operation ended: something that writes the answer. A record travels in it rather than its bytes, and not in a
/// box: the straight way of a get allocates nothing.
pub(crate) enum Outcome {
    /// A record was read.
    Record(get::Found),
    /// A put or touch was acknowledged.
    Written(RecordMetadata),
    /// Like `Written`, to a touch.
    Touched(RecordMetadata),
    /// A delete found and removed the record.
    Deleted,
    /// A page of a scan.
    Page(Box<scan::Page>),
    /// Steps on a record were carried out.
    Operated(Box<operate::Operated>),
    /// Not done.
    Refused(Refusal<'static>),
    /// Not done, with a text that names what the request brought.
    Explained(Box<(Status, String)>),
}

impl Outcome {
    /// Writes the answer.
    pub(crate) fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Record(found) => reply.answer(&found.answer()),
            Self::Written(metadata) => reply.answer(&Answer::Written(*metadata)),
            Self::Touched(metadata) => reply.answer(&Answer::Touched(*metadata)),
            Self::Deleted => reply.answer(&Answer::Deleted),
            Self::Page(page) => reply.answer(&page.answer()),
            Self::Operated(operated) => reply.answer(&operated.answer()),
            Self::Refused(refusal) => reply.refuse(refusal),
            Self::Explained(told) => reply.refuse(&Refusal::new(told.0).explained(&told.1)),
        }
    }

    /// The answer, if it is one that may have a large payload.
    pub(crate) fn answer(&self) -> Option<Answer<'_>> {
        match self {
            Self::Record(found) => Some(found.answer()),
            Self::Page(page) => Some(page.answer()),
            Self::Operated(operated) => Some(operated.answer()),
            Self::Written(_)
            | Self::Touched(_)
            | Self::Deleted
            | Self::Refused(_)
            | Self::Explained(_) => None,
        }
    }

    /// Bytes of its payload.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.answer().map_or(0, |answer| answer.payload().len())
    }

    /// The status that the answer bears, for the counters.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Refused(refusal) => refusal.status,
            Self::Explained(told) => told.0,
            Self::Record(_)
            | Self::Written(_)
            | Self::Touched(_)
            | Self::Deleted
            | Self::Operated(_)
            | Self::Page(_) => Status::Ok,
        }
    }
}

/// Runs the request of a whole frame. It must be one about records.
pub(crate) async fn run(context: &Context<'_>, frame: &[u8]) -> Outcome {
    let Ok(Some(header)) = FrameHeader::parse(frame) else {
        return Outcome::Refused(Refusal::new(Status::Malformed));
    };
    let namespace = header.namespace().and_then(|id| context.namespaces.get(id));
    let Some(namespace) = namespace else {
        return Outcome::Refused(Refusal::new(Status::UnknownNamespace));
    };
    let admission = Admission {
        now_ns: context.now_ns,
        deadline: Deadline::new(context.clock, context.arrived_ns, header.deadline_ms()),
        room: None,
        lookup: Lookup::Alone,
    };
    let request = Request::decode(&header, body_of(frame));
    run_decoded(namespace, admission, header.kind(), request).await
}

/// What a request is begun with, beside what it says.
#[derive(Clone, Copy)]
struct Admission<'a> {
    /// The monotonic clock now, in ns.
    now_ns: u64,
    deadline: Deadline<'a>,
    /// Where what it reads must fit; `None` for an answer of its own.
    room: Option<&'a Room>,
    lookup: Lookup,
}

/// Runs a request that has been read, or says why it cannot be, and counts how it ended.
async fn run_decoded(
    namespace: &ServedNamespace,
    admission: Admission<'_>,
    kind: Option<MessageKind>,
    request: Result<Request<'_>, DecodeError>,
) -> Outcome {
    let outcome = match request {
        Ok(request) => {
            namespace
                .shards
                .hot_keys
                .count(|| request.digest().copied());
            run_request(namespace, admission, request).await
        }
        Err(error) => Outcome::Refused(Refusal::new(error.status())),
    };
    if let Some(kind) = kind {
        namespace.shards.outcomes.count(kind, outcome.status());
    }
    outcome
}

async fn run_request(
    namespace: &ServedNamespace,
    admission: Admission<'_>,
    request: Request<'_>,
) -> Outcome {
    // Work whose time is up is dropped unexecuted: the client has stopped waiting for it.
    if admission.deadline.is_past(admission.now_ns) {
        return Outcome::Refused(Refusal::new(Status::Timeout));
    }
    let Some(partition) = request.partition() else {
        return Outcome::Refused(Refusal::new(Status::Unsupported));
    };
    let Some(shard) = namespace.shards.owner(partition) else {
        return Outcome::Refused(Refusal::new(Status::NotOwner));
    };
    let terms = match namespace.shards.commit.choose(request.commit()) {
        Ok(commit) => Terms {
            commit,
            deadline: admission.deadline,
            policy: namespace.policy.get(),
            room: admission.room,
            lookup: admission.lookup,
        },
        Err(refusal) => return Outcome::Refused(refusal),
    };
    match request {
        Request::Get(get) => get::run(shard, &get, terms).await,
        Request::Put(put) => put::run(shard, &put, terms).await,
        Request::Delete(delete) => delete::run(shard, &delete, terms).await,
        Request::Touch(touch) => touch::run(shard, &touch, terms).await,
        Request::Scan(scan) => scan::run((namespace, shard), &scan, terms).await,
        Request::Operate(operate) => operate::run(shard, &operate, terms).await,
        Request::Hello(_)
        | Request::Topology
        | Request::Ping
        | Request::Statistics(_)
        | Request::Truncate(_)
        | Request::Batch(_) => Outcome::Refused(Refusal::new(Status::Unsupported)),
    }
}

/// How a request ends that memory is enough to answer, without a future for it; `None` if it is not, or if the
/// request has to be looked at more closely.
fn decoded_at_once(
    namespace: &ServedNamespace,
    admission: &Admission<'_>,
    request: &Result<Request<'_>, DecodeError>,
) -> Option<Outcome> {
    let Ok(Request::Get(get)) = request else {
        return None;
    };
    if admission.deadline.is_past(admission.now_ns) {
        return None;
    }
    let shard = namespace.shards.owner(get.digest.partition())?;
    let outcome = get::found_at_once(shard, get, admission.room)?;
    let shards = &namespace.shards;
    shards.hot_keys.count(|| Some(get.digest));
    shards.outcomes.count(MessageKind::Get, outcome.status());
    Some(outcome)
}

/// Answers the request of a whole frame now, if that takes neither a device nor a wait; false, and nothing
/// written, if it does.
pub(crate) fn run_at_once(
    shards: &Shards,
    (header, frame): (&FrameHeader, &[u8]),
    reply: &mut Reply<'_>,
) -> bool {
    let Ok(Request::Get(get)) = Request::decode(header, body_of(frame)) else {
        return false;
    };
    let Some(shard) = shards.owner(get.digest.partition()) else {
        return false;
    };
    match get::at_once(shard, &get, reply) {
        Some(status) => {
            shards.outcomes.count(MessageKind::Get, status);
            shards.hot_keys.count(|| Some(get.digest));
            true
        }
        None => false,
    }
}

/// Checks the generation that a write expects.
pub(crate) fn check_generation(
    expected: Option<corelith_index::Generation>,
    current: Option<Current<'_>>,
) -> Result<(), Rejection> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let found = current.map(|current| current.generation);
    if found == Some(expected) {
        return Ok(());
    }
    Err(Rejection::Generation {
        expected: expected.get(),
        found: found.map_or(0, corelith_index::Generation::get),
    })
}

/// What a client is told of a write.
pub(crate) fn metadata_of(written: &Written, now_ms: u64) -> RecordMetadata {
    RecordMetadata {
        generation: written.generation,
        expiry: written.expiry,
        last_update: last_update(now_ms),
    }
}

/// Unix milliseconds as the protocol counts them, from 2010.
pub(crate) fn last_update(unix_ms: u64) -> Option<LastUpdateMs> {
    LastUpdateMs::new(unix_ms.saturating_sub(ExpirySeconds::UNIX_OFFSET_SECONDS * 1000))
}

#[cfg(test)]
mod tests {
    use corelith_index::Generation;

    use super::*;

    fn current(generation: u16, expiry: u32) -> Current<'static> {
        Current {
            generation: Generation::new(generation).unwrap(),
            expiry: ExpirySeconds::new(expiry),
            set: corelith_index::SetId::NONE,
            content: &[],
        }
    }

    #[test]
    fn generations_are_compared_and_none_is_no_generation() {
        let three = Generation::new(3);
        assert_eq!(check_generation(None, None), Ok(()));
        assert_eq!(check_generation(three, Some(current(3, 0))), Ok(()));
        assert_eq!(
            check_generation(three, Some(current(4, 0))),
            Err(Rejection::Generation {
                expected: 3,
                found: 4
            })
        );
        assert_eq!(
            check_generation(three, None),
            Err(Rejection::Generation {
                expected: 3,
                found: 0
            })
        );
    }
}
