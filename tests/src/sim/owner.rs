//! The owner of a simulated run: the real driver, incarnation after incarnation, until the run has ended.

use super::mutants::{EarlyJournal, GenerousJournal, Mutant};
use super::script::Models;
use super::world::{Happening, World};
use async_trait::async_trait;
use futures::FutureExt;
use skein_backend::faulty::{Crash, Faults, Plan, faulty};
use skein_common::ports::{Ports, Target};
use skein_common::wire::{AttemptRef, encode};
use skein_coordinator::driver::{Alive, Driver, DriverContext, HibernationRule, Journalled, Performer};
use skein_coordinator::{DriverError, Telemetry};
use skein_engine::{Command, Effect, RunState};
use skein_script::HostLimits;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Incarnations that may meet faults; fewer than a run may have without getting further.
const ROUGH_INCARNATIONS: u64 = 4;
const GRACE_MS: u64 = 2_000;
/// Steps of a thousand after which the script loses its host.
const HIBERNATES: u32 = 30;
/// Until a file is read.
const FILE_MS: u64 = 3;

pub(super) type Shared = Rc<RefCell<World>>;

/// What a simulated coordinator is.
#[derive(Clone)]
pub(super) struct Owner {
    pub world: Shared,
    pub models: Models,
    pub mutant: Option<Mutant>,
    pub is_rough: bool,
}

/// How an incarnation ended.
enum Life {
    Ended,
    Hangs,
    Crashed,
    Failed(DriverError),
}

impl Owner {
    /// Lives until the run has ended; gives the number of incarnations.
    pub async fn live(&self) -> u64 {
        loop {
            let (process_died, crash) = self.next_crash();
            let alive = self.world.borrow_mut().take_over(process_died);
            let life = match &crash {
                Some(crash) => tokio::select! {
                    biased;
                    () = crash.happens() => Life::Crashed,
                    life = self.one_life(alive, Some(crash.clone())) => life,
                },
                None => self.one_life(alive, None).await,
            };
            let mut world = self.world.borrow_mut();
            match life {
                Life::Ended => return world.incarnation,
                Life::Hangs => world.watch.breaks("the run hangs"),
                Life::Crashed => {}
                Life::Failed(DriverError::Ended) => return world.incarnation,
                Life::Failed(error) if world.incarnation > ROUGH_INCARNATIONS + 1 => {
                    world.watch.breaks(format!("the driver fails: {error}"));
                }
                Life::Failed(_) => {}
            }
            if world.watch.broken.is_some() {
                return world.incarnation;
            }
        }
    }

    fn next_crash(&self) -> (bool, Option<Crash>) {
        let mut world = self.world.borrow_mut();
        let process_died = world.random.happens(600);
        // A lost host costs an incarnation, too.
        let rough = ROUGH_INCARNATIONS - u64::from(self.models.odd.loses_a_host());
        if !self.is_rough || world.incarnation >= rough {
            return (process_died, None);
        }
        let (at, after) = (1 + world.random.below(40), world.random.happens(500));
        (process_died, Some(Crash::at(at, after)))
    }

    fn ports(&self, crash: Option<Crash>) -> Ports {
        let mut world = self.world.borrow_mut();
        let mut ports = world.memory.ports();
        ports.journal = match self.mutant {
            Some(Mutant::EffectBeforeEvent) => Arc::new(EarlyJournal::new(ports.journal)),
            Some(Mutant::DoubledPermit) => Arc::new(GenerousJournal(ports.journal)),
            _ => ports.journal,
        };
        let is_rough = crash.is_some();
        let faults = if is_rough {
            let unknown = 10;
            Faults {
                append_unknown_stored: unknown,
                append_unknown_lost: unknown,
                append_unknown_partly: unknown,
                append_refused: 2,
                unavailable: 5,
                ..Faults::default()
            }
        } else {
            Faults::default()
        };
        faulty(ports, Plan { seed: world.random.bits(), faults, crash })
    }

    async fn one_life(&self, alive: Vec<AttemptRef>, crash: Option<Crash>) -> Life {
        let ports = self.ports(crash);
        let (run, epoch, clock) = {
            let world = self.world.borrow();
            (world.run.clone(), world.incarnation, world.clock.clone())
        };
        let context = DriverContext {
            ports: ports.clone(),
            hosts: Arc::new(self.models.clone()),
            host_limits: HostLimits::default(),
            clock,
            replaces_lost_hosts: true,
            hibernation: HibernationRule { after: Duration::MAX, hosts_max: usize::MAX },
            metrics: Telemetry::unwatched().expect("metrics").metrics,
        };
        let mut performer = SimPerformer { owner: self.clone(), ports };
        let mut driver = match Driver::open(run.clone(), epoch, context, &Alive::These(alive), &mut performer).await {
            Ok(driver) => driver,
            Err(error) => return Life::Failed(error),
        };
        self.start_timeout(driver.state());
        let results = self.world.borrow().edge.results.clone();
        let _none_yet = results.redeliver(&run).await;
        loop {
            if self.world.borrow().ended {
                return Life::Ended;
            }
            if self.is_rough && self.mutant.is_none() && self.world.borrow_mut().random.happens(HIBERNATES) {
                driver.hibernate();
            }
            if !self.wait(driver.is_busy()) {
                return Life::Hangs;
            }
            let items = std::mem::take(&mut self.world.borrow_mut().inbox);
            let mut deliveries = Vec::new();
            let mut commands = Vec::new();
            for item in items {
                if let (Some(delivery), Command::Report { agent, attempt, .. }) = (item.delivery, &item.command) {
                    deliveries.push((delivery, AttemptRef { run: run.clone(), agent: *agent, attempt: *attempt }));
                }
                commands.push(item.command);
            }
            if let Err(error) = driver.step(commands, &mut performer).await {
                return Life::Failed(error);
            }
            for (delivery, attempt) in deliveries {
                let _done = results.done(delivery).now_or_never();
                let mut world = self.world.borrow_mut();
                let now = world.now();
                world.attempts.forget(&attempt, now);
            }
        }
    }

    fn start_timeout(&self, state: &RunState) {
        let Some(timeout_ms) = state.spec.timeout_ms else { return };
        let mut world = self.world.borrow_mut();
        let (left_ms, incarnation) = (timeout_ms.saturating_sub(world.now_ms), world.incarnation);
        let command = Command::Abort { kind: String::from("timeout"), message: String::from("too long") };
        world.after(left_ms, Happening::Due { incarnation, command });
    }

    /// Lets the world go on until something waits for the owner, and sometimes a little longer; `false` when it hangs.
    fn wait(&self, is_busy: bool) -> bool {
        let mut world = self.world.borrow_mut();
        let more = world.random.below(6);
        for _ in 0..more {
            if world.ended || !world.step() {
                break;
            }
        }
        while world.inbox.is_empty() && !is_busy && world.watch.broken.is_none() {
            if !world.step() {
                return false;
            }
        }
        world.watch.broken.is_none()
    }
}

/// Performs effects on the simulated world, and checks each of them.
struct SimPerformer {
    owner: Owner,
    ports: Ports,
}

#[async_trait(?Send)]
impl Performer for SimPerformer {
    async fn perform(&mut self, state: &RunState, journalled: &Journalled, effects: Vec<Effect>) {
        self.check(state, &effects);
        let is_dispatch = |effect: &Effect| matches!(effect, Effect::Dispatch { .. });
        let (dispatches, others): (Vec<Effect>, Vec<Effect>) = effects.into_iter().partition(is_dispatch);
        for effect in dispatches {
            if let Effect::Dispatch { agent, attempt } = effect
                && !state.is_ended()
            {
                self.dispatch(AttemptRef { run: self.run(), agent, attempt }).await;
            }
        }
        let mut world = self.owner.world.borrow_mut();
        let incarnation = world.incarnation;
        for effect in others {
            match effect {
                Effect::Dispatch { .. } => {}
                Effect::Cancel { agent, attempt } => {
                    let run = world.run.clone();
                    world.cancel(AttemptRef { run, agent, attempt });
                }
                Effect::Interrupt { agent, attempt } => {
                    let run = world.run.clone();
                    world.interrupt(AttemptRef { run, agent, attempt });
                }
                Effect::StartTimer { call, due_ms } => {
                    let wait_ms = u64::try_from(due_ms.saturating_sub(journalled.at_ms)).unwrap_or(0);
                    world.after(wait_ms, Happening::Due { incarnation, command: Command::Fire { call } });
                }
                Effect::LoadWorkflow { call, path } => {
                    let command = Command::ProvideScript { call, read: Ok(path) };
                    world.after(FILE_MS, Happening::Due { incarnation, command });
                }
                Effect::StartGrace => {
                    world.after(GRACE_MS, Happening::Due { incarnation, command: Command::EndGrace });
                }
                Effect::Announce => world.ended = true,
            }
        }
    }
}

impl SimPerformer {
    fn run(&self) -> skein_common::RunId {
        self.owner.world.borrow().run.clone()
    }

    fn check(&self, state: &RunState, effects: &[Effect]) {
        let mut world = self.owner.world.borrow_mut();
        let world = &mut *world;
        world.watch.catch_up(&world.memory, &world.run);
        for effect in effects {
            world.watch.check_effect(effect);
        }
        if self.owner.mutant != Some(Mutant::DoubledPermit) {
            world.watch.check_live(state);
        }
        let heard = self.owner.models.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        world.watch.check_heard(&heard);
    }

    /// Expected before anybody can claim it.
    async fn dispatch(&self, attempt: AttemptRef) {
        {
            let mut world = self.owner.world.borrow_mut();
            let now = world.now();
            world.attempts.expect(attempt.clone(), skein_common::ports::Target::Pool(String::from("default")), now);
        }
        let Ok(task) = encode(&attempt) else { return };
        if self.ports.tasks.dispatch(&Target::Pool(String::from("default")), task).await.is_ok() {
            self.owner.world.borrow_mut().ring();
        }
    }
}
