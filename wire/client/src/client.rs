//! The client: the node's map, the ways to its ports, and the rules by which an operation is tried again.
//! Cheap to clone; all clones share the same connections, which end with the last of them.

mod batch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use corelith_index::PartitionId;
use corelith_wire::{
    Answer, FrameHeader, HelloAnswer, MessageKind, Request, StatisticsRequest, Status,
    TopologyAnswer,
};
use tokio::time::Instant;

use crate::connection::{CallError, Connection, Finish};
use crate::error::{ConnectError, Doubt, Error, Refused, Unreadable};
use crate::link::Link;
use crate::lock::Lock;
use crate::namespace::Namespace;
use crate::options::ClientOptions;
use crate::routes::Routes;

/// A connected client.
///
/// ```
/// # use corelith_client::mock::MockNode;
/// use corelith_client::{Client, ClientOptions, ContentBuilder, Error, ValueRef};
///
/// # let node = MockNode::start();
/// # let address = node.address().to_string();
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let client = Client::connect(&address, ClientOptions::default()).await?;
/// let users = client.namespace("test").set("users");
///
/// users.put("anna", &ContentBuilder::new().bin("city", "Bern").bin("visits", 1)).await?;
/// let record = users.get("anna").await?.expect("it was just written");
/// assert_eq!(record.get("city"), Some(ValueRef::String("Bern")));
/// assert!(users.get("nobody").await?.is_none());
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Arc<ClientOptions>,
    /// The way that always works: the port given to [`Client::connect`].
    shared: Link,
    routes: Lock<Arc<Routes>>,
    /// Held while a new map is fetched, so that only one caller does.
    renewing: tokio::sync::Mutex<()>,
    is_closed: AtomicBool,
    /// Counts requests, where some are to cross from core to core.
    crossing: AtomicU32,
}

/// The namespace that is meant on a node with several, when none is named.
const NAMESPACE_DEFAULT: &str = "test";

/// The answer to a hello of the node, for people and for tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDescription {
    /// What the node calls itself, with its release.
    pub server_name: String,
    /// The node's identity, the same over restarts.
    pub node_id: u64,
    /// The names of its namespaces.
    pub namespaces: Vec<String>,
    /// Longest content of a record, in bytes.
    pub record_length_bytes_max: u32,
}

impl Client {
    /// Connects to a node's shared port ("host:port"), says hello and fetches the map. Connections to the
    /// cores' own ports are made when they are first needed.
    ///
    /// Must run inside a tokio runtime with I/O and time enabled; the connections live in it. Programs
    /// without one use [`blocking::Client`](crate::blocking::Client).
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the node cannot be reached, is no Corelith node, or is too old or too new.
    pub async fn connect(address: &str, options: ClientOptions) -> Result<Client, Error> {
        let options = Arc::new(options);
        let deadline = Instant::now() + options.connect_timeout;
        let mut last = None;
        for address in resolve(address).await.map_err(Error::Disconnected)? {
            let shared = Link::new(address, Arc::clone(&options));
            match shared.connection(deadline).await {
                Ok(connection) => {
                    let map = fetch_map(&connection, deadline).await?;
                    let routes = Routes::new(map, address, &options, None);
                    let inner = Inner {
                        options,
                        shared,
                        routes: Lock::new(Arc::new(routes)),
                        renewing: tokio::sync::Mutex::new(()),
                        is_closed: AtomicBool::new(false),
                        crossing: AtomicU32::new(0),
                    };
                    return Ok(Client {
                        inner: Arc::new(inner),
                    });
                }
                Err(down) => last = Some(down.error),
            }
        }
        Err(Error::Disconnected(last.unwrap_or(ConnectError::Closed)))
    }

    /// A namespace of the node. Nothing is sent; an unknown name shows with the first operation.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace::new(self.clone(), name)
    }

    /// The namespace that is meant when none is named: the node's only one, or else "test".
    ///
    /// # Errors
    ///
    /// As [`Client::describe`].
    pub async fn default_namespace(&self) -> Result<Namespace, Error> {
        let namespaces = self.describe().await?.namespaces;
        let name = match namespaces.as_slice() {
            [only] => only.as_str(),
            _ => NAMESPACE_DEFAULT,
        };
        Ok(self.namespace(name))
    }

    /// How this client was asked to behave.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// What the node said of itself when the shared connection was made, which happens again if it is lost.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] or [`Error::TimedOut`].
    pub async fn describe(&self) -> Result<NodeDescription, Error> {
        let deadline = self.deadline();
        let connection = self.shared(deadline).await.map_err(Error::Disconnected)?;
        Ok(NodeDescription::from(connection.hello()))
    }

    /// Asks the node for a sign of life.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`], [`Error::TimedOut`] or a refusal.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call(None, &Request::Ping, |header, body| {
            decode(header, body, |answer| match answer {
                Answer::Pong { .. } => Some(()),
                _ => None,
            })
        })
        .await
    }

    /// The node's counters whose names begin with `prefix` (empty for all), in the Prometheus text form: those of
    /// every core and shard, by the labels `core` and `shard`. Their sum is the node's figure.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`], [`Error::TimedOut`] or a refusal.
    pub async fn statistics(&self, prefix: &str) -> Result<String, Error> {
        let request = Request::Statistics(StatisticsRequest { prefix });
        self.call(None, &request, |header, body| {
            decode(header, body, |answer| match answer {
                Answer::Statistics(text) => Some(text.to_owned()),
                _ => None,
            })
        })
        .await
    }

    /// Ends all connections. Writes in flight are in doubt, later operations fail with [`Error::Closed`].
    pub fn close(&self) {
        self.inner.is_closed.store(true, Ordering::Release);
        self.inner.shared.close();
        self.inner.routes.with(|routes| Arc::clone(routes)).close();
    }

    /// Carries out one operation: finds the owner's connection, sends, waits, and tries again where nothing
    /// can have been changed and there is time.
    pub(crate) async fn call<T>(
        &self,
        namespace: Option<&str>,
        request: &Request<'_>,
        finish: impl Finish<Result<T, Refused>>,
    ) -> Result<T, Error> {
        let deadline = self.deadline();
        let is_write = request.is_write();
        let mut doubt = None;
        let mut retry_count = 0;
        loop {
            if self.inner.is_closed.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let error = match self.try_once(namespace, request, deadline, &finish).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let may_have_happened = is_write && error.is_doubt();
            let step = error.next_step(may_have_happened, self.inner.options.retry_in_doubt);
            let error = error.into_error(namespace, is_write);
            // Once a try is in doubt, no refusal of a later one settles it.
            if may_have_happened && doubt.is_none() {
                doubt = Some(error.clone());
            }
            let error = doubt.clone().unwrap_or(error);
            let pause = match step {
                Step::GiveUp => return Err(error),
                Step::RenewMap => {
                    // A map that cannot be had is no reason not to try once more.
                    drop(self.renew(deadline).await);
                    Duration::ZERO
                }
                Step::Pause(pause) => pause,
            };
            let resumes = Instant::now() + pause;
            if retry_count == self.inner.options.retry_count_max || resumes >= deadline {
                return Err(error);
            }
            retry_count += 1;
            if !pause.is_zero() {
                tokio::time::sleep_until(resumes).await;
            }
        }
    }

    /// The present map.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.inner.routes.with(|routes| Arc::clone(routes))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.inner.options.timeout
    }

    async fn try_once<T>(
        &self,
        namespace: Option<&str>,
        request: &Request<'_>,
        deadline: Instant,
        finish: &impl Finish<Result<T, Refused>>,
    ) -> Result<T, Failed> {
        let partition = request.partition();
        let connection = self.connection(namespace, partition, deadline).await?;
        match connection.call(namespace, request, deadline, finish).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(refused)) => Err(Failed::Refused(refused)),
            Err(error) => Err(Failed::Call(error)),
        }
    }

    /// A connection to the owner, or to the shared port where the owner has no port or cannot be reached.
    async fn connection(
        &self,
        namespace: Option<&str>,
        partition: Option<PartitionId>,
        deadline: Instant,
    ) -> Result<Arc<Connection>, Failed> {
        let owner = match (namespace, partition) {
            (Some(namespace), Some(partition)) => {
                let routes = self.routes();
                let another = self.crosses().then(|| routes.another(namespace, partition));
                let another = another.flatten();
                another
                    .or_else(|| routes.owner(namespace, partition))
                    .cloned()
            }
            _ => None,
        };
        if let Some(link) = &owner {
            if let Some(connection) = link.present() {
                return Ok(connection);
            }
            // A pause after a failure is not waited for: there is another way.
            if let Ok(connection) = link.connection(Instant::now()).await {
                self.check_map(connection.hello(), deadline).await;
                return Ok(connection);
            }
        }
        if let Some(connection) = self.inner.shared.present() {
            return Ok(connection);
        }
        let connection = self.shared(deadline).await.map_err(Failed::Connect)?;
        self.check_map(connection.hello(), deadline).await;
        Ok(connection)
    }

    /// Whether the next request is one of those that go to a core that does not own the record.
    fn crosses(&self) -> bool {
        let percent = u32::from(self.inner.options.crossing_percent);
        // Spread evenly: in a hundred requests, each time that the sum passes another hundred.
        let number = || self.inner.crossing.fetch_add(1, Ordering::Relaxed) % 100;
        percent > 0 && number() * percent % 100 < percent
    }

    /// The shared port's connection, waited for as long as tries are allowed and the deadline is far.
    async fn shared(&self, deadline: Instant) -> Result<Arc<Connection>, ConnectError> {
        if self.inner.options.retry_count_max == 0 {
            return self
                .inner
                .shared
                .connection(deadline)
                .await
                .map_err(|down| down.error);
        }
        self.inner.shared.connection_at_last(deadline).await
    }

    /// A new connection's hello shows whether the map has changed, as after a restart on other cores.
    async fn check_map(&self, hello: &HelloAnswer, deadline: Instant) {
        let routes = self.routes();
        if (hello.node_id, hello.map_generation) != (routes.node_id, routes.map_generation) {
            drop(self.renew(deadline).await);
        }
    }

    /// Fetches the map again, unless somebody else just did.
    async fn renew(&self, deadline: Instant) -> Result<(), Error> {
        let before = self.routes();
        let Ok(_alone) = tokio::time::timeout_at(deadline, self.inner.renewing.lock()).await else {
            return Err(Error::TimedOut);
        };
        if !Arc::ptr_eq(&before, &self.routes()) {
            return Ok(());
        }
        let connection = self.shared(deadline).await.map_err(Error::Disconnected)?;
        let map = fetch_map(&connection, deadline).await?;
        let routes = Routes::new(
            map,
            self.inner.shared.address(),
            &self.inner.options,
            Some(before.as_ref()),
        );
        self.inner
            .routes
            .with(|present| *present = Arc::new(routes));
        Ok(())
    }
}

impl From<&HelloAnswer> for NodeDescription {
    fn from(hello: &HelloAnswer) -> Self {
        NodeDescription {
            server_name: hello.server_name.clone(),
            node_id: hello.node_id,
            namespaces: hello
                .namespaces
                .iter()
                .map(|namespace| namespace.name.clone())
                .collect(),
            record_length_bytes_max: hello.record_length_bytes_max,
        }
    }
}

/// Reads an answer; `take` says what of it is wanted, `None` if it is not what was asked for.
pub(crate) fn decode<T>(
    header: &FrameHeader,
    body: &[u8],
    take: impl FnOnce(Answer<'_>) -> Option<T>,
) -> Result<Result<T, Refused>, Unreadable> {
    match Answer::decode(header, body)? {
        Answer::Refused { refusal, .. } => Ok(Err(Refused::from(&refusal))),
        answer => {
            let found = answer.kind_number();
            // The kinds were compared before; only a fault of ours leads here.
            take(answer).map(Ok).ok_or(Unreadable::Kind {
                expected: found,
                found,
            })
        }
    }
}

/// Why one try failed.
#[derive(Clone, Debug)]
enum Failed {
    Connect(ConnectError),
    Call(CallError),
    Refused(Refused),
}

enum Step {
    GiveUp,
    RenewMap,
    Pause(Duration),
}

impl Failed {
    /// True if the request may have been carried out all the same.
    fn is_doubt(&self) -> bool {
        match self {
            Failed::Call(CallError::TimedOut | CallError::Lost(_) | CallError::Unreadable(_)) => {
                true
            }
            Failed::Refused(refused) => !refused.status.leaves_unchanged(),
            Failed::Connect(_) | Failed::Call(_) => false,
        }
    }

    /// What to do about it.
    fn next_step(&self, may_have_happened: bool, retry_in_doubt: bool) -> Step {
        match self {
            _ if may_have_happened && !retry_in_doubt => Step::GiveUp,
            Failed::Call(CallError::Unsent(_) | CallError::Lost(_)) => Step::Pause(Duration::ZERO),
            // Connecting was tried for as long as there was time.
            Failed::Connect(_) | Failed::Call(_) => Step::GiveUp,
            Failed::Refused(refused) => match refused.status {
                Status::NotOwner => Step::RenewMap,
                Status::Busy | Status::KeyBusy | Status::NotReady | Status::Stopping => {
                    Step::Pause(Duration::from_millis(u64::from(
                        refused.retry_after_ms.max(1),
                    )))
                }
                _ if may_have_happened => Step::Pause(Duration::from_millis(u64::from(
                    refused.retry_after_ms.max(1),
                ))),
                _ => Step::GiveUp,
            },
        }
    }

    fn into_error(self, namespace: Option<&str>, is_write: bool) -> Error {
        match self {
            Failed::Connect(error) | Failed::Call(CallError::Unsent(error)) => {
                Error::Disconnected(error)
            }
            Failed::Call(CallError::NoRoom) => Error::TimedOut,
            Failed::Call(CallError::TimedOut) if is_write => Error::InDoubt(Doubt::TimedOut),
            Failed::Call(CallError::TimedOut) => Error::TimedOut,
            Failed::Call(CallError::Lost(error)) if is_write => {
                Error::InDoubt(Doubt::Disconnected(error))
            }
            Failed::Call(CallError::Lost(error)) => Error::Disconnected(error),
            Failed::Call(CallError::Unreadable(error)) if is_write => {
                Error::InDoubt(Doubt::Unreadable(error))
            }
            Failed::Call(CallError::Unreadable(error)) => Error::Unreadable(error),
            Failed::Call(CallError::Invalid(error)) => Error::Invalid(error),
            Failed::Call(CallError::UnknownNamespace) => Error::UnknownNamespace {
                name: namespace.unwrap_or_default().to_owned(),
            },
            Failed::Call(CallError::ReadOnly) => Error::ReadOnly,
            Failed::Refused(refused) if is_write && !refused.status.leaves_unchanged() => {
                Error::InDoubt(Doubt::Node(refused))
            }
            Failed::Refused(refused) => Error::Refused(refused),
        }
    }
}

async fn resolve(address: &str) -> Result<Vec<SocketAddr>, ConnectError> {
    match tokio::net::lookup_host(address).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => Err(ConnectError::Resolve {
            address: address.to_owned(),
            error: Arc::new(error),
        }),
    }
}

async fn fetch_map(connection: &Connection, deadline: Instant) -> Result<TopologyAnswer, Error> {
    let answer = connection
        .call(
            None,
            &Request::Topology,
            deadline,
            |header: &FrameHeader, body: &mut Vec<u8>| {
                decode(header, body, |answer| match answer {
                    Answer::Topology(map) => Some(*map),
                    _ => None,
                })
            },
        )
        .await;
    let is_write = MessageKind::Topology.is_write();
    match answer {
        Ok(Ok(map)) => Ok(map),
        Ok(Err(refused)) => Err(Error::Refused(refused)),
        Err(error) => Err(Failed::Call(error).into_error(None, is_write)),
    }
}
