//! Slow operations: those that took longer than the operator's threshold, from arrival to the answer's place in
//! the outbox. Each core keeps the last of its own, and says one in the log from time to time.
//!
//! What is not slow costs a comparison. Noting one takes no memory: the ring of the last is made at the start.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use corelith_index::Digest;
use corelith_wire::{FrameHeader, MessageKind, Request};

use crate::configuration::SlowThreshold;
use crate::frames::{body_of, frame_length};
use crate::limits::SLOW_OPERATIONS_KEPT;
use crate::repeated::Repeated;

/// How a request went through the node, by the monotonic clock, in ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Course {
    /// Its bytes had arrived.
    pub(crate) arrived_ns: u64,
    /// Its owner began with it.
    pub(crate) started_ns: u64,
    /// Its owner had the outcome.
    pub(crate) ended_ns: u64,
    /// Its owner.
    pub(crate) owner: u16,
    /// Length of its answer.
    pub(crate) answer_bytes: usize,
}

/// One that was slow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SlowOperation {
    pub(crate) kind: MessageKind,
    /// Name of its namespace.
    pub(crate) namespace: Arc<str>,
    /// `None` for a request about many records.
    pub(crate) digest: Option<Digest>,
    /// The core where it arrived.
    pub(crate) core: u16,
    /// When it was answered, by the monotonic clock, in ns.
    pub(crate) answered_ns: u64,
    pub(crate) latency_ns: u64,
    pub(crate) course: Course,
    pub(crate) request_bytes: usize,
}

impl SlowOperation {
    /// How long it waited before its owner began: for its turn, and on the way to another core.
    pub(crate) const fn wait_ns(&self) -> u64 {
        self.course
            .started_ns
            .saturating_sub(self.course.arrived_ns)
    }

    /// How long its owner had it: the time of the device, for the most part, and of the index and the batch.
    pub(crate) const fn store_ns(&self) -> u64 {
        self.course.ended_ns.saturating_sub(self.course.started_ns)
    }

    /// True if it was another core's.
    pub(crate) const fn is_hop(&self) -> bool {
        self.course.owner != self.core
    }
}

/// The slow operations of one core.
pub(crate) struct SlowLog {
    /// The least latency that is slow.
    threshold_ns: Cell<u64>,
    kept: RefCell<VecDeque<SlowOperation>>,
    count: Cell<u64>,
}

impl SlowLog {
    pub(crate) fn new(threshold: SlowThreshold) -> Self {
        Self {
            threshold_ns: Cell::new(threshold.latency_ns()),
            kept: RefCell::new(VecDeque::with_capacity(SLOW_OPERATIONS_KEPT)),
            count: Cell::new(0),
        }
    }

    /// Takes another threshold.
    pub(crate) fn configure(&self, threshold: SlowThreshold) {
        self.threshold_ns.set(threshold.latency_ns());
    }

    /// True if this is to be noted.
    pub(crate) const fn is_slow(&self, latency_ns: u64) -> bool {
        latency_ns >= self.threshold_ns.get()
    }

    /// Notes an operation that was slow, with the frame of its request, and says it if that is due.
    pub(crate) fn note(
        &self,
        (core, namespace, message): (u16, &Arc<str>, &Repeated),
        (header, frame): (&FrameHeader, &[u8]),
        course: Course,
        answered_ns: u64,
    ) {
        let Some(kind) = header.kind() else {
            return;
        };
        let operation = SlowOperation {
            kind,
            namespace: Arc::clone(namespace),
            digest: digest_of(header, frame),
            core,
            answered_ns,
            latency_ns: answered_ns.saturating_sub(course.arrived_ns),
            course,
            request_bytes: frame_length(header),
        };
        self.count.set(self.count.get() + 1);
        if let Some(unsaid) = message.due(answered_ns) {
            say(&operation, unsaid);
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= SLOW_OPERATIONS_KEPT {
            kept.pop_front();
        }
        kept.push_back(operation);
    }

    /// How many there were.
    pub(crate) const fn count(&self) -> u64 {
        self.count.get()
    }

    /// The last, oldest first.
    pub(crate) fn kept(&self) -> Vec<SlowOperation> {
        self.kept.borrow().iter().cloned().collect()
    }
}

fn digest_of(header: &FrameHeader, frame: &[u8]) -> Option<Digest> {
    Request::decode(header, body_of(frame))
        .ok()?
        .digest()
        .copied()
}

fn say(operation: &SlowOperation, unsaid: u64) {
    let digest = operation.digest.map(|digest| digest.to_string());
    tracing::warn!(
        operation = ?operation.kind,
        namespace = &*operation.namespace,
        digest = digest.as_deref().unwrap_or("-"),
        latency_us = operation.latency_ns / 1000,
        wait_us = operation.wait_ns() / 1000,
        store_us = operation.store_ns() / 1000,
        core = operation.core,
        owner = operation.course.owner,
        request_bytes = operation.request_bytes,
        answer_bytes = operation.course.answer_bytes,
        others = unsaid,
        "a slow operation, and others since the last message; `corelith slow` shows the last of each core"
    );
}

#[cfg(test)]
mod tests {
    use corelith_wire::{
        BinSelection, FrameEncoder, GetRequest, NamespaceId, RequestEnvelope, RequestId,
    };

    use super::*;

    fn frame_of(byte: u8) -> (FrameHeader, Vec<u8>) {
        let mut frame = Vec::new();
        let envelope = RequestEnvelope {
            request_id: RequestId::new(1),
            namespace: NamespaceId::new(1),
            deadline_ms: 0,
        };
        let get = GetRequest {
            digest: Digest::from_bytes([byte; 20]),
            selection: BinSelection::All,
        };
        let mut encoder = FrameEncoder::new();
        encoder
            .request(&mut frame, &envelope, &Request::Get(get))
            .unwrap();
        (FrameHeader::parse(&frame).unwrap().unwrap(), frame)
    }

    fn note(log: &SlowLog, byte: u8, answered_ns: u64) {
        let (header, frame) = frame_of(byte);
        let place = (0, &Arc::from("test"), &Repeated::default());
        log.note(place, (&header, &frame), COURSE, answered_ns);
    }

    const COURSE: Course = Course {
        arrived_ns: 1000,
        started_ns: 1200,
        ended_ns: 1900,
        owner: 1,
        answer_bytes: 77,
    };

    #[test]
    fn slow_ones_are_kept_with_what_they_waited_for() {
        let log = SlowLog::new(SlowThreshold::From { latency_us: 1 });
        assert!(!log.is_slow(999));
        assert!(log.is_slow(1000));
        note(&log, 2, 2000);
        let kept = log.kept();
        assert_eq!((kept.len(), log.count()), (1, 1));
        let operation = &kept[0];
        assert_eq!(operation.digest, Some(Digest::from_bytes([2; 20])));
        assert_eq!(operation.kind, MessageKind::Get);
        let times = (
            operation.latency_ns,
            operation.wait_ns(),
            operation.store_ns(),
        );
        assert_eq!(times, (1000, 200, 700));
        assert!(operation.is_hop());
    }

    #[test]
    fn the_last_ones_are_kept_and_none_without_a_threshold() {
        let log = SlowLog::new(SlowThreshold::Off);
        assert!(!log.is_slow(1 << 62));
        log.configure(SlowThreshold::DEFAULT);
        assert!(log.is_slow(1 << 62));
        let count = u64::try_from(SLOW_OPERATIONS_KEPT).unwrap() + 10;
        for at in 0..count {
            note(&log, 1, 2000 + at);
        }
        let kept = log.kept();
        assert_eq!((kept.len(), log.count()), (SLOW_OPERATIONS_KEPT, count));
        assert_eq!(kept[0].answered_ns, 2010);
    }
}
