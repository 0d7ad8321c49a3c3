//! The simulation: seeds by the thousand, a crash after every event of every model, and planted bugs it must find.
#![expect(clippy::expect_used, clippy::panic, reason = "a world in which something does not hold fails the test")]

use skein_common::run::RunStatus;
use skein_tests::sim::cluster::{ClusterMutant, ClusterOptions, simulate_cluster};
use skein_tests::sim::{Ended, MODELS, Mutant, Options, simulate, take_over};
use std::collections::BTreeMap;

/// Seeds in the quick tier, for one process and for a cluster each; `SKEIN_TEST_SEEDS` sets more.
const SEEDS: u64 = 500;
/// Within so many seeds each mutant must be found.
const SEEDS_PER_MUTANT: u64 = 200;
/// Most bugs of a cluster show only where several things come together.
const SEEDS_PER_CLUSTER_MUTANT: u64 = 500;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(future)
}

/// `SKEIN_TEST_SEED` begins elsewhere, to see one seed again.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SKEIN_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SKEIN_TEST_SEEDS").unwrap_or(SEEDS),
    }
}

/// What each model comes to when nothing goes wrong.
async fn faultless() -> BTreeMap<&'static str, Ended> {
    let mut all = BTreeMap::new();
    for (seed, model) in (0..).zip(MODELS) {
        let told = simulate(Options { seed, model, is_rough: false, mutant: None }).await;
        all.insert(model, told.unwrap_or_else(|broken| panic!("{model}: {broken}")).ended);
    }
    all
}

#[test]
fn r03_in_every_world_a_run_comes_to_what_it_comes_to_without_faults() {
    block_on(async {
        let faultless = faultless().await;
        let (mut incarnations, mut stopped, mut odd_turns) = (0, 0, 0);
        for seed in seeds() {
            let options = Options::rough(seed, None);
            let told =
                simulate(options).await.unwrap_or_else(|broken| panic!("seed {seed}, {}: {broken}", options.model));
            let (usual, about) = (&faultless[options.model], format!("seed {seed}, {}", options.model));
            match told.order {
                Some(order) => {
                    let explained = order.explains(&told.ended, usual, options.model == "budget");
                    assert!(explained, "{about}: {order:?}, {:?}", told.ended);
                }
                None => assert_eq!(told.ended, *usual, "{about}: {:#?}", told.setbacks()),
            }
            incarnations += told.incarnations;
            stopped += u32::from(told.ended.status == RunStatus::Stopped);
            odd_turns += told.odd_turns;
        }
        println!("seeds {:?}: {incarnations} incarnations, {stopped} stopped, {odd_turns} odd turns", seeds());
        // One seed that is looked at again need not have any.
        assert!(seeds().count() < 100 || (stopped > 0 && odd_turns > 0), "no run was stopped, or no turn was odd");
    });
}

#[test]
fn r03_after_a_crash_at_any_event_of_any_model_the_next_owner_brings_it_to_the_same_end() {
    block_on(async {
        let mut crashes = 0;
        for (seed, model) in (0..).zip(MODELS) {
            // Seeds 16 apart differ in the cap.
            let options = Options { seed: seed + 16, model, is_rough: false, mutant: None };
            let told = simulate(options).await.unwrap_or_else(|broken| panic!("{model}: {broken}"));
            for kept in 1..told.events.len() {
                let again = take_over(options, &told, kept).await;
                let again = again.unwrap_or_else(|broken| panic!("{model}, {kept} events: {broken}"));
                assert_eq!(again.ended, told.ended, "{model}, {kept} events");
                crashes += 1;
            }
        }
        println!("{crashes} crashes");
    });
}

#[test]
fn every_planted_bug_is_found() {
    block_on(async {
        let faultless = faultless().await;
        for mutant in Mutant::ALL {
            let mut found = None;
            for seed in 0..SEEDS_PER_MUTANT {
                let options = Options::rough(seed, Some(mutant));
                match simulate(options).await {
                    Err(broken) => found = Some((seed, broken)),
                    Ok(told) if told.ended != faultless[options.model] => {
                        found = Some((seed, String::from("another end")));
                    }
                    Ok(_) => continue,
                }
                break;
            }
            let (seed, how) = found.unwrap_or_else(|| panic!("{mutant:?} lives after {SEEDS_PER_MUTANT} seeds"));
            println!("{mutant:?}: seed {seed}: {how}");
        }
    });
}

/// What thousands of worlds have to come across, so that they show something.
const CLUSTER_MEETS: [&str; 16] = [
    "coordinators that died",
    "owners deposed",
    "owners that gave up the run",
    "owners that began again",
    "deposed owners that noticed",
    "appends refused",
    "attempts inherited",
    "claims without an answer",
    "tasks dispatched again",
    "results before the workers were heard",
    "results that were offered",
    "offers to deposed owners",
    "workers killed",
    "workers that came back new",
    "workers cut off",
    "attempts abandoned",
];

#[test]
fn r04_in_every_cluster_a_run_comes_to_what_it_comes_to_without_faults() {
    block_on(async {
        let faultless = faultless().await;
        let mut met: BTreeMap<&'static str, u64> = BTreeMap::new();
        for seed in seeds() {
            let options = ClusterOptions::rough(seed, None);
            let about = format!("seed {seed}, {}", options.model);
            let cluster = simulate_cluster(options).await.unwrap_or_else(|broken| panic!("{about}: {broken}"));
            let (told, usual) = (cluster.told, &faultless[options.model]);
            match told.order {
                Some(order) => {
                    let explained = order.explains(&told.ended, usual, options.model == "budget");
                    assert!(explained, "{about}: {order:?}, {:?}", told.ended);
                }
                None => assert_eq!(told.ended, *usual, "{about}: {:#?}", told.setbacks()),
            }
            for (what, times) in cluster.met {
                *met.entry(what).or_default() += times;
            }
        }
        println!("seeds {:?}: {met:#?}", seeds());
        let missing: Vec<_> = CLUSTER_MEETS.iter().filter(|what| !met.contains_key(*what)).collect();
        assert!(seeds().count() < 100 || missing.is_empty(), "never came about: {missing:?}");
    });
}

#[test]
fn a_quiet_cluster_comes_to_what_one_process_comes_to() {
    block_on(async {
        let faultless = faultless().await;
        for (seed, model) in (0..).zip(MODELS) {
            let options = ClusterOptions { seed, model, is_rough: false, mutant: None };
            let cluster = simulate_cluster(options).await.unwrap_or_else(|broken| panic!("{model}: {broken}"));
            assert_eq!(cluster.told.ended, faultless[model], "{model}");
        }
    });
}

#[test]
fn every_planted_bug_of_a_cluster_is_found() {
    block_on(async {
        for mutant in ClusterMutant::ALL {
            let mut found = None;
            for seed in 0..SEEDS_PER_CLUSTER_MUTANT {
                if let Err(broken) = simulate_cluster(ClusterOptions::rough(seed, Some(mutant))).await {
                    found = Some((seed, broken));
                    break;
                }
            }
            let (seed, how) =
                found.unwrap_or_else(|| panic!("{mutant:?} lives after {SEEDS_PER_CLUSTER_MUTANT} seeds"));
            println!("{mutant:?}: seed {seed}: {how}");
        }
    });
}
