//! Records by key: what most programs use. Hashing a key and encoding bins happen here, on the caller's
//! side; the node sees digests and bytes.

use std::sync::Arc;

use corelith_index::Generation;
use corelith_record::{ContentBuilder, KeyRef};
use corelith_wire::{
    BinNames, BinSelection, Commit, DeleteRequest, GetRequest, PutMode, PutRequest, RecordMetadata,
    TouchRequest, Ttl,
};

use crate::error::Error;
use crate::key::{AsKey, digest_of};
use crate::namespace::Namespace;
use crate::record::Record;
use crate::scan::{Scan, ScanOptions};

/// A set of a namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Set {
    namespace: Namespace,
    name: Arc<str>,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// What to do with the record that is there.
    pub mode: PutMode,
    /// The record's time to live.
    pub ttl: Ttl,
    /// The generation that the record must have; `None` for any.
    pub expected_generation: Option<Generation>,
    /// When the write is to be answered.
    pub commit: Commit,
    /// Keep the key with the record, so that scans and exports can show it. It takes the key's bytes on
    /// the device.
    pub store_key: bool,
}

impl Default for WriteOptions {
    /// Merge into whatever is there, with the namespace's time to live, without the key.
    fn default() -> Self {
        WriteOptions {
            mode: PutMode::Merge,
            ttl: Ttl::NamespaceDefault,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
            store_key: false,
        }
    }
}

impl Set {
    pub(crate) fn new(namespace: Namespace, name: &str) -> Self {
        Set {
            namespace,
            name: name.into(),
        }
    }

    /// Its name; empty for records without a set.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace that it belongs to.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Reads one record with all its bins; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt.
    pub async fn get(&self, key: impl AsKey) -> Result<Option<Record>, Error> {
        self.select(&key.as_key()?, BinSelection::All).await
    }

    /// Reads one record with those of the named bins that it has; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt.
    pub async fn get_bins(&self, key: impl AsKey, bins: &[&str]) -> Result<Option<Record>, Error> {
        self.select(&key.as_key()?, BinSelection::Named(BinNames::new(bins)))
            .await
    }

    /// Reads what is known of one record beside its bins; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt.
    pub async fn get_metadata(&self, key: impl AsKey) -> Result<Option<RecordMetadata>, Error> {
        let record = self
            .select(&key.as_key()?, BinSelection::MetadataOnly)
            .await?;
        Ok(record.map(|record| record.metadata()))
    }

    /// Writes bins into one record, which is created if it is not there; nil removes a bin.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn put(
        &self,
        key: impl AsKey,
        bins: &ContentBuilder,
    ) -> Result<RecordMetadata, Error> {
        self.put_with(key, bins, &WriteOptions::default()).await
    }

    /// As [`Set::put`], in another way.
    ///
    /// ```
    /// # use corelith_client::mock::MockNode;
    /// # use corelith_client::{Client, ClientOptions, ContentBuilder, Error};
    /// use corelith_client::{PutMode, Status, Ttl, WriteOptions};
    ///
    /// # let node = MockNode::start();
    /// # let address = node.address().to_string();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// # let client = Client::connect(&address, ClientOptions::default()).await?;
    /// let seats = client.namespace("test").set("seats");
    /// let once = WriteOptions {
    ///     mode: PutMode::CreateOnly,
    ///     ttl: Ttl::Seconds(600),
    ///     ..WriteOptions::default()
    /// };
    /// seats.put_with("12A", &ContentBuilder::new().bin("by", "anna"), &once).await?;
    ///
    /// let late = seats.put_with("12A", &ContentBuilder::new().bin("by", "ben"), &once).await;
    /// let error = late.expect_err("the seat is taken");
    /// assert_eq!(error.status(), Some(Status::Exists));
    /// assert!(!error.is_in_doubt());
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn put_with(
        &self,
        key: impl AsKey,
        bins: &ContentBuilder,
        options: &WriteOptions,
    ) -> Result<RecordMetadata, Error> {
        let key = key.as_key()?;
        let content = if options.store_key {
            bins.clone().key(key).finish_update()?
        } else {
            bins.finish_update()?
        };
        self.put_content(key, &content, options).await
    }

    /// As [`Set::put_with`], with bins that are encoded already; `store_key` has no say here, the content's
    /// own key does.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn put_content(
        &self,
        key: impl AsKey,
        content: &[u8],
        options: &WriteOptions,
    ) -> Result<RecordMetadata, Error> {
        let request = PutRequest {
            digest: digest_of(&self.name, &key.as_key()?),
            mode: options.mode,
            ttl: options.ttl,
            expected_generation: options.expected_generation,
            commit: options.commit,
            set: &self.name,
            content,
        };
        self.namespace.put(&request).await
    }

    /// Removes one record; returns whether it was there.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn delete(&self, key: impl AsKey) -> Result<bool, Error> {
        self.delete_generation(key, None).await
    }

    /// Removes one record if it has the expected generation; returns whether it was there.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn delete_generation(
        &self,
        key: impl AsKey,
        expected_generation: Option<Generation>,
    ) -> Result<bool, Error> {
        let digest = digest_of(&self.name, &key.as_key()?);
        self.namespace
            .delete(&DeleteRequest {
                digest,
                expected_generation,
                commit: Commit::NamespaceDefault,
            })
            .await
    }

    /// Gives one record another time to live and a new generation; `None` if it is not there.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened.
    pub async fn touch(&self, key: impl AsKey, ttl: Ttl) -> Result<Option<RecordMetadata>, Error> {
        let digest = digest_of(&self.name, &key.as_key()?);
        let request = TouchRequest {
            digest,
            ttl,
            expected_generation: None,
            commit: Commit::NamespaceDefault,
        };
        self.namespace.touch(&request).await
    }

    /// Reads all records of the set, in no particular order.
    #[must_use]
    pub fn scan(&self) -> Scan {
        let options = ScanOptions {
            set: Some(self.name.to_string()),
            ..ScanOptions::default()
        };
        self.namespace.scan(options)
    }

    async fn select(
        &self,
        key: &KeyRef<'_>,
        selection: BinSelection<'_>,
    ) -> Result<Option<Record>, Error> {
        let digest = digest_of(&self.name, key);
        self.namespace.get(&GetRequest { digest, selection }).await
    }
}
