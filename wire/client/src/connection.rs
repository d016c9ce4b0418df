//! One connection to one port of a node: hello, then many requests at once. Callers write their frames into
//! one buffer that a writer task sends in as few calls as it can; a reader task hands out the answers; a
//! clock task ends requests whose time is up. No request has a task, a timer or a channel of its own.
//!
//! A connection is used until it breaks and never mended: [`Link`](crate::link::Link) opens another.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use corelith_wire::{
    Access, EncodeError, FrameEncoder, FrameHeader, HelloAnswer, MessageKind, NamespaceId, Request,
    RequestEnvelope,
};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, TryAcquireError};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::{ConnectError, Unreadable};
use crate::handshake::{Greeted, greet};
use crate::limits::{IN_FLIGHT_MAX, OUTGOING_LENGTH_BYTES_MAX, TICK, UNANSWERED};
use crate::lock::Lock;
use crate::options::ClientOptions;
use crate::slots::{Failure, SlotKey, Slots};
use crate::{clock, reader, writer};

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    hello: HelloAnswer,
    access: Access,
    /// Most requests in flight.
    in_flight_max: u32,
    state: Lock<State>,
    /// One permit for each request that the node still lets us have in flight.
    pub(crate) room: Semaphore,
    /// There is something to send.
    pub(crate) has_outgoing: Notify,
    /// The writer has taken what was there to send.
    pub(crate) has_sent: Notify,
    /// There is a request whose time can be up.
    pub(crate) has_requests: Notify,
    tasks: OnceLock<[AbortHandle; 3]>,
}

/// What callers and tasks share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) slots: Slots,
    encoder: FrameEncoder,
    /// Frames that the writer has not taken yet.
    pub(crate) outgoing: Vec<u8>,
    /// Bytes that the writer has taken since the connection was opened.
    pub(crate) taken_bytes: u64,
    pub(crate) is_writer_waiting: bool,
    pub(crate) is_clock_waiting: bool,
    closed: Option<ConnectError>,
}

/// How a call ended without a result.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// It was not sent: the connection is gone.
    Unsent(ConnectError),
    /// It was not sent: its time was up before there was room for it.
    NoRoom,
    /// It was sent and its time was up.
    TimedOut,
    /// It was sent and the connection broke.
    Lost(ConnectError),
    /// It was answered with something unreadable.
    Unreadable(Unreadable),
    /// It breaks a rule of the protocol and was not sent.
    Invalid(EncodeError),
    /// It was not sent: the node knows no such namespace.
    UnknownNamespace,
    /// It was not sent: this connection may not write.
    ReadOnly,
}

/// Turns an answer's header and body into what the caller wants.
pub(crate) trait Finish<T>: Fn(&FrameHeader, &mut Vec<u8>) -> Result<T, Unreadable> {}
impl<T, F: Fn(&FrameHeader, &mut Vec<u8>) -> Result<T, Unreadable>> Finish<T> for F {}

impl Connection {
    /// Connects and says hello. Must run inside a tokio runtime, which then runs the connection's tasks.
    pub(crate) async fn open(
        address: SocketAddr,
        options: &ClientOptions,
    ) -> Result<Arc<Connection>, ConnectError> {
        let opening = async {
            let error = |error| ConnectError::Io {
                address,
                error: Arc::new(error),
            };
            let mut stream = TcpStream::connect(address).await.map_err(error)?;
            stream.set_nodelay(true).map_err(error)?;
            let greeted = greet(&mut stream, address, options).await?;
            Ok(Connection::start(stream, address, greeted, options))
        };
        match tokio::time::timeout(options.connect_timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(ConnectError::TimedOut { address }),
        }
    }

    fn start(
        stream: TcpStream,
        address: SocketAddr,
        greeted: Greeted,
        options: &ClientOptions,
    ) -> Arc<Connection> {
        let in_flight_max = greeted
            .hello
            .in_flight_max
            .min(options.in_flight_max)
            .clamp(1, IN_FLIGHT_MAX);
        let connection = Arc::new(Connection {
            address,
            access: greeted.access,
            hello: greeted.hello,
            in_flight_max,
            state: Lock::new(State {
                slots: Slots::default(),
                encoder: FrameEncoder::new(),
                outgoing: Vec::new(),
                taken_bytes: 0,
                is_writer_waiting: false,
                is_clock_waiting: false,
                closed: None,
            }),
            room: Semaphore::new(in_flight_max as usize),
            has_outgoing: Notify::new(),
            has_sent: Notify::new(),
            has_requests: Notify::new(),
            tasks: OnceLock::new(),
        });
        let (read_half, write_half) = stream.into_split();
        let reading = reader::run(Arc::clone(&connection), read_half, greeted.rest);
        let writing = writer::run(Arc::clone(&connection), write_half);
        let ticking = clock::run(Arc::clone(&connection));
        let tasks = [
            tokio::spawn(reading).abort_handle(),
            tokio::spawn(writing).abort_handle(),
            tokio::spawn(ticking).abort_handle(),
        ];
        // One of them may have closed the connection already; then nobody is left to end them.
        if connection.tasks.set(tasks).is_ok() && connection.is_closed() {
            connection.end_tasks();
        }
        connection
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn hello(&self) -> &HelloAnswer {
        &self.hello
    }

    /// Most requests that it has in flight, the rows of batches each counted as one.
    pub(crate) fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.with(|state| state.closed.is_some())
    }

    /// Ends the connection and every request on it. Only the first reason counts.
    pub(crate) fn close(&self, reason: ConnectError) {
        let mut wakers = Vec::new();
        self.state.with(|state| {
            if state.closed.is_some() {
                return;
            }
            state
                .slots
                .fail_all(state.taken_bytes, &reason, &mut wakers);
            state.outgoing = Vec::new();
            state.closed = Some(reason);
        });
        self.room.close();
        self.has_sent.notify_waiters();
        self.end_tasks();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Runs `work` on what callers and tasks share. It must be short and must not call back.
    pub(crate) fn with_state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        self.state.with(work)
    }

    /// Sends one request and waits for its answer. Dropping the future gives up waiting; the request may
    /// still be carried out.
    pub(crate) async fn call<T>(
        &self,
        namespace: Option<&str>,
        request: &Request<'_>,
        deadline: Instant,
        finish: impl Finish<T>,
    ) -> Result<T, CallError> {
        let kind = request.kind();
        if request.is_write() && self.access == Access::ReadOnly {
            return Err(CallError::ReadOnly);
        }
        let namespace = match namespace {
            Some(name) => Some(self.namespace(name).ok_or(CallError::UnknownNamespace)?),
            None => None,
        };
        // Past the bound the node says so.
        let weight = weight_of(request).min(self.in_flight_max);
        self.wait_for_places(weight, deadline).await?;
        let begun = self.begin(namespace, (request, weight), deadline).await;
        let key = begun.inspect_err(|_| self.room.add_permits(weight as usize))?;
        let waiting = InFlight {
            connection: self,
            key,
            weight,
        };
        let outcome =
            std::future::poll_fn(|context| self.state.with(|state| state.slots.poll(key, context)));
        match outcome.await {
            Ok(()) => waiting.finish(kind, finish),
            Err(Failure::TimedOut) => Err(CallError::TimedOut),
            Err(Failure::Unsent(reason)) => Err(CallError::Unsent(reason)),
            Err(Failure::Lost(reason)) => Err(CallError::Lost(reason)),
        }
    }

    fn namespace(&self, name: &str) -> Option<NamespaceId> {
        let known = &self.hello.namespaces;
        known
            .iter()
            .find(|namespace| namespace.name == name)
            .map(|namespace| namespace.id)
    }

    /// Takes permits of `room`, which the end of the request gives back.
    async fn wait_for_places(&self, weight: u32, deadline: Instant) -> Result<(), CallError> {
        match self.room.try_acquire_many(weight) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(CallError::Unsent(self.reason())),
            Err(TryAcquireError::NoPermits) => {
                match tokio::time::timeout_at(deadline, self.room.acquire_many(weight)).await {
                    Ok(Ok(permit)) => permit.forget(),
                    Ok(Err(_)) => return Err(CallError::Unsent(self.reason())),
                    Err(_) => return Err(CallError::NoRoom),
                }
            }
        }
        Ok(())
    }

    /// Puts the request's frame into the buffer and takes a slot for its answer.
    async fn begin(
        &self,
        namespace: Option<NamespaceId>,
        (request, weight): (&Request<'_>, u32),
        deadline: Instant,
    ) -> Result<SlotKey, CallError> {
        loop {
            // Made before the look, so that no send in between is missed.
            let sent = self.has_sent.notified();
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(CallError::NoRoom);
            }
            let begun = self
                .state
                .with(|state| state.begin(namespace, (request, weight), remaining))?;
            if let Some(begun) = begun {
                if begun.wakes_writer {
                    self.has_outgoing.notify_one();
                }
                if begun.wakes_clock {
                    self.has_requests.notify_one();
                }
                return Ok(begun.key);
            }
            if tokio::time::timeout_at(deadline, sent).await.is_err() {
                return Err(CallError::NoRoom);
            }
        }
    }

    fn reason(&self) -> ConnectError {
        self.state
            .with(|state| state.closed.clone())
            .unwrap_or(ConnectError::Closed)
    }

    fn end_tasks(&self) {
        self.tasks
            .get()
            .into_iter()
            .flatten()
            .for_each(AbortHandle::abort);
    }
}

/// A request that was put into the buffer.
struct Begun {
    key: SlotKey,
    wakes_writer: bool,
    wakes_clock: bool,
}

impl State {
    /// `None` where the buffer is full: large records fill it long before the places are used up.
    fn begin(
        &mut self,
        namespace: Option<NamespaceId>,
        (request, weight): (&Request<'_>, u32),
        remaining: Duration,
    ) -> Result<Option<Begun>, CallError> {
        if let Some(reason) = &self.closed {
            return Err(CallError::Unsent(reason.clone()));
        }
        if self.outgoing.len() >= OUTGOING_LENGTH_BYTES_MAX {
            return Ok(None);
        }
        let frame_start = self.taken_bytes + self.outgoing.len() as u64;
        let key = self.slots.insert(frame_start, ticks(remaining), weight);
        let envelope = RequestEnvelope {
            request_id: key.request_id(),
            namespace,
            deadline_ms: milliseconds(remaining),
        };
        if let Err(error) = self.encoder.request(&mut self.outgoing, &envelope, request) {
            self.slots.withdraw(key);
            return Err(CallError::Invalid(error));
        }
        Ok(Some(Begun {
            key,
            wakes_writer: std::mem::take(&mut self.is_writer_waiting),
            wakes_clock: std::mem::take(&mut self.is_clock_waiting),
        }))
    }
}

/// A slot that its caller waits on. Dropped early, it leaves the slot to the late answer.
struct InFlight<'c> {
    connection: &'c Connection,
    key: SlotKey,
    weight: u32,
}

impl InFlight<'_> {
    fn finish<T>(self, kind: MessageKind, finish: impl Finish<T>) -> Result<T, CallError> {
        let unreadable = |unreadable| Err(CallError::Unreadable(unreadable));
        self.connection.with_state(|state| {
            let Some((header, body)) = state.slots.answered(self.key) else {
                unreachable!("the answer is there until the slot is released")
            };
            if header.kind_number() != kind.number() {
                let (expected, found) = (kind.number(), header.kind_number());
                return unreadable(Unreadable::Kind { expected, found });
            }
            finish(&header, body).or_else(unreadable)
        })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let patience = ticks(UNANSWERED);
        if self
            .connection
            .with_state(|state| state.slots.let_go(self.key, patience))
        {
            self.connection.room.add_permits(self.weight as usize);
        }
    }
}

/// As how many requests the node counts it.
fn weight_of(request: &Request<'_>) -> u32 {
    match request {
        Request::Batch(batch) => u32::try_from(batch.rows.iter().count()).unwrap_or(u32::MAX),
        _ => 1,
    }
}

fn ticks(duration: Duration) -> u64 {
    duration
        .as_millis()
        .div_ceil(TICK.as_millis())
        .try_into()
        .unwrap_or(u64::MAX)
}

/// At least 1, since zero would mean "no deadline".
fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}
