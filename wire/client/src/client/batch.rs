//! How a batch is carried out: split by owner and by size, several requests on their way at once, each row
//! tried again by the rules of a request of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use corelith_wire::{Answer, BatchRequest, BatchRows, FrameEncoder, FrameHeader, Request, Status};
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;

use super::{Client, Failed, Step, decode};
use crate::batch::{BatchBuilder, Batched, Row};
use crate::connection::CallError;
use crate::error::{Error, Refused, Unreadable};
use crate::limits::{
    BATCH_LENGTH_BYTES, BATCH_REQUESTS_AT_ONCE, BATCH_ROW_COUNT, BATCH_ROW_LENGTH_BYTES,
};
use crate::operated::Operated;
use crate::record::Record;

/// A row that has no result yet.
struct Waiting<'b> {
    /// Its place in the batch.
    index: usize,
    row: &'b Row,
    /// The first try of it that may have happened.
    doubt: Option<Error>,
}

/// A row's place in the batch, and its result.
type Done = (usize, Result<Batched, Error>);

impl Client {
    /// Carries out a batch; the results stand in the order of its rows.
    pub(crate) async fn batch(
        &self,
        namespace: &str,
        batch: &BatchBuilder,
    ) -> Vec<Result<Batched, Error>> {
        let mut results: Vec<Option<Result<Batched, Error>>> = Vec::new();
        let mut rows = Vec::new();
        for (index, row) in batch.rows().iter().enumerate() {
            results.push(row.as_ref().err().map(|error| Err(error.clone())));
            let doubt = None;
            rows.extend(row.as_ref().ok().map(|row| Waiting { index, row, doubt }));
        }
        let requests = self.split(namespace, rows);
        let mut requests = stream::iter(requests)
            .map(|rows| self.carry_out(namespace, rows))
            .buffer_unordered(BATCH_REQUESTS_AT_ONCE);
        while let Some(done) = requests.next().await {
            for (index, result) in done {
                results[index] = Some(result);
            }
        }
        let missing = |row| Err(Error::Unreadable(Unreadable::RowMissing { row }));
        let results = results.into_iter().enumerate();
        results
            .map(|(row, result)| result.unwrap_or_else(|| missing(row)))
            .collect()
    }

    /// Rows that go in one request each: of one owner, and not too many or too long. Those of several owners
    /// take turns, so that all of them are busy at once.
    fn split<'b>(&self, namespace: &str, rows: Vec<Waiting<'b>>) -> Vec<Vec<Waiting<'b>>> {
        let routes = self.routes();
        let options = self.options();
        // What the node lets one connection have in flight, each row counted as a request.
        let shared = self.inner.shared.present();
        let in_flight_max = shared.map_or(options.in_flight_max, |shared| shared.in_flight_max());
        let row_count_max = BATCH_ROW_COUNT.min(in_flight_max as usize);
        let mut by_core: BTreeMap<Option<u16>, OfCore<'b>> = BTreeMap::new();
        for row in rows {
            let partition = row.row.digest().partition();
            let core = routes.core(namespace, partition);
            let core = core.filter(|_| options.shard_aware);
            by_core.entry(core).or_default().add(row, row_count_max);
        }
        let requests = by_core.into_values().map(|of_core| of_core.requests);
        let mut by_core: Vec<_> = requests.map(Vec::into_iter).collect();
        let mut in_turns = Vec::new();
        while !by_core.is_empty() {
            by_core.retain_mut(|of_core| {
                let next = of_core.next();
                let goes_on = next.is_some();
                in_turns.extend(next);
                goes_on
            });
        }
        in_turns
    }

    /// Rows of one owner, until each has its result. Their time begins now.
    async fn carry_out(&self, namespace: &str, mut waiting: Vec<Waiting<'_>>) -> Vec<Done> {
        let deadline = self.deadline();
        let mut done = Vec::new();
        let mut alone = Vec::new();
        let mut retry_count = 0;
        while waiting.len() > 1 {
            let outcomes = self.try_batch(namespace, &waiting, deadline).await;
            let mut round = Round::default();
            for (row, outcome) in waiting.drain(..).zip(outcomes) {
                round.take(self, namespace, (row, outcome));
            }
            done.append(&mut round.done);
            alone.append(&mut round.alone);
            if round.again.is_empty() {
                break;
            }
            if round.renews_map {
                // A map that cannot be had is no reason not to try once more.
                drop(self.renew(deadline).await);
            }
            let resumes = Instant::now() + round.pause;
            if retry_count == self.options().retry_count_max || resumes >= deadline {
                let again = round.again.into_iter();
                done.extend(again.map(|(row, error)| (row.index, Err(error))));
                break;
            }
            retry_count += 1;
            if !round.pause.is_zero() {
                tokio::time::sleep_until(resumes).await;
            }
            waiting = round.again.into_iter().map(|(row, _)| row).collect();
        }
        alone.append(&mut waiting);
        let mut alone = stream::iter(alone)
            .map(|row| async move {
                let result = self.carry_out_alone(namespace, row.row).await;
                (row.index, settled(row.doubt, result))
            })
            .buffer_unordered(BATCH_REQUESTS_AT_ONCE);
        while let Some(one) = alone.next().await {
            done.push(one);
        }
        done
    }

    /// A row as a request of its own.
    async fn carry_out_alone(&self, namespace: &str, row: &Row) -> Result<Batched, Error> {
        // Names of bins are borrowed for as long as the request lives: the frame holds them.
        let mut frame = Vec::new();
        let mut encoder = FrameEncoder::new();
        row.with_request(|request| encoder.batch_row(&mut frame, 0, request))
            .map_err(Error::Invalid)?;
        let mut frames = BatchRows::new(&frame).iter();
        let request = frames.next().ok_or(Unreadable::RowMissing { row: 0 });
        let request = request.and_then(|row| Ok(Request::decode_row(&row.header, row.body)?));
        let request = request.map_err(Error::Unreadable)?;
        let finish = |header: &FrameHeader, body: &mut Vec<u8>| read_row(header, body);
        match self.call(Some(namespace), &request, finish).await {
            Err(error) if error.status() == Some(Status::NotFound) && row.may_be_absent() => {
                Ok(Batched::NotFound)
            }
            result => result,
        }
    }

    /// Sends rows once; what became of each, in their order.
    async fn try_batch(
        &self,
        namespace: &str,
        rows: &[Waiting<'_>],
        deadline: Instant,
    ) -> Vec<Result<Batched, Failed>> {
        let mut encoder = FrameEncoder::new();
        let mut bytes = Vec::new();
        // Where the rows that could be encoded stand, by the number under which they travel.
        let mut places = Vec::with_capacity(rows.len());
        let mut outcomes: Vec<Option<Result<Batched, Failed>>> = Vec::new();
        for (place, row) in rows.iter().enumerate() {
            let number = places.len() as u64;
            let encoded = row
                .row
                .with_request(|request| encoder.batch_row(&mut bytes, number, request));
            if encoded.is_ok() {
                places.push(place);
            }
            let invalid = |error| Err(Failed::Call(CallError::Invalid(error)));
            outcomes.push(encoded.err().map(invalid));
        }
        let mut failed = None;
        if !places.is_empty() {
            match self.send(namespace, (rows, &bytes), deadline).await {
                Ok(answers) => {
                    for answer in BatchRows::new(&answers).iter() {
                        let place = places.get(answer.number()).copied();
                        let outcome = place.and_then(|place| outcomes.get_mut(place));
                        if let Some(outcome @ None) = outcome {
                            *outcome = Some(outcome_of(&answer.header, answer.body));
                        }
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        let missing = |row| {
            let missing = Unreadable::RowMissing { row };
            Failed::Call(CallError::Unreadable(missing))
        };
        let outcomes = outcomes.into_iter().enumerate();
        outcomes
            .map(|(row, outcome)| {
                let failed = || failed.clone().unwrap_or_else(|| missing(row));
                outcome.unwrap_or_else(|| Err(failed()))
            })
            .collect()
    }

    /// Sends the frames of rows to the owner of the first; the frames of their answers.
    async fn send(
        &self,
        namespace: &str,
        (rows, bytes): (&[Waiting<'_>], &[u8]),
        deadline: Instant,
    ) -> Result<Vec<u8>, Failed> {
        let partition = rows.first().map(|row| row.row.digest().partition());
        let connection = self
            .connection(Some(namespace), partition, deadline)
            .await?;
        let request = Request::Batch(BatchRequest {
            rows: BatchRows::new(bytes),
        });
        let finish = |header: &FrameHeader, body: &mut Vec<u8>| {
            let answered = decode(header, body, |answer| {
                matches!(answer, Answer::Batch(_)).then_some(())
            })?;
            Ok(answered.map(|()| {
                // A batch has no table: its rows begin where the body does.
                let mut rows = std::mem::take(body);
                rows.truncate(header.payload_length_bytes() as usize);
                rows
            }))
        };
        let called = connection.call(Some(namespace), &request, deadline, finish);
        match called.await {
            Ok(Ok(answers)) => Ok(answers),
            Ok(Err(refused)) => Err(Failed::Refused(refused)),
            Err(error) => Err(Failed::Call(error)),
        }
    }
}

/// The requests to one core.
#[derive(Default)]
struct OfCore<'b> {
    requests: Vec<Vec<Waiting<'b>>>,
    /// Of the last of them.
    length_bytes: usize,
}

impl<'b> OfCore<'b> {
    fn add(&mut self, row: Waiting<'b>, row_count_max: usize) {
        let length_bytes = row.row.content_length() + BATCH_ROW_LENGTH_BYTES;
        match self.requests.last_mut() {
            Some(last)
                if last.len() < row_count_max
                    && self.length_bytes + length_bytes <= BATCH_LENGTH_BYTES =>
            {
                self.length_bytes += length_bytes;
                last.push(row);
            }
            _ => {
                self.length_bytes = length_bytes;
                self.requests.push(vec![row]);
            }
        }
    }
}

/// What one try of a request has left.
#[derive(Default)]
struct Round<'b> {
    done: Vec<Done>,
    /// To be tried again, with what is answered if it is not.
    again: Vec<(Waiting<'b>, Error)>,
    /// To be asked for by themselves.
    alone: Vec<Waiting<'b>>,
    pause: Duration,
    renews_map: bool,
}

impl<'b> Round<'b> {
    fn take(
        &mut self,
        client: &Client,
        namespace: &str,
        (mut row, outcome): (Waiting<'b>, Result<Batched, Failed>),
    ) {
        let failed = match outcome {
            Ok(result) => return self.done.push((row.index, Ok(result))),
            Err(failed) => failed,
        };
        let is_write = row.row.is_write();
        match &failed {
            Failed::Refused(refused) if refused.status == Status::BatchFull => {
                return self.alone.push(row);
            }
            // Others of the batch may not be written; this one can be read.
            Failed::Call(CallError::ReadOnly) if !is_write => return self.alone.push(row),
            Failed::Refused(refused)
                if refused.status == Status::NotFound && row.row.may_be_absent() =>
            {
                let result = settled(row.doubt, Ok(Batched::NotFound));
                return self.done.push((row.index, result));
            }
            Failed::Refused(_) | Failed::Call(_) | Failed::Connect(_) => {}
        }
        let may_have_happened = is_write && failed.is_doubt();
        let step = failed.next_step(may_have_happened, client.options().retry_in_doubt);
        let error = failed.into_error(Some(namespace), is_write);
        // Once a try is in doubt, no refusal of a later one settles it.
        if may_have_happened && row.doubt.is_none() {
            row.doubt = Some(error.clone());
        }
        let error = row.doubt.clone().unwrap_or(error);
        match step {
            Step::GiveUp => return self.done.push((row.index, Err(error))),
            Step::RenewMap => self.renews_map = true,
            Step::Pause(pause) => self.pause = self.pause.max(pause),
        }
        self.again.push((row, error));
    }
}

/// The result of a row's last try, in the light of those before.
fn settled(doubt: Option<Error>, result: Result<Batched, Error>) -> Result<Batched, Error> {
    match (doubt, result) {
        (Some(doubt), Err(_) | Ok(Batched::NotFound)) => Err(doubt),
        (_, result) => result,
    }
}

fn outcome_of(header: &FrameHeader, body: &[u8]) -> Result<Batched, Failed> {
    match read_row(header, body) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(refused)) => Err(Failed::Refused(refused)),
        Err(unreadable) => Err(Failed::Call(CallError::Unreadable(unreadable))),
    }
}

/// What an answer about one record says.
fn read_row(header: &FrameHeader, body: &[u8]) -> Result<Result<Batched, Refused>, Unreadable> {
    Ok(Ok(match Answer::decode(header, body)? {
        Answer::Record(answer) => {
            let length = answer.content.len();
            let content = answer.content.to_vec();
            Batched::Record(Record::new(answer.metadata, content, 0, length)?)
        }
        Answer::Written(metadata) | Answer::Touched(metadata) => Batched::Written(metadata),
        Answer::Deleted => Batched::Deleted,
        Answer::Operated(answer) => Batched::Operated(Operated::of_row(&answer)?),
        Answer::Refused { refusal, .. } => return Ok(Err(Refused::from(&refusal))),
        Answer::Hello(_)
        | Answer::Topology(_)
        | Answer::Pong { .. }
        | Answer::Statistics(_)
        | Answer::Page(_)
        | Answer::Truncated(_)
        | Answer::Batch(_) => {
            let found = header.kind_number();
            let expected = found;
            return Err(Unreadable::Kind { expected, found });
        }
    }))
}
