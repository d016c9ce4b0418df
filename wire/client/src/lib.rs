//! The Rust client of Corelith.
//!
//! [`Client`] is for programs on tokio, of one thread or many; [`blocking::Client`] for plain threads. Both
//! keep one connection to each core of the node, send every request to the core that owns the record, and
//! keep many requests in flight on each connection. Small requests that are made at about the same time
//! share one send.
//!
//! ```no_run
//! use corelith_client::{Client, ClientOptions, ContentBuilder};
//!
//! # async fn example() -> Result<(), corelith_client::Error> {
//! let client = Client::connect("127.0.0.1:4100", ClientOptions::default()).await?;
//! let flights = client.namespace("test").set("flights");
//! flights.put("UA-1545", &ContentBuilder::new().bin("origin", "EWR").bin("delay", 2)).await?;
//! if let Some(record) = flights.get("UA-1545").await? {
//!     println!("{:?}, written {:?}", record.content(), record.updated_at());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Did it happen?
//!
//! After every error but one nothing was changed. [`Error::InDoubt`] says that a write was sent and its
//! outcome is unknown; read the record before you write again, or write so that twice is harmless (a put
//! with an expected generation, for example). The client tries again by itself only where nothing can have
//! been changed.
//!
//! # Invariants
//!
//! - No `unsafe`; nothing that a node sends panics. Bounds are in [`limits`].
//! - No request has a task, a timer or a channel of its own, and ones of ordinary size allocate nothing on
//!   the way out.
//! - Dropping a future gives up waiting, never the connection; the request may still be carried out.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod batch;
pub mod blocking;
mod client;
mod clock;
mod connection;
mod error;
mod handshake;
mod key;
pub mod limits;
mod link;
mod lock;
pub mod mock;
mod namespace;
mod operated;
mod options;
mod reader;
mod record;
mod routes;
mod scan;
mod set;
mod slots;
mod writer;

pub use batch::{BatchBuilder, Batched};
pub use client::{Client, NodeDescription};
pub use error::{ConnectError, Doubt, Error, Refused, Unreadable};
pub use key::{AsKey, digest_of};
pub use namespace::Namespace;
pub use operated::Operated;
pub use options::ClientOptions;
pub use record::Record;
pub use scan::{DamagedRecord, PartitionPage, Scan, ScanBins, ScanOptions, Scanned, ScannedRecord};
pub use set::{Set, WriteOptions};

// What appears in this crate's own signatures.
pub use corelith_index::{Digest, ExpirySeconds, Generation, KnownDigest, PartitionId};
pub use corelith_record::{
    Bin, BinsIter, Content, ContentBuilder, EncodedSteps, Key, KeyRef, StepsBuilder, Value,
    ValueRef,
};
pub use corelith_wire::{
    BinNames, BinSelection, Commit, Damage, DeleteRequest, GetRequest, LastUpdateMs,
    OperateRequest, PutMode, PutRequest, RecordMetadata, Status, TouchRequest, Ttl,
};
