//! The client for plain threads: the same operations, each waiting for its end. A tokio runtime of the
//! client's own runs inside the calls and nowhere else; no thread is started. Calls of several threads at a
//! time are fine and share the connections.
//!
//! Not for use inside async code: the runtime refuses to be entered twice.
//!
//! ```
//! # use corelith_client::mock::MockNode;
//! use corelith_client::{ClientOptions, ContentBuilder, blocking::Client};
//!
//! # let node = MockNode::start();
//! # let address = node.address().to_string();
//! let client = Client::connect(&address, ClientOptions::default())?;
//! let users = client.namespace("test").set("users");
//! users.put("anna", &ContentBuilder::new().bin("city", "Bern"))?;
//! assert!(users.delete("anna")?);
//! assert!(!users.delete("anna")?);
//! # Ok::<(), corelith_client::Error>(())
//! ```

use std::future::Future;
use std::sync::Arc;

use corelith_record::{ContentBuilder, StepsBuilder};
use corelith_wire::{
    DeleteRequest, GetRequest, OperateRequest, PutRequest, RecordMetadata, TouchRequest, Ttl,
};
use tokio::runtime::{Builder, Runtime};

use crate::batch::{BatchBuilder, Batched};
use crate::client::NodeDescription;
use crate::error::{ConnectError, Error};
use crate::key::AsKey;
use crate::operated::Operated;
use crate::options::ClientOptions;
use crate::record::Record;
use crate::scan::{ScanOptions, Scanned};
use crate::set::WriteOptions;

/// A connected client. Cheap to clone; all clones share the same connections.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    runtime: Arc<Runtime>,
}

/// A namespace of a node.
#[derive(Clone, Debug)]
pub struct Namespace {
    namespace: crate::Namespace,
    runtime: Arc<Runtime>,
}

/// A set of a namespace.
#[derive(Clone, Debug)]
pub struct Set {
    set: crate::Set,
    runtime: Arc<Runtime>,
}

/// A scan under way; an iterator over records.
#[derive(Debug)]
pub struct Scan {
    scan: crate::Scan,
    runtime: Arc<Runtime>,
}

impl Client {
    /// As [`crate::Client::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`].
    pub fn connect(address: &str, options: ClientOptions) -> Result<Client, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                let (address, error) = (address.to_owned(), Arc::new(error));
                Error::Disconnected(ConnectError::Resolve { address, error })
            })?;
        let client = run(&runtime, crate::Client::connect(address, options))?;
        Ok(Client {
            client,
            runtime: Arc::new(runtime),
        })
    }

    /// As [`crate::Client::namespace`].
    #[must_use]
    pub fn namespace(&self, name: &str) -> Namespace {
        Namespace {
            namespace: self.client.namespace(name),
            runtime: Arc::clone(&self.runtime),
        }
    }

    /// As [`crate::Client::default_namespace`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn default_namespace(&self) -> Result<Namespace, Error> {
        Ok(Namespace {
            namespace: run(&self.runtime, self.client.default_namespace())?,
            runtime: Arc::clone(&self.runtime),
        })
    }

    /// As [`crate::Client::describe`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn describe(&self) -> Result<NodeDescription, Error> {
        run(&self.runtime, self.client.describe())
    }

    /// As [`crate::Client::ping`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn ping(&self) -> Result<(), Error> {
        run(&self.runtime, self.client.ping())
    }

    /// As [`crate::Client::statistics`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn statistics(&self, prefix: &str) -> Result<String, Error> {
        run(&self.runtime, self.client.statistics(prefix))
    }

    /// As [`crate::Client::close`].
    pub fn close(&self) {
        self.client.close();
    }
}

impl Namespace {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// As [`crate::Namespace::set`].
    #[must_use]
    pub fn set(&self, name: &str) -> Set {
        Set {
            set: self.namespace.set(name),
            runtime: Arc::clone(&self.runtime),
        }
    }

    /// As [`crate::Namespace::get`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn get(&self, request: &GetRequest<'_>) -> Result<Option<Record>, Error> {
        run(&self.runtime, self.namespace.get(request))
    }

    /// As [`crate::Namespace::put`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn put(&self, request: &PutRequest<'_>) -> Result<RecordMetadata, Error> {
        run(&self.runtime, self.namespace.put(request))
    }

    /// As [`crate::Namespace::delete`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn delete(&self, request: &DeleteRequest) -> Result<bool, Error> {
        run(&self.runtime, self.namespace.delete(request))
    }

    /// As [`crate::Namespace::touch`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn touch(&self, request: &TouchRequest) -> Result<Option<RecordMetadata>, Error> {
        run(&self.runtime, self.namespace.touch(request))
    }

    /// As [`crate::Namespace::operate`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn operate(&self, request: &OperateRequest<'_>) -> Result<Option<Operated>, Error> {
        run(&self.runtime, self.namespace.operate(request))
    }

    /// As [`crate::Namespace::batch`].
    #[must_use]
    pub fn batch(&self, batch: &BatchBuilder) -> Vec<Result<Batched, Error>> {
        run(&self.runtime, self.namespace.batch(batch))
    }

    /// As [`crate::Namespace::truncate`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn truncate(&self) -> Result<u16, Error> {
        run(&self.runtime, self.namespace.truncate())
    }

    /// As [`crate::Namespace::scan`].
    #[must_use]
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan {
            scan: self.namespace.scan(options),
            runtime: Arc::clone(&self.runtime),
        }
    }
}

impl Set {
    /// Its name; empty for records without a set.
    #[must_use]
    pub fn name(&self) -> &str {
        self.set.name()
    }

    /// As [`crate::Set::get`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn get(&self, key: impl AsKey) -> Result<Option<Record>, Error> {
        run(&self.runtime, self.set.get(key))
    }

    /// As [`crate::Set::get_many`].
    #[must_use]
    pub fn get_many<K: AsKey>(&self, keys: &[K]) -> Vec<Result<Option<Record>, Error>> {
        run(&self.runtime, self.set.get_many(keys))
    }

    /// As [`crate::Set::get_bins`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn get_bins(&self, key: impl AsKey, bins: &[&str]) -> Result<Option<Record>, Error> {
        run(&self.runtime, self.set.get_bins(key, bins))
    }

    /// As [`crate::Set::get_metadata`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn get_metadata(&self, key: impl AsKey) -> Result<Option<RecordMetadata>, Error> {
        run(&self.runtime, self.set.get_metadata(key))
    }

    /// As [`crate::Set::exists`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn exists(&self, key: impl AsKey) -> Result<bool, Error> {
        run(&self.runtime, self.set.exists(key))
    }

    /// As [`crate::Set::operate`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn operate(
        &self,
        key: impl AsKey,
        steps: &StepsBuilder,
    ) -> Result<Option<Operated>, Error> {
        run(&self.runtime, self.set.operate(key, steps))
    }

    /// As [`crate::Set::operate_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn operate_with(
        &self,
        key: impl AsKey,
        steps: &StepsBuilder,
        options: &WriteOptions,
    ) -> Result<Option<Operated>, Error> {
        run(&self.runtime, self.set.operate_with(key, steps, options))
    }

    /// As [`crate::Set::put`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn put(&self, key: impl AsKey, bins: &ContentBuilder) -> Result<RecordMetadata, Error> {
        run(&self.runtime, self.set.put(key, bins))
    }

    /// As [`crate::Set::put_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn put_with(
        &self,
        key: impl AsKey,
        bins: &ContentBuilder,
        options: &WriteOptions,
    ) -> Result<RecordMetadata, Error> {
        run(&self.runtime, self.set.put_with(key, bins, options))
    }

    /// As [`crate::Set::delete`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn delete(&self, key: impl AsKey) -> Result<bool, Error> {
        run(&self.runtime, self.set.delete(key))
    }

    /// As [`crate::Set::touch`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn touch(&self, key: impl AsKey, ttl: Ttl) -> Result<Option<RecordMetadata>, Error> {
        run(&self.runtime, self.set.touch(key, ttl))
    }

    /// As [`crate::Set::truncate`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn truncate(&self) -> Result<u16, Error> {
        run(&self.runtime, self.set.truncate())
    }

    /// As [`crate::Set::scan`].
    #[must_use]
    pub fn scan(&self) -> Scan {
        Scan {
            scan: self.set.scan(),
            runtime: Arc::clone(&self.runtime),
        }
    }
}

impl Iterator for Scan {
    type Item = Result<Scanned, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        run(&self.runtime, self.scan.next()).transpose()
    }
}

/// Runs one operation. Between two of them nobody looks at the sockets, so what has happened since is
/// noticed first: a write on a connection that the node has closed meanwhile would else be in doubt for
/// nothing. The first pause asks the system, the second lets the readers act on its answer.
fn run<T>(runtime: &Runtime, operation: impl Future<Output = T>) -> T {
    runtime.block_on(async {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        operation.await
    })
}
