//! Simulation: the real engine, driver and table of attempts against a world that follows from a seed.
//!
//! Scripts are models, time is virtual, nothing runs beside it. A seed decides on the order of everything, on crashes,
//! lost and repeated messages and silent workers; [`simulate`] says what did not hold.

pub mod cluster;
mod memory;
mod models;
mod mutants;
mod orders;
mod owner;
mod script;
mod watch;
mod world;

pub use models::MODELS;
pub use mutants::Mutant;
pub use orders::Order;

use crate::system::spec;
use bytes::Bytes;
use memory::Memory;
use owner::Owner;
use script::{Models, OddTurns};
use skein_common::ports::Journal;
use skein_common::run::{BudgetUnit, RunLimits, RunStatus};
use skein_common::{Payload, RunId};
use skein_engine::{Event, Run, RunError, Stage, TaskEnd, encode_records};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use watch::Watch;
use world::{BEGINNING_MS, World};

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    pub model: &'static str,
    /// Crashes, lost and repeated messages, silent workers; else everything goes well.
    pub is_rough: bool,
    pub mutant: Option<Mutant>,
}

impl Options {
    /// The seed decides on the model, too.
    #[must_use]
    pub fn rough(seed: u64, mutant: Option<Mutant>) -> Options {
        let index = usize::try_from(seed).unwrap_or(0) % MODELS.len();
        Options { seed, model: MODELS[index], is_rough: true, mutant }
    }
}

/// What a run came to, the same in every world.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub status: RunStatus,
    pub result: Option<Payload>,
    pub error: Option<RunError>,
    pub agents: usize,
}

/// How a simulation went.
#[derive(Debug, Clone)]
pub struct Told {
    pub ended: Ended,
    pub incarnations: u64,
    /// What it was told meanwhile.
    pub order: Option<Order>,
    /// Turns of the script that took longer than the driver waits, and hosts that were lost.
    pub odd_turns: u32,
    /// The events of the journal.
    pub events: Vec<(i64, Event)>,
    /// What was stored, large texts among it.
    memory: Arc<Memory>,
}

impl Told {
    /// The events that say what went wrong.
    #[must_use]
    pub fn setbacks(&self) -> Vec<&(i64, Event)> {
        let is_setback = |(_, event): &&(i64, Event)| match event {
            Event::EpochBegan { .. } | Event::AttemptEnded { .. } => true,
            Event::TaskEnded { end, .. } => matches!(end, TaskEnd::Null { .. } | TaskEnd::Thrown { .. }),
            _ => false,
        };
        self.events.iter().filter(is_setback).collect()
    }
}

/// Simulates one run.
///
/// # Errors
/// What did not hold.
pub async fn simulate(options: Options) -> Result<Told, String> {
    let (run, event) = submission(options);
    go_on(options, vec![(BEGINNING_MS, event)], run, Arc::default()).await
}

/// Goes on from the first events of a journal, each stored alone; nothing of the owner that wrote them is left.
///
/// # Errors
/// What did not hold.
pub async fn take_over(options: Options, told: &Told, kept: usize) -> Result<Told, String> {
    let (run, _) = submission(options);
    go_on(options, told.events.iter().take(kept).cloned().collect(), run, told.memory.clone()).await
}

fn submission(options: Options) -> (RunId, Event) {
    let mut spec = spec("");
    spec.script = Payload::text(options.model);
    let concurrency = 1 + u32::try_from(options.seed / 16 % 4).unwrap_or(0);
    spec.limits = RunLimits { concurrency, agents_max: models::AGENTS_MAX };
    spec.budget = models::budget(options.model);
    spec.budget_unit = BudgetUnit::Output;
    spec.timeout_ms = models::timeout_ms(options.model);
    let (_, event) = Run::submit(spec, BEGINNING_MS);
    (RunId::from_uuid(uuid::Uuid::from_u128(options.seed.into())), event)
}

async fn go_on(options: Options, events: Vec<(i64, Event)>, run: RunId, before: Arc<Memory>) -> Result<Told, String> {
    let Some((_, Event::RunSubmitted { spec })) = events.first() else { return Err(String::from("no submission")) };
    let limits = (spec.limits.concurrency, spec.limits.agents_max);
    let mut world = World::new(options.seed, run.clone(), options.is_rough, options.mutant, limits);
    world.watch.given = events.len();
    let memory = world.memory.clone();
    memory.keep_blobs_of(&before);
    for (position, (at_ms, event)) in (0u64..).zip(events) {
        let records = encode_records(0, position, at_ms, &[event]).map_err(|error| error.to_string())?;
        let records = records.into_iter().map(Bytes::from).collect();
        memory.append(&run, position, records).await.map_err(|error| error.to_string())?;
    }
    let world = Rc::new(RefCell::new(world));
    let odd = if options.is_rough { OddTurns::draw(&mut world.borrow_mut().random) } else { OddTurns::default() };
    let reorders = options.mutant == Some(Mutant::ReorderedSettlements);
    let models = Models { reorders, odd: Arc::new(odd), ..Models::default() };
    let odd = models.odd.clone();
    let owner = Owner { world: world.clone(), models, mutant: options.mutant, is_rough: options.is_rough };
    let incarnations = owner.live().await;
    let mut world = world.borrow_mut();
    let World { watch, memory, run, order, .. } = &mut *world;
    tell(watch, memory, run, Lives { incarnations, odd_turns: odd.met(), order: *order })
}

/// What is known of the owners of a run.
struct Lives {
    incarnations: u64,
    odd_turns: u32,
    order: Option<Order>,
}

fn tell(watch: &mut Watch, memory: &Arc<Memory>, run: &RunId, lives: Lives) -> Result<Told, String> {
    watch.catch_up(memory, run);
    watch.check_end();
    if let Some(broken) = watch.broken.take() {
        return Err(broken);
    }
    let mut events = Vec::new();
    for bytes in memory.records(run, 0) {
        let record = skein_engine::decode_record(&bytes).map_err(|error| error.to_string())?;
        events.extend(record.events.into_iter().map(|event| (record.at_ms, event)));
    }
    let Some(state) = watch.state() else { return Err(String::from("there is no run")) };
    let Stage::Ended(status) = state.stage else { return Err(format!("the run is {:?}", state.stage)) };
    let ended = Ended { status, result: state.result.clone(), error: state.error.clone(), agents: state.agents.len() };
    let Lives { incarnations, odd_turns, order } = lives;
    Ok(Told { ended, incarnations, order, odd_turns, events, memory: memory.clone() })
}
