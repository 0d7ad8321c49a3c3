//! A simulated cluster: several coordinators, workers that outlive them, and one run that goes from hand to hand.
//!
//! The attempts, the driver and the engine are the product's; what Fleet, Run and the worker's actors do around them is
//! told again here, on virtual time: [`coordinator`] keeps in step with Fleet, [`owner`] with Run and its performer,
//! [`worker`] with Link, Attempt and Outbox. What must hold beside the journal is in [`audit`].

mod audit;
mod coordinator;
mod journal;
mod mutants;
mod owner;
mod queues;
mod troubles;
mod worker;
mod world;

pub use mutants::ClusterMutant;

use super::script::{Models, OddTurns};
use super::world::BEGINNING_MS;
use super::{Lives, MODELS, Options, Told, submission, tell};
use bytes::Bytes;
use skein_common::ports::Journal;
use skein_engine::{Event, encode_records};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use world::World;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct ClusterOptions {
    pub seed: u64,
    pub model: &'static str,
    /// Crashes, takeovers, lost and late messages, dead and silent workers; else everything goes well.
    pub is_rough: bool,
    pub mutant: Option<ClusterMutant>,
}

impl ClusterOptions {
    /// The seed decides on the model, too.
    #[must_use]
    pub fn rough(seed: u64, mutant: Option<ClusterMutant>) -> ClusterOptions {
        let index = usize::try_from(seed).unwrap_or(0) % MODELS.len();
        ClusterOptions { seed, model: MODELS[index], is_rough: true, mutant }
    }
}

/// How the simulation of a cluster went.
#[derive(Debug, Clone)]
pub struct ClusterTold {
    pub told: Told,
    /// What came about, and how often.
    pub met: BTreeMap<&'static str, u64>,
}

/// Simulates one run in a cluster.
///
/// # Errors
/// What did not hold.
pub async fn simulate_cluster(options: ClusterOptions) -> Result<ClusterTold, String> {
    let ClusterOptions { seed, model, is_rough, mutant } = options;
    let (run, event) = submission(Options { seed, model, is_rough, mutant: None });
    let Event::RunSubmitted { spec } = &event else { return Err(String::from("no submission")) };
    let limits = (spec.limits.concurrency, spec.limits.agents_max);
    let mut world = World::new(seed, run.clone(), is_rough, mutant, limits);
    world.watch.given = 1;
    let memory = world.memory.clone();
    let records = encode_records(0, 0, BEGINNING_MS, &[event]).map_err(|error| error.to_string())?;
    let records = records.into_iter().map(Bytes::from).collect();
    memory.append(&run, 0, records).await.map_err(|error| error.to_string())?;
    let odd = if is_rough { OddTurns::draw(&mut world.random) } else { OddTurns::default() };
    let models = Models { odd: Arc::new(odd), ..Models::default() };
    let world = Rc::new(RefCell::new(world));
    owner::live(&world, &models).await;
    let mut world = world.borrow_mut();
    let World { watch, order, epoch, .. } = &mut *world;
    let lives = Lives { incarnations: *epoch, odd_turns: models.odd.met(), order: *order };
    let told = tell(watch, &memory, &run, lives)?;
    Ok(ClusterTold { told, met: std::mem::take(&mut world.met) })
}
