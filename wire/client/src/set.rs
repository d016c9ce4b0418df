//! Records by key: what most programs use. Hashing a key and encoding bins happen here, on the caller's
//! side; the node sees digests and bytes.

use std::sync::Arc;

use corelith_index::Generation;
use corelith_record::{ContentBuilder, KeyRef, StepsBuilder};
use corelith_wire::{
    BinNames, BinSelection, Commit, DeleteRequest, GetRequest, OperateRequest, PutMode, PutRequest,
    RecordMetadata, TouchRequest, TruncateTarget, Ttl,
};

use crate::batch::{BatchBuilder, Batched};
use crate::error::Error;
use crate::key::{AsKey, digest_of};
use crate::namespace::Namespace;
use crate::operated::Operated;
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

    /// Whether a record is there. The node looks into its index alone.
    ///
    /// # Errors
    ///
    /// Any [`Error`] but doubt.
    pub async fn exists(&self, key: impl AsKey) -> Result<bool, Error> {
        Ok(self.get_metadata(key).await?.is_some())
    }

    /// Reads many records with all their bins; the results stand in the order of the keys, `None` for a record
    /// that is not there. Other requests about many records are put together with a [`BatchBuilder`].
    pub async fn get_many<K: AsKey>(&self, keys: &[K]) -> Vec<Result<Option<Record>, Error>> {
        let mut batch = BatchBuilder::new(&self.name);
        for key in keys {
            batch = batch.get(key);
        }
        let results = self.namespace.batch(&batch).await;
        let records = results.into_iter();
        records
            .map(|result| result.map(Batched::into_record))
            .collect()
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

    /// Carries out steps on one record as one: nobody sees or changes it in between, each step sees what those
    /// before it did, and all are done or none. A record that is not there is created by steps that write;
    /// `None` if it is not there and they do not make it.
    ///
    /// ```
    /// # use corelith_client::mock::MockNode;
    /// # use corelith_client::{Client, ClientOptions, Error};
    /// use corelith_client::{Status, StepsBuilder, ValueRef};
    ///
    /// # let node = MockNode::start();
    /// # let address = node.address().to_string();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    /// # runtime.block_on(async {
    /// # let client = Client::connect(&address, ClientOptions::default()).await?;
    /// let pages = client.namespace("test").set("pages");
    /// let visit = StepsBuilder::new().add("visits", 1).append("log", "anna;").read("visits");
    /// pages.operate("home", &visit).await?;
    /// let seen = pages.operate("home", &visit).await?.expect("the steps make the record");
    /// assert_eq!(seen.get("visits"), Some(ValueRef::Integer(2)));
    ///
    /// // A step that does not fit its bin changes nothing, those before it included.
    /// let wrong = StepsBuilder::new().add("visits", 1).add("log", 1);
    /// let error = pages.operate("home", &wrong).await.expect_err("log holds a text");
    /// assert_eq!(error.status(), Some(Status::WrongKind));
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened, and never of steps that only
    /// read.
    pub async fn operate(
        &self,
        key: impl AsKey,
        steps: &StepsBuilder,
    ) -> Result<Option<Operated>, Error> {
        self.operate_with(key, steps, &WriteOptions::default())
            .await
    }

    /// As [`Set::operate`], in another way. With a mode that replaces, the steps begin with no bins.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; only [`Error::InDoubt`] leaves open whether it happened, and never of steps that only
    /// read.
    pub async fn operate_with(
        &self,
        key: impl AsKey,
        steps: &StepsBuilder,
        options: &WriteOptions,
    ) -> Result<Option<Operated>, Error> {
        let key = key.as_key()?;
        let encoded = if options.store_key {
            steps.clone().key(key).finish()?
        } else {
            steps.finish()?
        };
        let request = OperateRequest {
            digest: digest_of(&self.name, &key),
            steps: &encoded.codes,
            mode: options.mode,
            ttl: options.ttl,
            expected_generation: options.expected_generation,
            commit: options.commit,
            set: &self.name,
            arguments: &encoded.arguments,
        };
        self.namespace.operate(&request).await
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

    /// Deletes every record of the set that was written before. Returns how many shards have, which is all. A
    /// set that has no records is fine; records without a set can only be deleted with all others, by
    /// [`Namespace::truncate`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Invalid`] if this set has no name.
    pub async fn truncate(&self) -> Result<u16, Error> {
        let target = TruncateTarget::Set(&self.name);
        self.namespace.truncate_target(target).await
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
