//! The part of Link that ends: takes nothing new, finishes or ends what runs (A8).

use crate::link::Link;
use crate::messages::{Drain, EndReason, OrderHeard, Phase, StopWorker};
use actix::{
    ActorContext as _, ActorFutureExt as _, Context, Handler, ResponseActFuture, ResponseFuture, WrapFuture as _,
};
use skein_common::wire::WorkerOrder;
use std::rc::Rc;
use tokio::sync::oneshot;
use tracing::{info, warn};

impl Link {
    pub(crate) fn phase(&self) -> Phase {
        *self.config.phase.borrow()
    }

    /// Takes nothing new, and says so to all.
    fn drain(&mut self, context: &mut Context<Link>) {
        if self.advance(Phase::Working, Phase::Draining) {
            info!("worker drains");
            self.heartbeat_soon(context);
        }
        self.close();
    }

    /// Another process speaks for this node: owners have given up what runs here.
    pub(crate) fn give_way(&mut self) {
        if self.config.phase.send_replace(Phase::Superseded) != Phase::Superseded {
            warn!(node = self.config.shared.info.node, "another worker speaks for this node; this one ends");
            self.close();
            for serial in self.attempts.keys() {
                self.end(*serial, EndReason::Abandoned);
            }
        }
    }

    fn advance(&self, from: Phase, to: Phase) -> bool {
        self.config.phase.send_if_modified(|phase| {
            let advances = *phase == from;
            if advances {
                *phase = to;
            }
            advances
        })
    }

    /// Nobody gives this worker anything from now on.
    fn leave_targets(&self) {
        let (tasks, targets) = (self.config.shared.ports.tasks.clone(), self.config.targets.clone());
        actix_rt::spawn(async move {
            for target in &targets {
                tasks.leave(target).await;
            }
        });
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.pulls.clear();
        self.leave_targets();
        // Nobody claimed them, so they are delivered to somebody else.
        self.backlog.clear();
        self.tell_if_idle();
    }

    fn when_idle(&mut self) -> oneshot::Receiver<()> {
        let (idle, when_idle) = oneshot::channel();
        self.idle.push(idle);
        self.tell_if_idle();
        when_idle
    }

    pub(crate) fn tell_if_idle(&mut self) {
        if self.closed && self.attempts.is_empty() {
            self.advance(Phase::Draining, Phase::Drained);
            for idle in self.idle.drain(..) {
                let _ = idle.send(());
            }
        }
    }
}

impl Handler<OrderHeard> for Link {
    type Result = ();

    fn handle(&mut self, message: OrderHeard, context: &mut Context<Link>) {
        match message.order {
            WorkerOrder::Report { round } => {
                self.rounds.insert(round);
                self.config.shared.owner_came.notify_waiters();
                self.heartbeat_soon(context);
            }
            WorkerOrder::Drain { worker } => {
                let info = &self.config.shared.info;
                if worker == info.id.0 || worker == info.node {
                    self.drain(context);
                }
            }
        }
    }
}

impl Handler<Drain> for Link {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, context: &mut Context<Link>) -> ResponseFuture<()> {
        self.drain(context);
        let idle = self.when_idle();
        Box::pin(async move { drop(idle.await) })
    }
}

impl Handler<StopWorker> for Link {
    type Result = ResponseActFuture<Link, ()>;

    fn handle(&mut self, _: StopWorker, _: &mut Context<Link>) -> ResponseActFuture<Link, ()> {
        self.close();
        let idle = self.when_idle();
        for serial in self.attempts.keys() {
            self.end(*serial, EndReason::WorkerStops);
        }
        let (keeper, shared) = (Rc::clone(&self.config.keeper), Rc::clone(&self.config.shared));
        let all_gone = async move {
            let _ = idle.await;
            shared.outbox.close();
            keeper.close().await;
        };
        Box::pin(all_gone.into_actor(self).map(|(), _, context| context.stop()))
    }
}
