//! The load: workers that put, delete and read keys of their own, one request at a time each, and note what was acknowledged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corelith_client::{Client, ClientOptions, Error, Set, Status};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Failure;
use crate::machine::ADDRESS;
use crate::oracle::{Held, Oracle, content, stamp_of};

/// Workers, each with a request in flight.
const WORKERS: usize = 24;
/// Keys of each: so few that most writes overwrite, and so many that reclaim has something to move.
const KEYS_PER_WORKER: usize = 16;
/// All keys.
pub(super) const KEYS: usize = WORKERS * KEYS_PER_WORKER;

/// The set of all records.
const SET: &str = "rig";

/// What a run has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Puts and deletes that were acknowledged.
    pub(super) acknowledged: u64,
    /// Deletes among them that removed something.
    pub(super) deleted: u64,
    /// Reads while the load ran, each as it had to be.
    pub(super) read: u64,
    /// Keys that were compared after a start.
    pub(super) compared: u64,
}

/// What all workers share.
pub(super) struct Load {
    pub(super) oracle: RefCell<Oracle>,
    counts: Cell<Counts>,
    /// The drive has no power, so that errors are no fault of the node.
    is_cut: Cell<bool>,
    failure: RefCell<Option<String>>,
}

/// Whether a worker goes on.
enum Then {
    Next,
    Stop,
}

/// A client that gives up late: what is slow here is the machine.
pub(super) async fn connect(address: &str) -> Result<Client, Failure> {
    let options = ClientOptions {
        timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(30),
        ..ClientOptions::default()
    };
    let connected = Client::connect(address, options).await;
    connected.map_err(|error| Failure::Node(format!("no connection: {error}")))
}

/// The set that the load writes.
pub(super) async fn set_of(client: &Client) -> Result<Set, Failure> {
    let namespace = client.default_namespace().await;
    let namespace = namespace.map_err(|error| Failure::Node(error.to_string()))?;
    Ok(namespace.set(SET))
}

impl Load {
    pub(super) fn new(oracle: Oracle) -> Self {
        Self {
            oracle: RefCell::new(oracle),
            counts: Cell::default(),
            is_cut: Cell::new(false),
            failure: RefCell::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// Says whether the drive has power.
    pub(super) fn set_cut(&self, is_cut: bool) {
        self.is_cut.set(is_cut);
    }

    /// What went wrong while the load ran, if something did.
    pub(super) fn take_failure(&self) -> Result<(), Failure> {
        match self.failure.borrow_mut().take() {
            Some(text) => Err(Failure::Node(text)),
            None => Ok(()),
        }
    }

    /// Starts the workers. They run until they meet an error or are aborted; whatever was unanswered then is in doubt.
    pub(super) fn spawn(self: &Rc<Self>, set: &Set, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let workers = 0..WORKERS;
        let spawned = workers.map(|worker| {
            let (load, set) = (Rc::clone(self), set.clone());
            let random = ChaCha8Rng::seed_from_u64(seed ^ (worker as u64) << 48);
            tokio::task::spawn_local(async move { load.work(&set, worker, random).await })
        });
        spawned.collect()
    }

    async fn work(&self, set: &Set, worker: usize, mut random: ChaCha8Rng) {
        loop {
            let key = worker + WORKERS * random.random_range(0..KEYS_PER_WORKER);
            let done = match random.random_range(0..100) {
                0..70 => self.put(set, key).await,
                70..85 => self.delete(set, key).await,
                _ => self.get(set, key).await,
            };
            match done {
                Ok(Then::Next) => {}
                Ok(Then::Stop) => return,
                Err(text) => {
                    self.failure.borrow_mut().get_or_insert(text);
                    return;
                }
            }
        }
    }

    async fn put(&self, set: &Set, key: usize) -> Result<Then, String> {
        let stamp = self.oracle.borrow_mut().next_stamp();
        let held = Some(stamp);
        self.oracle.borrow_mut().doubt(key, held);
        match set.put(key as i64, &content(key, stamp)).await {
            Ok(_) => Ok(self.acknowledge(key, held)),
            Err(error) => self.failed(key, held, &error),
        }
    }

    async fn delete(&self, set: &Set, key: usize) -> Result<Then, String> {
        let before = self.oracle.borrow().certain(key).flatten();
        self.oracle.borrow_mut().doubt(key, None);
        match set.delete(key as i64).await {
            Ok(was_there) if was_there == before.is_some() => {
                self.count(|counts| counts.deleted += u64::from(was_there));
                Ok(self.acknowledge(key, None))
            }
            Ok(was_there) => Err(format!(
                "a delete of key {key} found it there: {was_there}, but it held {before:?}"
            )),
            Err(error) => self.failed(key, None, &error),
        }
    }

    async fn get(&self, set: &Set, key: usize) -> Result<Then, String> {
        let record = match set.get(key as i64).await {
            Ok(record) => record,
            Err(error) => return self.excused(&error),
        };
        let found = record.map(|record| stamp_of(key, &record)).transpose()?;
        self.oracle.borrow_mut().settle(key, found)?;
        self.count(|counts| counts.read += 1);
        Ok(Then::Next)
    }

    fn acknowledge(&self, key: usize, held: Held) -> Then {
        self.oracle.borrow_mut().acknowledge(key, held);
        self.count(|counts| counts.acknowledged += 1);
        Then::Next
    }

    /// A write was not acknowledged: it may have happened, or the node says that nothing was changed and is held to it.
    fn failed(&self, key: usize, held: Held, error: &Error) -> Result<Then, String> {
        if !error.is_in_doubt() {
            self.oracle.borrow_mut().retract(key, held);
        }
        self.excused(error)
    }

    /// Errors are right without power. With it the node may be busy and nothing else.
    fn excused(&self, error: &Error) -> Result<Then, String> {
        if self.is_cut.get() {
            return Ok(Then::Stop);
        }
        match error.status() {
            Some(Status::Busy | Status::KeyBusy) => Ok(Then::Next),
            _ => Err(format!("an error with a healthy drive: {error}")),
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Reads every key and compares it with what may be there, then counts by a scan what is there at all.
    pub(super) async fn compare(self: &Rc<Self>, set: &Set) -> Result<(), Failure> {
        let key_count = self.oracle.borrow().key_count();
        let next = Rc::new(Cell::new(0));
        let readers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (load, set, next) = (Rc::clone(self), set.clone(), Rc::clone(&next));
                tokio::task::spawn_local(async move {
                    while next.get() < key_count {
                        let key = next.replace(next.get() + 1);
                        load.compare_one(&set, key).await?;
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        for reader in readers {
            let compared = reader
                .await
                .map_err(|error| Failure::Rig(error.to_string()))?;
            compared.map_err(Failure::Node)?;
        }
        let mut scan = set.scan();
        let mut found = 0;
        let failed = |error: Error| Failure::Node(format!("a scan failed: {error}"));
        while let Some(scanned) = scan.next().await.map_err(failed)? {
            let readable = scanned.readable();
            readable.map_err(|damaged| Failure::Node(damaged.to_string()))?;
            found += 1;
        }
        let held = self.oracle.borrow().held_count();
        if found != held {
            let text = format!("a scan found {found} records where reads found {held}");
            return Err(Failure::Node(text));
        }
        Ok(())
    }

    async fn compare_one(&self, set: &Set, key: usize) -> Result<(), String> {
        let record = set.get(key as i64).await;
        let record = record.map_err(|error| format!("key {key} cannot be read: {error}"))?;
        let found = record.map(|record| stamp_of(key, &record)).transpose()?;
        self.oracle.borrow_mut().settle(key, found)?;
        self.count(|counts| counts.compared += 1);
        Ok(())
    }
}

/// Runs one piece of work with a client on this thread.
pub(super) fn with_client<T>(
    work: impl AsyncFnOnce(Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    with_client_of(ADDRESS, work)
}

/// The same with a node at another address.
pub(super) fn with_client_of<T>(
    address: &str,
    work: impl AsyncFnOnce(Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let client = connect(address).await?;
        let done = work(client.clone()).await;
        client.close();
        done
    })
}
