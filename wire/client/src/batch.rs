//! Batches: requests about many records, each with a result of its own. A batch is put together here and
//! handed to a namespace, which splits it by owner.

use std::sync::Arc;

use corelith_index::{Digest, Generation};
use corelith_record::{ContentBuilder, EncodedSteps, KeyRef, StepsBuilder};
use corelith_wire::{
    BinNames, BinSelection, Commit, DeleteRequest, GetRequest, OperateRequest, PutRequest,
    RecordMetadata, Request, TouchRequest, Ttl,
};

use crate::error::Error;
use crate::key::{AsKey, digest_of};
use crate::operated::Operated;
use crate::record::Record;
use crate::set::WriteOptions;

/// Requests about many records of one namespace, in the order in which they were added. There may be any
/// number of them. What is wrong with one, a key that is too long for instance, is its own result.
///
/// ```
/// # use corelith_client::mock::MockNode;
/// # use corelith_client::{Client, ClientOptions, Error};
/// use corelith_client::{BatchBuilder, Batched, ContentBuilder, ValueRef};
///
/// # let node = MockNode::start();
/// # let address = node.address().to_string();
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// # let client = Client::connect(&address, ClientOptions::default()).await?;
/// let bins = ContentBuilder::new().bin("city", "Bern");
/// let batch = BatchBuilder::new("users").put("anna", &bins).get("anna").get("nobody");
///
/// let results = client.namespace("test").batch(&batch).await;
/// assert!(matches!(results[0], Ok(Batched::Written(_))));
/// let anna = results[1].as_ref().map_err(Clone::clone)?.record().expect("it was just written");
/// assert_eq!(anna.get("city"), Some(ValueRef::String("Bern")));
/// assert!(matches!(results[2], Ok(Batched::NotFound)));
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
#[must_use = "a batch does nothing until a namespace carries it out"]
pub struct BatchBuilder {
    set: Arc<str>,
    rows: Vec<Result<Row, Error>>,
}

/// What became of one row of a batch.
#[derive(Clone, Debug)]
pub enum Batched {
    /// A get found the record.
    Record(Record),
    /// A put or a touch was carried out.
    Written(RecordMetadata),
    /// A delete removed the record.
    Deleted,
    /// Steps were carried out.
    Operated(Operated),
    /// There is no record, and for a delete, a touch or an operate nothing was done.
    NotFound,
}

impl Batched {
    /// The record that a get found.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Batched::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The record that a get found, taken out.
    #[must_use]
    pub fn into_record(self) -> Option<Record> {
        match self {
            Batched::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Whether there was a record, or is one now.
    #[must_use]
    pub fn is_found(&self) -> bool {
        !matches!(self, Batched::NotFound)
    }
}

impl BatchBuilder {
    /// An empty batch whose rows are about records of this set; the empty name is for records without one.
    pub fn new(set: &str) -> Self {
        BatchBuilder {
            set: set.into(),
            rows: Vec::new(),
        }
    }

    /// The rows that follow are about records of this set.
    pub fn set(mut self, set: &str) -> Self {
        self.set = set.into();
        self
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Reads a record with all its bins.
    pub fn get(self, key: impl AsKey) -> Self {
        self.select(key, Selection::All)
    }

    /// Reads a record with those of the named bins that it has.
    pub fn get_bins(self, key: impl AsKey, bins: &[&str]) -> Self {
        let names = bins.iter().map(|&name| name.into()).collect();
        self.select(key, Selection::Named(names))
    }

    /// Reads what is known of a record beside its bins, from the node's index alone.
    pub fn get_metadata(self, key: impl AsKey) -> Self {
        self.select(key, Selection::Metadata)
    }

    /// Writes bins into a record, as [`Set::put`](crate::Set::put).
    pub fn put(self, key: impl AsKey, bins: &ContentBuilder) -> Self {
        self.put_with(key, bins, &WriteOptions::default())
    }

    /// As [`BatchBuilder::put`], in another way.
    pub fn put_with(self, key: impl AsKey, bins: &ContentBuilder, options: &WriteOptions) -> Self {
        self.push(key, |key, digest, set| {
            let content = if options.store_key {
                bins.clone().key(*key).finish_update()?
            } else {
                bins.finish_update()?
            };
            let options = *options;
            Ok(Row::Put(Box::new((digest, set, content, options))))
        })
    }

    /// Removes a record.
    pub fn delete(self, key: impl AsKey) -> Self {
        self.delete_with(key, None, Commit::NamespaceDefault)
    }

    /// Removes a record if it has the expected generation; answered when `commit` says.
    pub fn delete_with(
        self,
        key: impl AsKey,
        expected_generation: Option<Generation>,
        commit: Commit,
    ) -> Self {
        self.push(key, |_, digest, _| {
            Ok(Row::Delete(DeleteRequest {
                digest,
                expected_generation,
                commit,
            }))
        })
    }

    /// Gives a record another time to live.
    pub fn touch(self, key: impl AsKey, ttl: Ttl) -> Self {
        self.push(key, |_, digest, _| {
            Ok(Row::Touch(TouchRequest {
                digest,
                ttl,
                expected_generation: None,
                commit: Commit::NamespaceDefault,
            }))
        })
    }

    /// Carries out steps on a record, as [`Set::operate`](crate::Set::operate).
    pub fn operate(self, key: impl AsKey, steps: &StepsBuilder) -> Self {
        self.operate_with(key, steps, &WriteOptions::default())
    }

    /// As [`BatchBuilder::operate`], in another way.
    pub fn operate_with(
        self,
        key: impl AsKey,
        steps: &StepsBuilder,
        options: &WriteOptions,
    ) -> Self {
        self.push(key, |key, digest, set| {
            let steps = if options.store_key {
                steps.clone().key(*key).finish()?
            } else {
                steps.finish()?
            };
            let options = *options;
            Ok(Row::Operate(Box::new((digest, set, steps, options))))
        })
    }

    pub(crate) fn rows(&self) -> &[Result<Row, Error>] {
        &self.rows
    }

    fn select(self, key: impl AsKey, selection: Selection) -> Self {
        self.push(key, |_, digest, _| Ok(Row::Get(digest, selection)))
    }

    fn push(
        mut self,
        key: impl AsKey,
        row: impl FnOnce(&KeyRef<'_>, Digest, Arc<str>) -> Result<Row, Error>,
    ) -> Self {
        let made = match key.as_key() {
            Ok(key) => row(&key, digest_of(&self.set, &key), Arc::clone(&self.set)),
            Err(error) => Err(error.into()),
        };
        self.rows.push(made);
        self
    }
}

/// One row, owned. The larger kinds are boxed: most rows of most batches are gets.
#[derive(Clone, Debug)]
pub(crate) enum Row {
    Get(Digest, Selection),
    Put(Box<(Digest, Arc<str>, Vec<u8>, WriteOptions)>),
    Delete(DeleteRequest),
    Touch(TouchRequest),
    Operate(Box<(Digest, Arc<str>, EncodedSteps, WriteOptions)>),
}

/// What a get reads.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    All,
    Named(Vec<Box<str>>),
    Metadata,
}

impl Row {
    /// Lets `work` see it as the request that it is.
    pub(crate) fn with_request<T>(&self, work: impl FnOnce(&Request<'_>) -> T) -> T {
        match self {
            Row::Get(digest, selection) => {
                let get = |selection| {
                    let digest = *digest;
                    Request::Get(GetRequest { digest, selection })
                };
                match selection {
                    Selection::All => work(&get(BinSelection::All)),
                    Selection::Metadata => work(&get(BinSelection::MetadataOnly)),
                    Selection::Named(names) => {
                        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
                        work(&get(BinSelection::Named(BinNames::new(&names))))
                    }
                }
            }
            Row::Put(put) => {
                let (digest, set, content, options) = &**put;
                work(&Request::Put(PutRequest {
                    digest: *digest,
                    mode: options.mode,
                    ttl: options.ttl,
                    expected_generation: options.expected_generation,
                    commit: options.commit,
                    set,
                    content,
                }))
            }
            Row::Delete(request) => work(&Request::Delete(*request)),
            Row::Touch(request) => work(&Request::Touch(*request)),
            Row::Operate(operate) => {
                let (digest, set, steps, options) = &**operate;
                work(&Request::Operate(OperateRequest {
                    digest: *digest,
                    steps: &steps.codes,
                    mode: options.mode,
                    ttl: options.ttl,
                    expected_generation: options.expected_generation,
                    commit: options.commit,
                    set,
                    arguments: &steps.arguments,
                }))
            }
        }
    }

    pub(crate) fn digest(&self) -> &Digest {
        match self {
            Row::Get(digest, _) => digest,
            Row::Put(put) => &put.0,
            Row::Delete(request) => &request.digest,
            Row::Touch(request) => &request.digest,
            Row::Operate(operate) => &operate.0,
        }
    }

    pub(crate) fn is_write(&self) -> bool {
        match self {
            Row::Get(..) => false,
            Row::Operate(_) => self.with_request(|request| request.is_write()),
            Row::Put(_) | Row::Delete(_) | Row::Touch(_) => true,
        }
    }

    /// Whether an absent record is a result rather than an error, as it is for the same request by itself.
    pub(crate) fn may_be_absent(&self) -> bool {
        !matches!(self, Row::Put(_))
    }

    /// Bytes that it carries, beside header and table.
    pub(crate) fn content_length(&self) -> usize {
        match self {
            Row::Put(put) => put.2.len(),
            Row::Operate(operate) => operate.2.arguments.len() + operate.2.codes.len(),
            Row::Get(_, Selection::Named(names)) => names.iter().map(|name| name.len() + 16).sum(),
            Row::Get(..) | Row::Delete(_) | Row::Touch(_) => 0,
        }
    }
}
