//! The rows of a batch that one core owns: each is run as a request of its own, many at once, in one task.
//!
//! Up to a bound they are on their way together, so that device reads overlap and writes share batches of
//! the log. A row that never has to wait (its record is in memory or absent) costs no task, and no memory for
//! its future. Rows about one key run in their order; rows are answered as they end.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use corelith_store::fetch_ahead;
use corelith_wire::{
    BatchRow, BatchRows, DecodeError, FrameEncoder, FrameHeader, NamespaceId, Refusal, Request,
    Status,
};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::row_order::{Held, RowOrder};
use super::terms::{Deadline, Lookup};
use super::{Admission, Context, Outcome, Reply, Room, decoded_at_once, run_decoded};
use crate::connection::BatchKey;
use crate::limits::{BATCH_ROWS_AHEAD, BATCH_ROWS_RUNNING_MAX};
use crate::namespaces::ServedNamespace;
use crate::pace::Turn;

/// The rows of one batch that one core owns, and their answers.
pub(crate) struct BatchPart {
    /// The batch, on the core where it arrived.
    pub(crate) batch: BatchKey,
    pub(crate) namespace: NamespaceId,
    pub(crate) deadline_ms: Option<u32>,
    /// When the batch arrived, by the monotonic clock, in ns.
    pub(crate) arrived_ns: u64,
    /// The rows' frames as they came, in their order.
    pub(crate) rows: Vec<u8>,
    pub(crate) row_count: usize,
    /// What of the batch's answer there is for what these rows read, in bytes.
    pub(crate) room_bytes: usize,
    /// The answers' frames, as the rows ended.
    pub(crate) answers: Vec<u8>,
}

impl BatchPart {
    /// Refuses every row.
    pub(crate) fn refuse(&mut self, encoder: &mut FrameEncoder, refusal: &Refusal<'_>) {
        for row in BatchRows::new(&self.rows).iter() {
            Reply::to(&row.header, encoder, &mut self.answers).refuse(refusal);
        }
    }
}

/// Runs the rows of a part on their owner and writes their answers.
pub(crate) async fn run_part(
    context: &Context<'_>,
    encoder: &RefCell<FrameEncoder>,
    part: &mut BatchPart,
) {
    let Some(namespace) = context.namespaces.get(part.namespace) else {
        let refusal = Refusal::new(Status::UnknownNamespace);
        return part.refuse(&mut encoder.borrow_mut(), &refusal);
    };
    let room = Room::new(part.room_bytes);
    let admission = Admission {
        now_ns: context.now_ns,
        deadline: Deadline::new(context.clock, part.arrived_ns, part.deadline_ms),
        room: Some(&room),
        lookup: Lookup::Fetched,
    };
    let answers = &mut part.answers;
    let mut book = Book {
        order: RowOrder::of(BatchRows::new(&part.rows)),
        turn: Turn::new(context.clock, context.now_ns),
        places: Vec::new(),
        answer: |header: &FrameHeader, outcome: &Outcome| {
            let before_bytes = answers.len();
            outcome.write(&mut Reply::to(header, &mut encoder.borrow_mut(), answers));
            answers.len().saturating_sub(before_bytes)
        },
    };
    let mut running = FuturesUnordered::new();
    let mut source = BatchRows::new(&part.rows).iter();
    let mut ahead = Ahead::default();
    while ahead.take(namespace, &mut source) {
        let now_ns = context.clock.monotonic_ns();
        let admission = Admission {
            now_ns,
            ..admission
        };
        for (header, request) in ahead.rows.drain(..) {
            while running.len() >= BATCH_ROWS_RUNNING_MAX || book.order.holds_back(&request) {
                let Some(ended) = running.next().await else {
                    break;
                };
                book.end(ended);
                book.turn.rest().await;
            }
            if let Some(outcome) = decoded_at_once(namespace, &admission, &request) {
                book.turn.did(1, (book.answer)(&header, &outcome));
                book.turn.rest().await;
                continue;
            }
            let held = book.order.begin(namespace, &request).await;
            let mut place = book.places.pop().unwrap_or_else(|| Box::pin(None));
            let row = run_decoded(namespace, admission, header.kind(), request);
            place.as_mut().set(Some(row));
            match poll_once(place.as_mut()).await {
                Poll::Ready(outcome) => book.end(Ended {
                    header,
                    held,
                    outcome,
                    place,
                }),
                Poll::Pending => running.push(Running {
                    header,
                    held,
                    place: Some(place),
                }),
            }
            book.turn.rest().await;
        }
    }
    while let Some(ended) = running.next().await {
        book.end(ended);
        book.turn.rest().await;
    }
}

/// Rows that were read, and whose look-ups were asked for, before the first of them runs.
#[derive(Default)]
struct Ahead<'a> {
    rows: Vec<(FrameHeader, Result<Request<'a>, DecodeError>)>,
}

impl<'a> Ahead<'a> {
    /// Takes the next rows; false if there is none.
    fn take(
        &mut self,
        namespace: &ServedNamespace,
        source: &mut impl Iterator<Item = BatchRow<'a>>,
    ) -> bool {
        let next = source.take(BATCH_ROWS_AHEAD);
        self.rows.extend(next.map(|row| {
            let request = Request::decode_row(&row.header, row.body);
            (row.header, request)
        }));
        self.fetch(namespace);
        !self.rows.is_empty()
    }

    /// Has the memory fetched that the rows will read.
    fn fetch(&self, namespace: &ServedNamespace) {
        fetch_ahead(self.rows.iter().filter_map(|(_, request)| {
            let digest = request.as_ref().ok()?.digest()?;
            Some((namespace.shards.owner(digest.partition())?, digest))
        }));
    }
}

/// Where the future of a row lies. It is used for one row after another.
type Place<F> = Pin<Box<Option<F>>>;

/// What is kept while rows come and go.
struct Book<'a, F, W> {
    order: RowOrder,
    turn: Turn<'a>,
    /// Places that no row is in.
    places: Vec<Place<F>>,
    /// Writes a row's answer and says how long it is.
    answer: W,
}

impl<F, W: FnMut(&FrameHeader, &Outcome) -> usize> Book<'_, F, W> {
    fn end(&mut self, ended: Ended<F>) {
        let Ended {
            header,
            held,
            outcome,
            mut place,
        } = ended;
        self.turn.did(1, (self.answer)(&header, &outcome));
        self.order.end(held);
        // What the row still holds, buffers of a device for instance, goes now.
        place.as_mut().set(None);
        self.places.push(place);
    }
}

/// A row that has to wait.
struct Running<F> {
    header: FrameHeader,
    held: Option<Held>,
    place: Option<Place<F>>,
}

/// A row that has ended.
struct Ended<F> {
    header: FrameHeader,
    held: Option<Held>,
    outcome: Outcome,
    place: Place<F>,
}

impl<F: Future<Output = Outcome>> Future for Running<F> {
    type Output = Ended<F>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Ended<F>> {
        // It is polled no more once it has given its place away.
        let Some(mut place) = self.place.take() else {
            return Poll::Pending;
        };
        match poll_in(place.as_mut(), context) {
            Poll::Ready(outcome) => Poll::Ready(Ended {
                header: self.header,
                held: self.held.take(),
                outcome,
                place,
            }),
            Poll::Pending => {
                self.place = Some(place);
                Poll::Pending
            }
        }
    }
}

fn poll_in<F: Future>(
    place: Pin<&mut Option<F>>,
    context: &mut TaskContext<'_>,
) -> Poll<F::Output> {
    match place.as_pin_mut() {
        Some(row) => row.poll(context),
        None => Poll::Pending,
    }
}

/// A first poll, before anything is set up for waiting. Who has to wait is polled again by those that keep
/// track of wake-ups.
async fn poll_once<F: Future>(mut place: Pin<&mut Option<F>>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(poll_in(place.as_mut(), context))).await
}

#[cfg(test)]
mod tests {
    use corelith_index::{ExpirySeconds, Generation};
    use corelith_record::Reads;
    use corelith_wire::{
        Answer, BinCounts, LastUpdateMs, OperateAnswer, RecordAnswer, RecordMetadata, RequestId,
        limits,
    };

    use super::*;
    use crate::limits::BATCH_ROW_ANSWER_BYTES;

    /// Every number of an answer, none of them zero, which would take no room.
    fn metadata() -> RecordMetadata {
        RecordMetadata {
            generation: Generation::new(7).unwrap(),
            expiry: ExpirySeconds::new(u32::MAX),
            last_update: LastUpdateMs::new(u64::MAX),
        }
    }

    fn length_of(answer: &Answer<'_>) -> usize {
        let mut out = Vec::new();
        let id = RequestId::new(u64::MAX);
        FrameEncoder::new().answer(&mut out, id, answer).unwrap();
        out.len()
    }

    #[test]
    fn every_answer_fits_what_its_row_has_and_what_was_claimed() {
        let text = "x".repeat(limits::REFUSAL_TEXT_BYTES_MAX);
        let refusal = Refusal::new(Status::InDoubt)
            .because_of(Status::Internal)
            .disagreement(u64::MAX, u64::MAX)
            .retry_after(u32::MAX)
            .explained(&text);
        let kind_number = 24;
        let refused = Answer::Refused {
            kind_number,
            refusal,
        };
        assert!(length_of(&refused) <= BATCH_ROW_ANSWER_BYTES);
        assert!(length_of(&Answer::Written(metadata())) <= BATCH_ROW_ANSWER_BYTES);
        for count in [1_usize, 7, 1024] {
            for content_bytes in [1_usize, 8, 9, 1000] {
                let content = vec![0; content_bytes];
                let record = RecordAnswer {
                    metadata: metadata(),
                    content: &content,
                };
                let room = Room::new(content_bytes + 14);
                assert!(room.claim(content_bytes));
                let most = BATCH_ROW_ANSWER_BYTES + content_bytes + 14;
                assert!(length_of(&Answer::Record(record)) <= most);
                let reads = Reads {
                    bins: content.clone(),
                    bin_counts: vec![1; count],
                };
                let operated = OperateAnswer {
                    metadata: Some(metadata()),
                    bin_counts: BinCounts::new(&reads.bin_counts),
                    bins: &reads.bins,
                };
                let most = BATCH_ROW_ANSWER_BYTES + content_bytes + 2 * count + 14;
                assert!(length_of(&Answer::Operated(operated)) <= most);
            }
        }
    }
}
