//! The shards of this process: keeps their leases, takes what it is due, gives back what is too much.

use super::back_off::BackOff;
use super::balance::{View, decide};
use super::holdings::{Holdings, Seen};
use super::names::{MEMBER_PREFIX, SHARD_PREFIX, member_name, shard_name, shard_of_name};
use async_trait::async_trait;
use futures::future::join_all;
use futures::stream::StreamExt as _;
use skein_common::RunId;
use skein_common::ports::{Lease, LeaseError, Leases, Shard, Shards};
use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};

/// Until the next look of one that has less than it is due: what is given back for it shall not lie idle.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Until the first look that counts of one that is not a member yet, which it is in some milliseconds.
const LOOK_AT_FIRST: Duration = Duration::from_millis(20);
/// A store that does not bring the questions and results of a shard here in this time is given up on.
const ATTACH_WAIT: Duration = Duration::from_secs(10);

/// What came of taking a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Attached,
    /// What comes for it could not be brought here.
    NotAttached,
    /// Another was faster, or the store did not answer.
    Not,
}

/// The runs that live on the shards.
#[async_trait(?Send)]
pub(crate) trait RunsOfShards {
    /// The shard is ours: its runs are to be taken up.
    fn gained(&self, shard: Shard);
    /// Leaves every run of the shard as its journal says; on return none lives here.
    async fn halt(&self, shard: Shard);
    /// Takes a run up.
    async fn begin(&self, run: RunId) -> Result<(), String>;
}

/// Keeps the part of this process in the cluster.
pub(crate) struct ShardLoop<R> {
    /// Those of the store.
    leases: Arc<dyn Leases>,
    shards: Arc<dyn Shards>,
    holdings: Arc<Holdings>,
    runs: R,
    /// Held while shards change hands, so that leaving comes after it.
    moving: Mutex<()>,
    back_off: Cell<BackOff>,
}

impl<R: RunsOfShards> ShardLoop<R> {
    pub fn new(leases: Arc<dyn Leases>, shards: Arc<dyn Shards>, holdings: Arc<Holdings>, runs: R) -> ShardLoop<R> {
        ShardLoop { leases, shards, holdings, runs, moving: Mutex::new(()), back_off: Cell::default() }
    }

    /// Takes part until it is dropped; after [`ShardLoop::leave`] it does nothing more.
    pub async fn run(&self) {
        // At most one entry for each shard that is being cleared.
        let (lost, to_clear) = mpsc::unbounded_channel();
        // Of a loop that died, nobody knows how far it was.
        self.holdings.lose_all().into_iter().for_each(|shard| send(&lost, shard));
        let clearing = self.clear_lost(to_clear);
        futures::join!(self.keep(lost.clone()), self.watch_deadlines(lost), clearing, self.balance());
    }

    /// Gives everything back, so that others take it at once. Runs that live here are left as their journals say.
    pub async fn leave(&self) {
        self.holdings.close();
        let _nothing_moves = self.moving.lock().await;
        if let Some(member) = self.holdings.member() {
            self.holdings.set_member(None);
            self.release(&member).await;
        }
        let (kept, _) = self.holdings.kept_and_leaving();
        join_all(kept.into_iter().map(|shard| self.give_back(shard))).await;
    }

    /// Renews what is held.
    async fn keep(&self, lost: mpsc::UnboundedSender<Shard>) {
        let mut ticks = tokio::time::interval(self.holdings.terms().renew_every());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let leases = self.holdings.leases();
            let renewals = leases.iter().map(|(shard, lease)| self.renew_shard(*shard, lease, &lost));
            futures::join!(self.keep_member(), join_all(renewals));
        }
    }

    async fn renew_shard(&self, shard: Shard, lease: &Lease, lost: &mpsc::UnboundedSender<Shard>) {
        let sent_at = Instant::now();
        match self.in_time(self.leases.renew(lease)).await {
            Ok(()) => self.holdings.renewed(shard, lease, sent_at),
            Err(LeaseError::Lost { .. }) => {
                if self.holdings.lose(shard, lease) {
                    tracing::warn!(shard, "the lease of a shard was lost");
                    send(lost, shard);
                }
            }
            Err(error) => tracing::warn!(shard, %error, "the lease of a shard was not renewed"),
        }
    }

    /// The lease by which this node takes part.
    async fn keep_member(&self) {
        if self.back_off.get().takes_no_part(Instant::now()) {
            return self.leave_members().await;
        }
        if let Some(member) = self.holdings.member() {
            match self.in_time(self.leases.renew(&member)).await {
                Ok(()) => return,
                Err(LeaseError::Lost { .. }) => self.holdings.set_member(None),
                Err(error) => return tracing::warn!(%error, "membership not renewed"),
            }
        }
        if self.holdings.is_closing() {
            return;
        }
        let node = self.holdings.node();
        match self.in_time(self.leases.acquire(&member_name(node), node)).await {
            // It left while this was on its way.
            Ok(member) if self.holdings.is_closing() => self.release(&member).await,
            Ok(member) => self.holdings.set_member(Some(member)),
            Err(error) => tracing::warn!(%error, "not a member yet"),
        }
    }

    async fn leave_members(&self) {
        if let Some(member) = self.holdings.member() {
            tracing::warn!("takes no part for a while: what comes for shards cannot be brought here");
            self.holdings.set_member(None);
            self.release(&member).await;
        }
    }

    /// A shard whose lease may have ended is lost, whether or not the store has said so.
    async fn watch_deadlines(&self, lost: mpsc::UnboundedSender<Shard>) {
        let mut looks = tokio::time::interval(self.holdings.terms().renew_every() / 4);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            for shard in self.holdings.lose_overdue() {
                tracing::warn!(shard, "the lease of a shard was not renewed in time");
                send(&lost, shard);
            }
        }
    }

    async fn clear_lost(&self, to_clear: mpsc::UnboundedReceiver<Shard>) {
        let shards = futures::stream::unfold(to_clear, async |mut shards| Some((shards.recv().await?, shards)));
        shards
            .for_each_concurrent(None, async |shard| {
                // The store may be away, and nobody may wait for it to stop what is another's by now.
                futures::join!(self.runs.halt(shard), self.shards.detach(shard));
                self.holdings.cleared(shard);
            })
            .await;
    }

    /// Looks who holds what, and moves shards until each member has its part.
    async fn balance(&self) {
        let renew_every = self.holdings.terms().renew_every();
        while !self.holdings.is_closing() {
            let mut pause = renew_every;
            {
                let _moving = self.moving.lock().await;
                match self.look().await {
                    Ok(()) => {
                        let is_new = self.holdings.member().is_none();
                        let is_short = self.rearrange().await || is_new;
                        if is_short && !self.back_off.get().waits(Instant::now()) {
                            pause = pause.min(if is_new { LOOK_AT_FIRST } else { LOOK_AGAIN });
                        }
                    }
                    Err(error) => tracing::warn!(%error, "the owners of shards cannot be listed"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.leases.ended() => {}
            }
        }
    }

    async fn look(&self) -> Result<(), LeaseError> {
        let at = Instant::now();
        let listed = futures::future::try_join(self.leases.holders(MEMBER_PREFIX), self.leases.holders(SHARD_PREFIX));
        let (members, holders) = timeout(self.holdings.terms().lease(), listed).await.unwrap_or_else(slow)?;
        let members = members.into_iter().filter_map(|(name, _)| Some(name.strip_prefix(MEMBER_PREFIX)?.to_owned()));
        let holders = holders.into_iter().filter_map(|(name, holder)| Some((shard_of_name(&name)?, holder)));
        self.holdings.see(Seen { at, members: members.collect(), holders: holders.collect() });
        Ok(())
    }

    /// Whether this process has less than it is due.
    async fn rearrange(&self) -> bool {
        let Some(seen) = self.holdings.seen().filter(|_| !self.holdings.is_closing()) else { return false };
        let (ours, leaving) = self.holdings.kept_and_leaving();
        let me = self.holdings.node();
        let (members, holders, count) = (&seen.members, &seen.holders, self.holdings.count());
        let moves = decide(&View { me, members, count, holders, ours: &ours, leaving: &leaving });
        let worn_out = self.holdings.worn_out().into_iter().filter(|shard| !moves.give_back.contains(shard));
        let give_back = moves.give_back.iter().copied().chain(worn_out);
        let take = moves.take.iter().copied().filter(|_| !self.back_off.get().waits(Instant::now()));
        let (taken, _) = futures::join!(
            join_all(take.map(|shard| self.take(shard))),
            join_all(give_back.map(|shard| self.give_back(shard)))
        );
        if !taken.is_empty() {
            self.back_off.set(self.back_off.get().after(taken.contains(&Taken::NotAttached), Instant::now()));
        }
        moves.is_short
    }

    async fn take(&self, shard: Shard) -> Taken {
        let sent_at = Instant::now();
        let lease = match self.in_time(self.leases.acquire(&shard_name(shard), self.holdings.node())).await {
            Ok(lease) => lease,
            Err(LeaseError::Held { holder, .. }) => {
                tracing::debug!(shard, holder, "another was faster");
                return Taken::Not;
            }
            Err(error) => {
                tracing::warn!(shard, %error, "shard not taken");
                return Taken::Not;
            }
        };
        self.holdings.gain(shard, lease, sent_at);
        match timeout(ATTACH_WAIT, self.shards.attach(shard)).await {
            Ok(Ok(())) if self.holdings.is_closing() => {
                self.give_back(shard).await;
                Taken::Not
            }
            Ok(Ok(())) if self.holdings.open(shard) => {
                tracing::info!(shard, "shard taken");
                self.runs.gained(shard);
                Taken::Attached
            }
            // Lost meanwhile, and what clears it may have come before the attaching.
            Ok(Ok(())) => {
                self.shards.detach(shard).await;
                Taken::Not
            }
            Ok(Err(error)) => {
                tracing::warn!(shard, %error, "shard given back: its questions and results do not come here");
                self.give_up(shard).await;
                Taken::NotAttached
            }
            Err(_elapsed) => {
                tracing::warn!(shard, "shard given back: it takes too long to bring its questions and results here");
                self.give_up(shard).await;
                Taken::NotAttached
            }
        }
    }

    /// What was attached of it must not stay in the way of the next owner, also when the lease is lost by now.
    async fn give_up(&self, shard: Shard) {
        self.shards.detach(shard).await;
        self.give_back(shard).await;
    }

    /// Workers ask again until the next owner answers, so they stop being answered before its runs end here.
    async fn give_back(&self, shard: Shard) {
        let Some(lease) = self.holdings.begin_leaving(shard) else { return };
        self.shards.detach(shard).await;
        self.runs.halt(shard).await;
        self.holdings.begin_releasing(shard);
        self.release(&lease).await;
        self.holdings.left(shard, &lease);
        tracing::info!(shard, "shard given back");
    }

    /// What cannot be given back ends by itself.
    async fn release(&self, lease: &Lease) {
        if let Err(error) = self.in_time(self.leases.release(lease)).await {
            tracing::warn!(name = lease.name, %error, "lease not given back; it ends by itself");
        }
    }

    /// Another try has to fit into the time of a lease.
    async fn in_time<T>(&self, call: impl Future<Output = Result<T, LeaseError>>) -> Result<T, LeaseError> {
        timeout(self.holdings.terms().renew_every(), call).await.unwrap_or_else(slow)
    }
}

fn slow<T>(elapsed: tokio::time::error::Elapsed) -> Result<T, LeaseError> {
    Err(LeaseError::Unavailable { source: elapsed.into() })
}

fn send(lost: &mpsc::UnboundedSender<Shard>, shard: Shard) {
    // The receiver lives as long as the senders: in the same future.
    let _never_closed = lost.send(shard);
}
