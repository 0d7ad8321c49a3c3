//! The drivers of a simulated run: one owner after the other, and sometimes two at once.

use super::coordinator::{Incarnation, pool};
use super::journal::SlowJournal;
use super::queues::Delivery;
use super::troubles::ROUGH_INCARNATIONS;
use super::world::{Happening, World};
use crate::sim::script::Models;
use async_trait::async_trait;
use futures::future::LocalBoxFuture;
use skein_backend::faulty::{Crash, Faults, Plan, faulty};
use skein_common::ports::Ports;
use skein_common::wire::{AttemptRef, encode};
use skein_coordinator::attempts::Inheritance;
use skein_coordinator::driver::{Alive, Driver, DriverContext, HibernationRule, Journalled, Performer};
use skein_coordinator::{DriverError, Telemetry};
use skein_engine::{Command, Effect, RunState};
use skein_script::HostLimits;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

const GRACE_MS: u64 = 2_000;
/// Until a file is read.
const FILE_MS: u64 = 3;
/// A run that has no owner any more is taken up again by the same coordinator within so long.
const AGAIN_MS: u64 = 2_000;
/// More owners than this did not get further.
const INCARNATIONS_MAX: u64 = 60;
/// Steps of a thousand after which the script loses its host.
const HIBERNATES: u32 = 30;

pub(super) type Shared = Rc<RefCell<World>>;

/// How a driver ended.
#[derive(Debug)]
enum Life {
    Ended,
    Crashed,
    Halted,
    Failed(DriverError),
}

/// One driver of the run, in the process of a coordinator.
struct Owner {
    place: usize,
    incarnation: Incarnation,
    life: LocalBoxFuture<'static, Life>,
    waits: Arc<AtomicBool>,
}

impl Owner {
    /// Goes on until it waits for the world, or has ended. What it waits for beside takes no virtual time.
    async fn advance(&mut self) -> Option<Life> {
        std::future::poll_fn(|context| {
            self.waits.store(false, Ordering::SeqCst);
            match self.life.as_mut().poll(context) {
                Poll::Ready(life) => Poll::Ready(Some(life)),
                Poll::Pending if self.waits.load(Ordering::SeqCst) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// Lets owners and the world take turns until the run has ended.
pub(super) async fn live(world: &Shared, models: &Models) {
    let mut owners: Vec<Owner> = Vec::new();
    loop {
        let places = std::mem::take(&mut world.borrow_mut().takeovers);
        owners.extend(places.into_iter().map(|place| begin(world, models, place)));
        let mut index = 0;
        while let Some(owner) = owners.get_mut(index) {
            match owner.advance().await {
                Some(life) => {
                    let owner = owners.remove(index);
                    over(&mut world.borrow_mut(), owner.place, owner.incarnation, &life);
                }
                None => index += 1,
            }
        }
        let mut world = world.borrow_mut();
        if world.ended || world.watch.broken.is_some() {
            return;
        }
        world.send_appends();
        if world.takeovers.is_empty() && !world.step() {
            return world.watch.breaks("the run hangs");
        }
    }
}

fn begin(world: &Shared, models: &Models, place: usize) -> Owner {
    let waits = Arc::new(AtomicBool::new(false));
    let incarnation = world.borrow_mut().begin_incarnation(place);
    let (crash, ports) = {
        let mut world = world.borrow_mut();
        // A lost host costs an incarnation, too.
        let rough = ROUGH_INCARNATIONS - u64::from(models.odd.loses_a_host());
        let is_rough = world.is_rough && incarnation.number <= rough;
        let crash = (is_rough && world.random.happens(600))
            .then(|| Crash::at(1 + world.random.below(40), world.random.happens(500)));
        if is_rough {
            world.draw_deposition(incarnation.number);
        }
        let ports = ports(&mut world, is_rough, crash.clone(), waits.clone());
        (crash, ports)
    };
    // Each has a script of its own.
    let models = Models { heard: Arc::default(), ..models.clone() };
    let drive = Drive { world: world.clone(), models, ports, place, incarnation, waits: waits.clone() };
    let life = Box::pin(async move {
        let halted = drive.halted();
        let crashed = async {
            match &crash {
                Some(crash) => crash.happens().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = halted => Life::Halted,
            () = crashed => Life::Crashed,
            life = drive.live() => life,
        }
    });
    Owner { place, incarnation, life, waits }
}

fn ports(world: &mut World, is_rough: bool, crash: Option<Crash>, waits: Arc<AtomicBool>) -> Ports {
    let mut ports = world.memory.ports();
    ports.journal = Arc::new(SlowJournal { store: world.memory.clone(), desk: world.desk.clone(), waits });
    ports.tasks = world.tasks.clone();
    let unknown = 10;
    let faults = Faults {
        append_unknown_stored: unknown,
        append_unknown_lost: unknown,
        append_unknown_partly: unknown,
        append_refused: 2,
        unavailable: 5,
        ..Faults::default()
    };
    let faults = if is_rough { faults } else { Faults::default() };
    faulty(ports, Plan { seed: world.random.bits(), faults, crash })
}

/// What becomes of the run when a driver has ended.
fn over(world: &mut World, place: usize, incarnation: Incarnation, life: &Life) {
    let is_owner = world.epoch == incarnation.number && world.takeovers.is_empty();
    if let Life::Crashed = life {
        return world.coordinator_died(place, incarnation);
    }
    world.end_incarnation(place);
    match life {
        Life::Ended | Life::Failed(DriverError::Ended) => world.ended = true,
        Life::Failed(error) if is_owner && incarnation.number > INCARNATIONS_MAX => {
            world.watch.breaks(format!("the driver fails: {error}"));
        }
        Life::Failed(_) if is_owner => {
            world.meet("owners that began again");
            let wait_ms = 10 + world.random.below(AGAIN_MS);
            world.take_over_after(wait_ms, Some(place));
        }
        Life::Failed(_) => world.meet("deposed owners that noticed"),
        Life::Halted | Life::Crashed => {}
    }
}

/// What a driver works with.
struct Drive {
    world: Shared,
    models: Models,
    ports: Ports,
    place: usize,
    incarnation: Incarnation,
    waits: Arc<AtomicBool>,
}

impl Drive {
    fn halted(&self) -> impl Future<Output = ()> + use<> {
        let (world, place, number) = (self.world.clone(), self.place, self.incarnation.number);
        std::future::poll_fn(move |_| {
            let live = world.borrow().coordinators[place].live;
            let is_halted = live.is_none_or(|live| live.number != number || live.halted);
            if is_halted { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    async fn live(&self) -> Life {
        match self.try_live().await {
            Ok(()) => Life::Ended,
            Err(error) => Life::Failed(error),
        }
    }

    /// As the loop of the Run actor.
    async fn try_live(&self) -> Result<(), DriverError> {
        let (run, clock) = {
            let world = self.world.borrow();
            (world.run.clone(), world.clock.clone())
        };
        let context = DriverContext {
            ports: self.ports.clone(),
            hosts: Arc::new(self.models.clone()),
            host_limits: HostLimits::default(),
            clock,
            replaces_lost_hosts: true,
            hibernation: HibernationRule { after: Duration::MAX, hosts_max: usize::MAX },
            metrics: Telemetry::unwatched().expect("metrics").metrics,
        };
        let mut performer = SimPerformer { drive: self };
        let epoch = self.incarnation.number;
        let mut driver = Driver::open(run, epoch, context, &Alive::All, &mut performer).await?;
        self.start_timeout(driver.state());
        self.hand_over(driver.state());
        self.world.borrow_mut().results.redeliver(self.incarnation.consumer);
        self.world.borrow_mut().ring_for_results();
        loop {
            if self.world.borrow().ended {
                return Ok(());
            }
            if self.world.borrow_mut().goes_wrong(HIBERNATES) {
                driver.hibernate();
            }
            let (items, again) = self.next(driver.is_busy()).await;
            let reported: Vec<_> =
                items.iter().filter_map(|item| Some((item.delivery?, item.command.clone()))).collect();
            driver.step(items.into_iter().map(|item| item.command).collect(), &mut performer).await?;
            self.reported(reported);
            // Not what has just ended.
            self.dispatch_again(driver.state(), again).await;
        }
    }

    /// These are journalled.
    fn reported(&self, reports: Vec<(Delivery, Command)>) {
        let mut world = self.world.borrow_mut();
        let now = world.now();
        for (delivery, command) in reports {
            world.finish_result(delivery);
            if let Command::Report { agent, attempt, .. } = command {
                let attempt = world.attempt(agent, attempt);
                world.coordinators[self.place].attempts.forget(&attempt, now);
            }
        }
    }

    /// What waits for the driver, as soon as something does and sometimes a little later.
    async fn next(&self, is_busy: bool) -> (Vec<super::coordinator::Item>, Vec<AttemptRef>) {
        let until = {
            let mut world = self.world.borrow_mut();
            world.steps + world.random.below(6)
        };
        std::future::poll_fn(|_| {
            let mut world = self.world.borrow_mut();
            let steps = world.steps;
            let coordinator = &mut world.coordinators[self.place];
            let is_due = is_busy || !coordinator.inbox.is_empty() || !coordinator.again.is_empty();
            if is_due && steps >= until {
                let items = std::mem::take(&mut coordinator.inbox);
                return Poll::Ready((items, std::mem::take(&mut coordinator.again)));
            }
            self.waits.store(true, Ordering::SeqCst);
            Poll::Pending
        })
        .await
    }

    fn start_timeout(&self, state: &RunState) {
        let Some(timeout_ms) = state.spec.timeout_ms else { return };
        let mut world = self.world.borrow_mut();
        let left_ms = timeout_ms.saturating_sub(world.now_ms);
        let command = Command::Abort { kind: String::from("timeout"), message: String::from("too long") };
        world.after(left_ms, self.due(command));
    }

    fn due(&self, command: Command) -> Happening {
        Happening::Due { place: self.place, incarnation: self.incarnation.number, command }
    }

    /// What the journal says runs may be with workers of an earlier owner.
    fn hand_over(&self, state: &RunState) {
        let mut world = self.world.borrow_mut();
        let running = state.running.iter().map(|(agent, attempt)| (world.attempt(*agent, *attempt), pool()));
        let inheritance = Inheritance { run: world.run.clone(), attempts: running.collect() };
        world.hand_over(self.place, &inheritance);
    }

    /// Tasks that may be with nobody, unless their attempts are over by now.
    async fn dispatch_again(&self, state: &RunState, attempts: Vec<AttemptRef>) {
        for again in attempts {
            if state.running.get(&again.agent) == Some(&again.attempt) && !state.is_ended() {
                self.dispatch(again).await;
            }
        }
    }

    /// Expected before anybody can claim it.
    async fn dispatch(&self, attempt: AttemptRef) {
        let twice = {
            let mut world = self.world.borrow_mut();
            let now = world.now();
            if world.coordinators[self.place].attempts.expect(attempt.clone(), pool(), now).is_none() {
                return; // A worker has it already.
            }
            world.goes_wrong(100)
        };
        let Ok(task) = encode(&(attempt, self.incarnation.number)) else { return };
        if twice {
            self.world.borrow_mut().tasks.put(task.clone());
        }
        let _dispatched_again_when_nobody_claims_it = self.ports.tasks.dispatch(&pool(), task).await;
        self.world.borrow_mut().ring_for_tasks();
    }
}

/// Performs effects on the simulated world, and checks each of them.
struct SimPerformer<'a> {
    drive: &'a Drive,
}

#[async_trait(?Send)]
impl Performer for SimPerformer<'_> {
    async fn perform(&mut self, state: &RunState, journalled: &Journalled, effects: Vec<Effect>) {
        self.check(state, &effects);
        for effect in &effects {
            if let Effect::Dispatch { agent, attempt } = effect
                && !state.is_ended()
            {
                let attempt = self.drive.world.borrow().attempt(*agent, *attempt);
                self.drive.dispatch(attempt).await;
            }
        }
        let (place, epoch) = (self.drive.place, self.drive.incarnation.number);
        let mut world = self.drive.world.borrow_mut();
        for effect in effects {
            match effect {
                Effect::Dispatch { .. } => {}
                Effect::Cancel { agent, attempt } => {
                    let attempt = world.attempt(agent, attempt);
                    world.cancel(place, epoch, attempt);
                }
                Effect::Interrupt { agent, attempt } => {
                    let attempt = world.attempt(agent, attempt);
                    world.interrupt(place, epoch, attempt);
                }
                Effect::StartTimer { call, due_ms } => {
                    let wait_ms = u64::try_from(due_ms.saturating_sub(journalled.at_ms)).unwrap_or(0);
                    let due = self.drive.due(Command::Fire { call });
                    world.after(wait_ms, due);
                }
                Effect::LoadWorkflow { call, path } => {
                    let due = self.drive.due(Command::ProvideScript { call, read: Ok(path) });
                    world.after(FILE_MS, due);
                }
                Effect::StartGrace => {
                    let due = self.drive.due(Command::EndGrace);
                    world.after(GRACE_MS, due);
                }
                Effect::Announce => world.ended = true,
            }
        }
    }
}

impl SimPerformer<'_> {
    fn check(&self, state: &RunState, effects: &[Effect]) {
        let mut world = self.drive.world.borrow_mut();
        let world = &mut *world;
        world.watch.catch_up(&world.memory, &world.run);
        for effect in effects {
            world.watch.check_effect(effect);
        }
        world.watch.check_live(state);
        let heard = self.drive.models.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        world.watch.check_heard(&heard);
    }
}
