//! Gauges of what stands now: each is added up when it is asked for, from what the owner of a run says after each batch.
//! So none can drift, and one look at the numbers is of one moment.

use crate::metrics::SCOPE_RUN;
use crate::ownership::Holdings;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use skein_common::metrics::MetricsError;
use skein_common::ports::Shard;
use skein_common::run::RunStatus;
use skein_common::{AgentNumber, RunId};
use skein_engine::{RunState, run_status};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How a run that has not ended can stand.
const STATES: [RunStatus; 6] = [
    RunStatus::Queued,
    RunStatus::Running,
    RunStatus::Waiting,
    RunStatus::Pausing,
    RunStatus::Paused,
    RunStatus::Stopping,
];

/// All coordinators hear all workers. The owner of this shard tells of them, so that each is told of once.
const SHARD_THAT_TELLS: Shard = 0;

/// How many workers stand where, as a coordinator hears of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerCounts {
    /// Take new attempts.
    pub working: usize,
    /// Finish what they have, and end.
    pub draining: usize,
    /// Were not heard of for longer than they should be; soon they are lost, or back.
    pub suspect: usize,
}

/// Numbers of one run.
#[derive(Debug, Clone)]
struct Numbers {
    run: RunId,
    status: RunStatus,
    agents_running: usize,
    agents_queued: usize,
    permits_in_use: u32,
    permits_limit: u32,
}

#[derive(Debug, Default)]
struct Table {
    /// By the incarnation, of which a run has one at a time.
    runs: BTreeMap<u64, Numbers>,
    incarnations: u64,
    workers: WorkerCounts,
}

/// The gauges of one coordinator. Clones share what they show.
#[derive(Debug, Clone)]
pub(crate) struct StandingGauges {
    table: Arc<Mutex<Table>>,
    holdings: Arc<OnceLock<Arc<Holdings>>>,
    runs: IntGaugeVec,
    agents_running: IntGauge,
    agents_queued: IntGauge,
    permits_in_use: IntGaugeVec,
    permits_limit: IntGaugeVec,
    workers: IntGaugeVec,
}

impl StandingGauges {
    pub fn new() -> Result<StandingGauges, MetricsError> {
        let labelled = |name: &str, help: &str, label: &str| IntGaugeVec::new(Opts::new(name, help), &[label]);
        Ok(StandingGauges {
            table: Arc::default(),
            holdings: Arc::default(),
            runs: labelled("skein_runs_active", "Runs that this process executes, by how they stand.", "state")?,
            agents_running: IntGauge::new("skein_agents_running", "Agents of these runs that have a permit.")?,
            agents_queued: IntGauge::new("skein_agents_queued", "Agents of these runs that wait for a permit.")?,
            permits_in_use: labelled("skein_permits_in_use", "Permits that attempts hold.", "scope")?,
            permits_limit: labelled("skein_permits_limit", "Permits there are, of all runs of this process.", "scope")?,
            workers: labelled("skein_workers", "Workers that this process hears of, by how they stand.", "state")?,
        })
    }

    /// Where several coordinators share runs: only what is certain to be ours is told.
    pub fn tell_only_of(&self, holdings: Arc<Holdings>) {
        let _told_before = self.holdings.set(holdings);
    }

    pub fn begin_run(&self, run: &RunId) -> LiveRun {
        let mut table = self.table();
        table.incarnations += 1;
        let incarnation = table.incarnations;
        drop(table);
        LiveRun { run: run.clone(), incarnation, waiting: BTreeMap::new(), gauges: self.clone() }
    }

    pub fn see_workers(&self, counts: WorkerCounts) {
        self.table().workers = counts;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self, run: &RunId) -> bool {
        self.holdings.get().is_none_or(|holdings| holdings.may_write(run))
    }

    fn tells_of_workers(&self) -> bool {
        self.holdings.get().is_none_or(|holdings| holdings.open_shards().contains(&SHARD_THAT_TELLS))
    }

    fn add_up(&self, table: &Table) {
        let ours: Vec<&Numbers> = table.runs.values().filter(|numbers| self.is_ours(&numbers.run)).collect();
        for state in STATES {
            let count = ours.iter().filter(|numbers| numbers.status == state).count();
            self.runs.with_label_values(&[state.name()]).set(whole(count));
        }
        let agents = |of: fn(&Numbers) -> usize| whole(ours.iter().map(|numbers| of(numbers)).sum());
        self.agents_running.set(agents(|numbers| numbers.agents_running));
        self.agents_queued.set(agents(|numbers| numbers.agents_queued));
        let permits = |of: fn(&Numbers) -> u32| ours.iter().map(|numbers| i64::from(of(numbers))).sum();
        self.permits_in_use.with_label_values(&[SCOPE_RUN]).set(permits(|numbers| numbers.permits_in_use));
        self.permits_limit.with_label_values(&[SCOPE_RUN]).set(permits(|numbers| numbers.permits_limit));
        let WorkerCounts { working, draining, suspect } =
            if self.tells_of_workers() { table.workers } else { WorkerCounts::default() };
        for (state, count) in [("working", working), ("draining", draining), ("suspect", suspect)] {
            self.workers.with_label_values(&[state]).set(whole(count));
        }
    }

    fn collectors(&self) -> [&dyn Collector; 6] {
        [
            &self.runs,
            &self.agents_running,
            &self.agents_queued,
            &self.permits_in_use,
            &self.permits_limit,
            &self.workers,
        ]
    }
}

impl Collector for StandingGauges {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held until all are read: two who ask at once must not mix their numbers.
        let table = self.table();
        self.add_up(&table);
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One incarnation of a run, which its gauges count until this is dropped.
#[derive(Debug)]
pub(crate) struct LiveRun {
    run: RunId,
    incarnation: u64,
    /// Since when agents wait whose attempt has ended, in journal time.
    waiting: BTreeMap<AgentNumber, i64>,
    gauges: StandingGauges,
}

impl LiveRun {
    /// The journal says this of the run.
    pub fn show(&mut self, state: &RunState) {
        let mut table = self.gauges.table();
        if state.is_ended() {
            table.runs.remove(&self.incarnation);
            return;
        }
        let agents_running = state.running.len();
        let open = usize::try_from(state.open_agents).unwrap_or(usize::MAX);
        let numbers = Numbers {
            run: self.run.clone(),
            status: run_status(state),
            agents_running,
            agents_queued: open.saturating_sub(agents_running),
            permits_in_use: state.semaphore.permits_in_use(),
            permits_limit: state.spec.limits.concurrency,
        };
        table.runs.insert(self.incarnation, numbers);
    }

    /// Another attempt of this agent is wanted since then.
    pub fn waits(&mut self, agent: AgentNumber, since_ms: i64) {
        self.waiting.insert(agent, since_ms);
    }

    /// It waits no more; since when it did.
    pub fn take_waiting(&mut self, agent: AgentNumber) -> Option<i64> {
        self.waiting.remove(&agent)
    }
}

impl Drop for LiveRun {
    fn drop(&mut self) {
        self.gauges.table().runs.remove(&self.incarnation);
    }
}
