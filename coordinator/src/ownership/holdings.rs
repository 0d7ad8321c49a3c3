//! Holdings: the shards of this process, until when they are certain, and the runs taken under them.

use super::names::shard_name;
use super::terms::Terms;
use skein_common::ports::{Lease, LeaseError, Shard, shard_of};
use skein_common::{Epoch, RunId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;
use uuid::Uuid;

/// The low bits of a run's epoch count what was taken under one ownership of its shard; the high bits are the shard's
/// epoch. So epochs of a run grow with each owner and each incarnation, and no store has to be asked for one.
const COUNT_BITS: u32 = 20;
/// So many runs are taken under one ownership of a shard; then the shard is given back, and its next epoch begins anew.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// Ids tried, for each shard there is, until one falls into a shard of ours: one in so many may miss all of them.
const IDS_TRIED_PER_SHARD: u32 = 40;

/// What this process holds. Shared by who takes runs, who writes, and who keeps the leases.
#[derive(Debug)]
pub(crate) struct Holdings {
    count: Shard,
    terms: Terms,
    /// Names this process in the leases of shards.
    node: String,
    count_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ours: BTreeMap<Shard, Owned>,
    /// Lost, and its runs are not all gone yet.
    clearing: BTreeSet<Shard>,
    member: Option<Lease>,
    seen: Option<Seen>,
    closing: bool,
}

#[derive(Debug)]
struct Owned {
    lease: Lease,
    deadline: Instant,
    stage: Stage,
    count: u64,
    runs: BTreeMap<RunId, Taken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Questions and results do not come here yet.
    Attaching,
    /// Its runs may be taken.
    Open,
    /// Its runs end here; the lease is kept until they have.
    Leaving,
    /// The lease is being given back.
    Releasing,
}

#[derive(Debug)]
struct Taken {
    epoch: Epoch,
    owner: String,
}

/// The cluster as it was listed last.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub at: Instant,
    pub members: BTreeSet<String>,
    pub holders: BTreeMap<Shard, String>,
}

/// Who executes a run, as far as this process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunHolder {
    Somebody(String),
    Nobody,
    /// The shard is not ours, and at the last look it was nobody else's: the store knows.
    Unknown(Shard),
}

impl Owned {
    fn is_certain(&self, now: Instant) -> bool {
        now < self.deadline
    }
}

impl Holdings {
    pub fn new(count: Shard, terms: Terms, node: String) -> Holdings {
        Holdings { count, terms, node, count_max: COUNT_MAX, state: Mutex::default() }
    }

    /// So few runs may be taken under one ownership of a shard.
    #[cfg(test)]
    pub fn with_count_max(self, count_max: u64) -> Holdings {
        Holdings { count_max, ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self) -> Shard {
        self.count
    }

    pub fn terms(&self) -> Terms {
        self.terms
    }

    pub fn node(&self) -> &str {
        &self.node
    }
}

/// Runs.
impl Holdings {
    /// Takes a run of a shard that is ours.
    pub fn take_run(&self, run: &RunId, owner: &str) -> Result<Lease, LeaseError> {
        let (now, shard) = (Instant::now(), shard_of(run, self.count));
        let mut state = self.state();
        let held = |holder: String| LeaseError::Held { name: run.to_string(), holder };
        let Some(owned) = state.ours.get_mut(&shard) else {
            let holder = state.seen.as_ref().and_then(|seen| seen.holders.get(&shard));
            return Err(match holder.filter(|holder| **holder != self.node) {
                Some(holder) => held(holder.clone()),
                None => unavailable(format!("nobody owns {} of {run} yet; a coordinator takes it", shard_name(shard))),
            });
        };
        if let Some(taken) = owned.runs.get(run) {
            return Err(held(taken.owner.clone()));
        }
        if owned.stage != Stage::Open || !owned.is_certain(now) {
            let why = if owned.stage == Stage::Attaching { "is being taken up" } else { "is being given up" };
            return Err(unavailable(format!("{} of {run} {why} here; try again", shard_name(shard))));
        }
        let epoch = owned.next_epoch(self.count_max).ok_or_else(|| {
            unavailable(format!("{} has given out its last epoch; it is taken anew, try again", shard_name(shard)))
        })?;
        owned.runs.insert(run.clone(), Taken { epoch, owner: owner.to_owned() });
        Ok(Lease { name: run.to_string(), epoch })
    }

    /// Whether the run is still held under this lease.
    pub fn holds_run(&self, run: &RunId, lease: &Lease) -> bool {
        let now = Instant::now();
        let state = self.state();
        let owned = state.ours.get(&shard_of(run, self.count)).filter(|owned| owned.is_certain(now));
        owned.and_then(|owned| owned.runs.get(run)).is_some_and(|taken| taken.epoch == lease.epoch)
    }

    /// Gives the run back; what is not held under this lease stays as it is.
    pub fn release_run(&self, run: &RunId, lease: &Lease) {
        let mut state = self.state();
        let Some(owned) = state.ours.get_mut(&shard_of(run, self.count)) else { return };
        if owned.runs.get(run).is_some_and(|taken| taken.epoch == lease.epoch) {
            owned.runs.remove(run);
        }
    }

    pub fn holder_of_run(&self, run: &RunId) -> RunHolder {
        let (now, shard) = (Instant::now(), shard_of(run, self.count));
        let state = self.state();
        if let Some(owned) = state.ours.get(&shard).filter(|owned| owned.is_certain(now)) {
            let taken = owned.runs.get(run).map(|taken| taken.owner.clone());
            return taken.map_or(RunHolder::Nobody, RunHolder::Somebody);
        }
        let seen = state.seen.as_ref().filter(|seen| now < seen.at + self.terms.lease());
        let holder = seen.and_then(|seen| seen.holders.get(&shard)).filter(|holder| **holder != self.node);
        holder.cloned().map_or(RunHolder::Unknown(shard), RunHolder::Somebody)
    }

    /// Whether the shard of the run is ours, for now.
    pub fn is_ours(&self, run: &RunId) -> bool {
        self.state().ours.contains_key(&shard_of(run, self.count))
    }

    /// Whether what this process writes of the run is certain to be the owner's.
    pub fn may_write(&self, run: &RunId) -> bool {
        let (now, shard) = (Instant::now(), shard_of(run, self.count));
        self.state().ours.get(&shard).is_some_and(|owned| owned.is_certain(now))
    }

    /// Until when that is so, as far as is known now.
    pub fn writes_until(&self, run: &RunId) -> Option<Instant> {
        let (now, shard) = (Instant::now(), shard_of(run, self.count));
        self.state().ours.get(&shard).filter(|owned| owned.is_certain(now)).map(|owned| owned.deadline)
    }

    /// Whether the run may be taken here and is not.
    pub fn is_free_here(&self, run: &RunId) -> bool {
        let (now, shard) = (Instant::now(), shard_of(run, self.count));
        let state = self.state();
        let owned = state.ours.get(&shard).filter(|owned| owned.stage == Stage::Open && owned.is_certain(now));
        owned.is_some_and(|owned| !owned.runs.contains_key(run))
    }

    /// The id of a new run: of a shard of ours, if there is one.
    pub fn new_run_id(&self) -> RunId {
        let open: BTreeSet<Shard> = self.open_shards().into_iter().collect();
        let mut id = RunId::from_uuid(Uuid::now_v7());
        if open.is_empty() {
            return id;
        }
        for _ in 0..u32::from(self.count).saturating_mul(IDS_TRIED_PER_SHARD) {
            if open.contains(&shard_of(&id, self.count)) {
                break;
            }
            id = RunId::from_uuid(Uuid::now_v7());
        }
        id
    }
}

/// Shards.
impl Holdings {
    /// The lease of a shard was asked for at this moment, and granted.
    pub fn gain(&self, shard: Shard, lease: Lease, sent_at: Instant) {
        let deadline = self.terms.deadline(sent_at);
        let owned = Owned { lease, deadline, stage: Stage::Attaching, count: 0, runs: BTreeMap::new() };
        self.state().ours.insert(shard, owned);
    }

    /// Questions and results of the shard come here now; false when it was lost meanwhile.
    pub fn open(&self, shard: Shard) -> bool {
        let mut state = self.state();
        let Some(owned) = state.ours.get_mut(&shard).filter(|owned| owned.stage == Stage::Attaching) else {
            return false;
        };
        owned.stage = Stage::Open;
        true
    }

    /// The leases to be renewed.
    pub fn leases(&self) -> Vec<(Shard, Lease)> {
        let state = self.state();
        let kept = state.ours.iter().filter(|(_, owned)| owned.stage != Stage::Releasing);
        kept.map(|(shard, owned)| (*shard, owned.lease.clone())).collect()
    }

    /// A renewal that was sent at this moment succeeded.
    pub fn renewed(&self, shard: Shard, lease: &Lease, sent_at: Instant) {
        let mut state = self.state();
        if let Some(owned) = state.ours.get_mut(&shard).filter(|owned| owned.lease == *lease) {
            owned.deadline = owned.deadline.max(self.terms.deadline(sent_at));
        }
    }

    /// The lease is gone; true when the shard has to be cleared now.
    pub fn lose(&self, shard: Shard, lease: &Lease) -> bool {
        let mut state = self.state();
        if state.ours.get(&shard).is_none_or(|owned| owned.lease != *lease) {
            return false;
        }
        state.ours.remove(&shard);
        state.clearing.insert(shard)
    }

    /// The shards whose deadline has passed, each to be cleared now.
    pub fn lose_overdue(&self) -> Vec<Shard> {
        let now = Instant::now();
        let overdue: Vec<(Shard, Lease)> = {
            let state = self.state();
            let overdue = state.ours.iter().filter(|(_, owned)| !owned.is_certain(now));
            overdue.map(|(shard, owned)| (*shard, owned.lease.clone())).collect()
        };
        overdue.into_iter().filter(|(shard, lease)| self.lose(*shard, lease)).map(|(shard, _)| shard).collect()
    }

    /// Everything is given up without a word, as by one who does not know what became of it.
    pub fn lose_all(&self) -> Vec<Shard> {
        let mut state = self.state();
        let ours: Vec<Shard> = std::mem::take(&mut state.ours).into_keys().collect();
        state.clearing.extend(ours);
        state.clearing.iter().copied().collect()
    }

    /// Nothing of a lost shard is left here.
    pub fn cleared(&self, shard: Shard) {
        self.state().clearing.remove(&shard);
    }

    /// No run of the shard is taken from now on; its lease, when it is ours.
    pub fn begin_leaving(&self, shard: Shard) -> Option<Lease> {
        let mut state = self.state();
        let owned = state.ours.get_mut(&shard)?;
        owned.stage = Stage::Leaving;
        Some(owned.lease.clone())
    }

    /// The lease is about to be given back: nobody may write any more.
    pub fn begin_releasing(&self, shard: Shard) {
        if let Some(owned) = self.state().ours.get_mut(&shard) {
            owned.stage = Stage::Releasing;
            owned.deadline = Instant::now();
        }
    }

    /// The lease was given back.
    pub fn left(&self, shard: Shard, lease: &Lease) {
        let mut state = self.state();
        if state.ours.get(&shard).is_some_and(|owned| owned.lease == *lease) {
            state.ours.remove(&shard);
        }
    }

    /// The shards that are ours and stay, and those that are being given up.
    pub fn kept_and_leaving(&self) -> (BTreeSet<Shard>, BTreeSet<Shard>) {
        let state = self.state();
        let is_kept = |owned: &Owned| matches!(owned.stage, Stage::Attaching | Stage::Open);
        let (kept, leaving): (Vec<_>, Vec<_>) = state.ours.iter().partition(|(_, owned)| is_kept(owned));
        let leaving = leaving.into_iter().map(|(shard, _)| *shard).chain(state.clearing.iter().copied()).collect();
        (kept.into_iter().map(|(shard, _)| *shard).collect(), leaving)
    }

    /// The shards whose runs may be taken here.
    pub fn open_shards(&self) -> Vec<Shard> {
        let now = Instant::now();
        let state = self.state();
        let open = state.ours.iter().filter(|(_, owned)| owned.stage == Stage::Open && owned.is_certain(now));
        open.map(|(shard, _)| *shard).collect()
    }

    /// The shards that need a new epoch.
    pub fn worn_out(&self) -> Vec<Shard> {
        let state = self.state();
        let worn_out = state.ours.iter().filter(|(_, owned)| owned.peek_epoch(self.count_max).is_none());
        worn_out.map(|(shard, _)| *shard).collect()
    }

    pub fn see(&self, seen: Seen) {
        self.state().seen = Some(seen);
    }

    pub fn seen(&self) -> Option<Seen> {
        self.state().seen.clone()
    }
}

/// Taking part.
impl Holdings {
    pub fn member(&self) -> Option<Lease> {
        self.state().member.clone()
    }

    pub fn set_member(&self, lease: Option<Lease>) {
        self.state().member = lease;
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        self.state().closing = true;
    }

    pub fn is_closing(&self) -> bool {
        self.state().closing
    }
}

impl Owned {
    fn next_epoch(&mut self, count_max: u64) -> Option<Epoch> {
        let epoch = self.peek_epoch(count_max)?;
        self.count += 1;
        Some(epoch)
    }

    fn peek_epoch(&self, count_max: u64) -> Option<Epoch> {
        if self.count >= count_max {
            return None;
        }
        self.lease.epoch.checked_mul(1 << COUNT_BITS)?.checked_add(self.count + 1)
    }
}

fn unavailable(reason: String) -> LeaseError {
    LeaseError::Unavailable { source: reason.into() }
}
