//! Shards: which runs come to this process, where several coordinators share them. The work is done by
//! [`ShardLoop`] and [`TakingUp`]; the actor gives them a life that Root watches.

use super::messages::{BeginRun, HaltShard, LeaveShards, ShardsDied};
use super::root::Root;
use crate::ownership::{RunsOfShards, ShardLoop, ShardOwner, TakingUp};
use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};
use async_trait::async_trait;
use skein_common::RunId;
use skein_common::ports::{Ports, Shard};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// Root alone sends to it, and seldom; beyond it Root waits.
const MAILBOX: usize = 16;

/// Keeps the part of this process in the cluster.
pub(super) struct Shards {
    ports: Ports,
    owner: ShardOwner,
    runs: RunsOfRoot,
    shard_loop: Rc<ShardLoop<RunsOfRoot>>,
    death_watch: DeathWatch,
}

/// Runs live at Root.
#[derive(Clone)]
struct RunsOfRoot {
    root: Addr<Root>,
    gained: Arc<Notify>,
}

#[async_trait(?Send)]
impl RunsOfShards for RunsOfRoot {
    fn gained(&self, _: Shard) {
        self.gained.notify_one();
    }

    async fn halt(&self, shard: Shard) {
        let _nothing_lives_without_root = self.root.send(HaltShard { shard }).await;
    }

    async fn begin(&self, run: RunId) -> Result<(), String> {
        let begun = self.root.send(BeginRun { run, is_left: true }).await;
        begun.unwrap_or_else(|_| Err(String::from("the coordinator is gone")))
    }
}

/// Tells Root when the actor goes away.
struct DeathWatch {
    root: Addr<Root>,
    /// Off once the actor was asked to go.
    armed: bool,
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if self.armed && self.root.try_send(ShardsDied).is_err() {
            tracing::error!("the actor of shards died and nobody could be told");
        }
    }
}

impl Shards {
    /// `ports` are those of the coordinator, behind the fence.
    pub fn new(ports: Ports, owner: ShardOwner, root: Addr<Root>) -> Shards {
        let runs = RunsOfRoot { root: root.clone(), gained: Arc::default() };
        let shard_loop = Rc::new(owner.shard_loop(runs.clone()));
        Shards { ports, owner, runs, shard_loop, death_watch: DeathWatch { root, armed: true } }
    }
}

impl Actor for Shards {
    type Context = Context<Shards>;

    fn started(&mut self, ctx: &mut Context<Shards>) {
        ctx.set_mailbox_capacity(MAILBOX);
        tracing::info!(node = self.owner.holdings.node(), shards = self.owner.holdings.count(), "sharing runs");
        let (shard_loop, runs) = (self.shard_loop.clone(), self.runs.clone());
        let Ports { journal, directory, .. } = self.ports.clone();
        let mut taking_up = TakingUp::new(journal, directory, self.owner.holdings.clone(), runs.gained.clone());
        let life = async move {
            futures::join!(shard_loop.run(), taking_up.run(&runs));
        };
        ctx.spawn(life.into_actor(self));
    }
}

impl Handler<LeaveShards> for Shards {
    type Result = ResponseActFuture<Shards, ()>;

    fn handle(&mut self, _: LeaveShards, _: &mut Context<Shards>) -> Self::Result {
        let shard_loop = self.shard_loop.clone();
        let leave = async move { shard_loop.leave().await };
        Box::pin(leave.into_actor(self).map(|(), actor, ctx| {
            actor.death_watch.armed = false;
            ctx.stop();
        }))
    }
}
