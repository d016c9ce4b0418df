//! What a program may choose about its client. Plain values; nothing is checked before it is used.

use std::time::Duration;

/// How a client behaves. Every field has a default that suits a service.
///
/// ```
/// use corelith_client::ClientOptions;
/// use std::time::Duration;
///
/// let options = ClientOptions { timeout: Duration::from_millis(200), ..ClientOptions::default() };
/// assert!(options.shard_aware);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long one operation may take, all its tries together. Rounded up to [`TICK`](crate::limits::TICK)s.
    pub timeout: Duration,
    /// How long a new connection may take until the node's hello is there. An operation that has to wait
    /// for one may take so much longer than its timeout.
    pub connect_timeout: Duration,
    /// How often an operation is tried again after something that certainly changed nothing: a busy node,
    /// a connection that broke before the request was sent, a lost answer to a read. Never after doubt. A
    /// node that cannot be reached is tried for as long as there is time; with 0, once.
    pub retry_count_max: u32,
    /// Try a write again although an earlier try of it may have happened, so that it may be applied twice. For
    /// writes that come to the same thing then: replacing puts, deletes, touches. If no try ends well,
    /// the error still says that the write is in doubt.
    pub retry_in_doubt: bool,
    /// Pause after the first failed connection; doubled with each further one.
    pub backoff_min: Duration,
    /// Longest pause between two attempts to connect.
    pub backoff_max: Duration,
    /// Most requests in flight on one connection; the node's own bound holds if it is lower.
    pub in_flight_max: u32,
    /// Speak to the core that owns the record, each on its own port, as far as they can be reached. Without
    /// it everything goes through the one connection to the address given.
    pub shard_aware: bool,
    /// Of a hundred requests, so many go to a core that does not own the record, which hands them over inside the
    /// node. Nobody wants that but who measures what it costs; needs `shard_aware`.
    pub crossing_percent: u8,
    /// What the client calls itself in the node's logs.
    pub name: String,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            retry_count_max: 3,
            retry_in_doubt: false,
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_secs(1),
            in_flight_max: 1024,
            shard_aware: true,
            crossing_percent: 0,
            name: concat!("corelith-client ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}
