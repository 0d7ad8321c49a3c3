//! A cluster in memory: a store of leases and journals, and processes that share its runs. Its time is the runtime's,
//! which tests move by hand.

use super::fenced_journal::{FenceCounters, FencedJournal};
use super::holdings::Holdings;
use super::shard_loop::{RunsOfShards, ShardLoop};
use super::sharded_leases::ShardedLeases;
use super::taking_up::TakingUp;
use super::terms::Terms;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{
    Directory, DirectoryError, Journal, JournalError, Lease, LeaseError, Leases, Shard, Shards, ShardsError, shard_of,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub const LEASE: Duration = Duration::from_secs(3);
pub const SHARDS: Shard = 16;
/// What a message to the store and its answer take each.
const WAY: Duration = Duration::from_millis(3);

/// The store that all processes reach.
#[derive(Debug, Default)]
pub struct Store {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leases: BTreeMap<String, Held>,
    epoch: u64,
    journals: BTreeMap<RunId, Vec<Bytes>>,
    tables: BTreeMap<(String, String), Bytes>,
}

#[derive(Debug, Clone)]
struct Held {
    owner: String,
    life: u32,
    epoch: u64,
    until: Instant,
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.leases.retain(|_, held| now < held.until);
        state
    }

    pub fn holder(&self, name: &str) -> Option<String> {
        self.state().leases.get(name).map(|held| held.owner.clone())
    }

    pub fn records(&self, run: &RunId) -> Vec<Bytes> {
        self.state().journals.get(run).cloned().unwrap_or_default()
    }

    pub fn put(&self, table: &str, key: &str, value: &str) {
        self.state().tables.insert((table.to_owned(), key.to_owned()), Bytes::from(value.to_owned()));
    }

    pub fn append(&self, run: &RunId, record: &str) {
        self.state().journals.entry(run.clone()).or_default().push(Bytes::from(record.to_owned()));
    }
}

#[async_trait]
impl Journal for Store {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        let mut state = self.state();
        let stored = state.journals.entry(run.clone()).or_default();
        let actual = stored.len() as u64;
        if actual != expected {
            return Err(JournalError::Conflict { expected, actual });
        }
        stored.extend(records);
        Ok(stored.len() as u64)
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        Ok(self.records(run).split_off(usize::try_from(from).expect("small")))
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        Ok(self.state().journals.keys().cloned().collect())
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.state().journals.remove(run);
        Ok(())
    }

    fn durability(&self) -> String {
        String::from("none: memory")
    }
}

#[async_trait]
impl Directory for Store {
    async fn put(&self, table: &str, key: &str, value: Bytes) -> Result<(), DirectoryError> {
        self.state().tables.insert((table.to_owned(), key.to_owned()), value);
        Ok(())
    }

    async fn insert(&self, table: &str, key: &str, value: Bytes) -> Result<Option<Bytes>, DirectoryError> {
        let there = self.get(table, key).await?;
        if there.is_none() {
            Directory::put(self, table, key, value).await?;
        }
        Ok(there)
    }

    async fn get(&self, table: &str, key: &str) -> Result<Option<Bytes>, DirectoryError> {
        Ok(self.state().tables.get(&(table.to_owned(), key.to_owned())).cloned())
    }

    async fn list(&self, table: &str) -> Result<Vec<(String, Bytes)>, DirectoryError> {
        let state = self.state();
        let of_table = state.tables.iter().filter(|((of, _), _)| of == table);
        Ok(of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    async fn remove(&self, table: &str, key: &str) -> Result<(), DirectoryError> {
        self.state().tables.remove(&(table.to_owned(), key.to_owned()));
        Ok(())
    }
}

/// The store as one process reaches it, for as long as its network works.
#[derive(Debug)]
struct Line {
    store: Arc<Store>,
    life: u32,
    is_cut: AtomicBool,
}

impl Line {
    async fn way(&self) {
        tokio::time::sleep(WAY).await;
        if self.is_cut.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

#[async_trait]
impl Leases for Line {
    async fn acquire(&self, name: &str, owner: &str) -> Result<Lease, LeaseError> {
        self.way().await;
        let granted = {
            let mut state = self.store.state();
            let is_ours = |held: &Held| held.owner == owner && held.life != self.life;
            match state.leases.get(name) {
                Some(held) if !is_ours(held) => {
                    Err(LeaseError::Held { name: name.to_owned(), holder: held.owner.clone() })
                }
                _ => {
                    state.epoch += 1;
                    let (epoch, until) = (state.epoch, Instant::now() + LEASE);
                    let held = Held { owner: owner.to_owned(), life: self.life, epoch, until };
                    state.leases.insert(name.to_owned(), held);
                    Ok(Lease { name: name.to_owned(), epoch })
                }
            }
        };
        self.way().await;
        granted
    }

    async fn renew(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.way().await;
        let renewed = match self.store.state().leases.get_mut(&lease.name).filter(|held| held.epoch == lease.epoch) {
            Some(held) => {
                held.until = Instant::now() + LEASE;
                Ok(())
            }
            None => Err(LeaseError::Lost { name: lease.name.clone() }),
        };
        self.way().await;
        renewed
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.way().await;
        self.store.state().leases.retain(|_, held| held.epoch != lease.epoch);
        self.way().await;
        Ok(())
    }

    async fn holder(&self, name: &str) -> Result<Option<String>, LeaseError> {
        self.way().await;
        Ok(self.store.holder(name))
    }

    async fn holders(&self, prefix: &str) -> Result<Vec<(String, String)>, LeaseError> {
        self.way().await;
        let found = {
            let state = self.store.state();
            let named = state.leases.iter().filter(|(name, _)| name.starts_with(prefix));
            named.map(|(name, held)| (name.clone(), held.owner.clone())).collect()
        };
        self.way().await;
        Ok(found)
    }
}

/// What comes to one process.
#[derive(Debug, Default)]
pub struct Attached {
    shards: Mutex<BTreeSet<Shard>>,
    pub fails: AtomicBool,
    pub tries: AtomicUsize,
    /// The store does not answer who detaches.
    pub hangs: AtomicBool,
}

impl Attached {
    pub fn shards(&self) -> MutexGuard<'_, BTreeSet<Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Shards for Attached {
    fn count(&self) -> Shard {
        SHARDS
    }

    async fn attach(&self, shard: Shard) -> Result<(), ShardsError> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(WAY).await;
        if self.fails.load(Ordering::Relaxed) {
            return Err(ShardsError::Unavailable { source: "no consumer".into() });
        }
        self.shards().insert(shard);
        Ok(())
    }

    async fn detach(&self, shard: Shard) {
        tokio::time::sleep(WAY).await;
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending().await
        }
        self.shards().remove(&shard);
    }
}

/// The runs that live in one process. Whoever takes one up writes that into its journal first.
#[derive(Clone)]
pub struct LiveRuns {
    leases: Arc<ShardedLeases>,
    journal: Arc<FencedJournal>,
    gained: Arc<Notify>,
    live: Rc<RefCell<BTreeMap<RunId, (Lease, u64)>>>,
    pub begun: Rc<RefCell<Vec<RunId>>>,
    /// Runs that end here as soon as they are taken up.
    pub unfit: Rc<RefCell<BTreeSet<RunId>>>,
}

impl LiveRuns {
    pub fn list(&self) -> Vec<RunId> {
        self.live.borrow().keys().cloned().collect()
    }

    /// Extends the journal of a run, as its loop would.
    pub async fn write(&self, run: &RunId) -> Result<(), JournalError> {
        let Some((lease, records)) = self.live.borrow().get(run).cloned() else {
            return Err(JournalError::Refused { reason: String::from("not here") });
        };
        let records = self.journal.append(run, records, vec![Bytes::from(lease.epoch.to_string())]).await?;
        self.live.borrow_mut().insert(run.clone(), (lease, records));
        Ok(())
    }
}

#[async_trait(?Send)]
impl RunsOfShards for LiveRuns {
    fn gained(&self, _: Shard) {
        self.gained.notify_one();
    }

    async fn halt(&self, shard: Shard) {
        let of_shard: Vec<RunId> = self.list().into_iter().filter(|run| shard_of(run, SHARDS) == shard).collect();
        for run in of_shard {
            let removed = self.live.borrow_mut().remove(&run);
            let (lease, _) = removed.expect("it lives");
            self.leases.release(&lease).await.expect("releases");
        }
    }

    async fn begin(&self, run: RunId) -> Result<(), String> {
        self.begun.borrow_mut().push(run.clone());
        let lease = self.leases.acquire(run.as_str(), "test").await.map_err(|error| error.to_string())?;
        if self.unfit.borrow().contains(&run) {
            return self.leases.release(&lease).await.map_err(|error| error.to_string());
        }
        let records = self.journal.read(&run, 0).await.map_err(|error| error.to_string())?.len() as u64;
        self.live.borrow_mut().insert(run.clone(), (lease, records));
        self.write(&run).await.map_err(|error| error.to_string())
    }
}

/// Lets a process run, or holds it where it is.
#[derive(Debug, Default)]
struct Gate {
    is_closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A future that only goes on while its gate is open.
struct Gated<F> {
    gate: Arc<Gate>,
    inner: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Gated<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        *self.gate.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if self.gate.is_closed.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}

/// One process of the cluster.
pub struct Process {
    pub holdings: Arc<Holdings>,
    pub leases: Arc<ShardedLeases>,
    pub journal: Arc<FencedJournal>,
    pub counters: Arc<FenceCounters>,
    pub attached: Arc<Attached>,
    pub runs: LiveRuns,
    shard_loop: Rc<ShardLoop<LiveRuns>>,
    line: Arc<Line>,
    gate: Arc<Gate>,
    life: JoinHandle<()>,
}

impl Process {
    /// Starts one inside a local set. `life` tells the processes apart that bear one name after the other.
    pub fn start(store: &Arc<Store>, node: &str, life: u32) -> Process {
        Process::with(store, life, Holdings::new(SHARDS, Terms::new(LEASE), node.to_owned()))
    }

    pub fn with(store: &Arc<Store>, life: u32, holdings: Holdings) -> Process {
        let (holdings, attached, gained) = (Arc::new(holdings), Arc::new(Attached::default()), Arc::new(Notify::new()));
        let line = Arc::new(Line { store: store.clone(), life, is_cut: AtomicBool::new(false) });
        let leases = Arc::new(ShardedLeases::new(line.clone(), holdings.clone()));
        let journal = Arc::new(FencedJournal::new(store.clone(), holdings.clone()));
        let runs = LiveRuns {
            leases: leases.clone(),
            journal: journal.clone(),
            gained: gained.clone(),
            live: Rc::default(),
            begun: Rc::default(),
            unfit: Rc::default(),
        };
        let shard_loop = Rc::new(ShardLoop::new(line.clone(), attached.clone(), holdings.clone(), runs.clone()));
        let mut taking_up = TakingUp::new(journal.clone(), store.clone(), holdings.clone(), gained);
        let (kept, live) = (shard_loop.clone(), runs.clone());
        let inner = Box::pin(async move {
            futures::join!(kept.run(), taking_up.run(&live));
        });
        let gate = Arc::new(Gate::default());
        let life = tokio::task::spawn_local(Gated { gate: gate.clone(), inner });
        let counters = journal.counters();
        Process { holdings, leases, journal, counters, attached, runs, shard_loop, line, gate, life }
    }

    /// As `kill -STOP` does.
    pub fn stop(&self) {
        self.gate.is_closed.store(true, Ordering::Relaxed);
    }

    /// As `kill -CONT` does.
    pub fn wake(&self) {
        self.gate.is_closed.store(false, Ordering::Relaxed);
        if let Some(waker) = self.gate.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    pub fn is_stopped(&self) -> bool {
        self.gate.is_closed.load(Ordering::Relaxed)
    }

    /// The store is out of reach, or in reach again.
    pub fn cut(&self, is_cut: bool) {
        self.line.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// As `kill -KILL` does.
    pub fn kill(self) {
        self.life.abort();
    }

    /// As a person who ends it does.
    pub async fn leave(self) {
        self.shard_loop.leave().await;
        assert_eq!(self.runs.list(), [], "its runs are left");
        self.life.abort();
    }

    pub fn node(&self) -> &str {
        self.holdings.node()
    }

    pub fn owned(&self) -> usize {
        self.holdings.open_shards().len()
    }
}
