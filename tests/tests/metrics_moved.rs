//! Every metric is moved by what it says: one system comes through everything that is counted. A metric that is
//! registered and that nothing here moves fails the test.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::json;
use skein_backend::faulty::{Faults, Plan, faulty};
use skein_common::RunId;
use skein_common::agent::Simulation;
use skein_common::ports::Ports;
use skein_common::run::RunStatus;
use skein_common::script::{Call, CallKind, Loaded, Meta, Op};
use skein_common::view::RunView;
use skein_coordinator::{RunOutcome, WatchItem};
use skein_engine::{Command, Run, encode_records};
use skein_script::HostLimits;
use skein_tests::prometheus::Page;
use skein_tests::system::{System, spec};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Lines that a watcher who does not read is told: more than are kept for it.
const LINES: usize = 3000;

fn page(system: &System) -> Page {
    Page(system.coordinator.watched().meters.text().expect("encodes"))
}

/// What nothing has moved in any of these pages.
fn unmoved(names: &[String], pages: &[Page]) -> Vec<String> {
    names.iter().filter(|name| !pages.iter().any(|page| page.has_moved(name))).cloned().collect()
}

async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !look() {
        assert!(tokio::time::Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Tasks and results come twice, as a bus may deliver them.
async fn doubled(turn_ms: u64) -> System {
    let faults = Faults { task_twice: 1000, result_twice: 1000, ..Faults::default() };
    let wrap = |seed| {
        let faults = faults.clone();
        move |ports: Ports| faulty(ports, Plan { seed, faults, crash: None })
    };
    System::start_with_both(HostLimits { turn_ms, ..HostLimits::default() }, wrap(1), wrap(2)).await
}

/// 20 agents of which none ends: what stands is seen, then the run is stopped.
async fn standing(system: &System) -> Page {
    let latency_ms = 24 * 60 * 60 * 1000;
    let mut waiting = spec("await parallel(Array.from({ length: 20 }, (_, i) => () => agent('agent-' + i)))");
    waiting.simulation = Simulation { latency_ms, ..Simulation::default() };
    let run = system.coordinator.submit(waiting).await.expect("submits");
    system.coordinator.begin(run.clone()).await.expect("begins");
    let stands = |page: &Page| {
        page.sum("skein_agents_running", "") == 16.0
            && page.sum("skein_agents_queued", "") == 4.0
            && page.sum("skein_permits_in_use", "scope=\"run\"") == 16.0
            && page.sum("skein_permits_limit", "scope=\"run\"") == 16.0
            && page.sum("skein_runs_active", "state=\"running\"") == 1.0
            && page.sum("skein_workers", "state=\"working\"") == 1.0
            && page.sum("skein_worker_slots", "state=\"busy\"") == 16.0
            && page.sum("skein_worker_slots", "") == 64.0
    };
    until("all of it stands", || stands(&page(system))).await;
    let seen = page(system);
    system.coordinator.control(run.clone(), Command::Pause).await.expect("pauses");
    assert_eq!(page(system).sum("skein_runs_active", "state=\"pausing\""), 1.0);
    system.coordinator.control(run.clone(), Command::Stop).await.expect("stops");
    until("the run is gone", || page(system).sum("skein_runs_active", "") == 0.0).await;
    until("its slots are free", || page(system).sum("skein_worker_slots", "state=\"free\"") == 64.0).await;
    assert_eq!(page(system).sum("skein_agents_total", "outcome=\"stopped\""), 20.0);
    assert_eq!(page(system).sum("skein_permits_limit", ""), 0.0);
    seen
}

/// A run whose journal says that its script called another agent than it does.
async fn diverged(system: &System) -> RunView {
    let ports = system.coordinator.ports();
    let run_id = RunId::from_uuid(uuid::Uuid::now_v7());
    let earlier = ports.leases.acquire(run_id.as_str(), "earlier").await.expect("is free");
    let (mut run, submitted) = Run::submit(spec("await agent('what the script says')"), 1000);
    let mut events = vec![submitted];
    let meta = Meta { name: String::from("test"), description: String::from("a test"), ..Meta::default() };
    let kind = CallKind::Agent {
        prompt: String::from("what the journal says"),
        options: None,
        options_not_object: false,
        phase: None,
        workflow: None,
    };
    for command in [
        Command::Begin { epoch: earlier.epoch },
        Command::Load { loaded: Loaded { meta, ..Loaded::default() } },
        Command::Operate { ops: vec![Op::Call(Call { id: 1, kind })] },
    ] {
        events.extend(run.accept(command, 1000).expect("accepts"));
    }
    let records = encode_records(earlier.epoch, 0, 1000, &events).expect("encodes");
    let records = records.into_iter().map(bytes::Bytes::from).collect();
    ports.journal.append(&run_id, 0, records).await.expect("stores");
    ports.leases.release(&earlier).await.expect("is given back");
    match system.coordinator.run_to_its_end(run_id).await {
        RunOutcome::Ended(view) => *view,
        RunOutcome::Interrupted { reason } => unreachable!("{reason}"),
    }
}

/// A watcher that looks away while much is said.
async fn missed(system: &System) -> u64 {
    let body =
        format!("for (let i = 0; i < {LINES}; i++) {{ log('line ' + i); if (i % 100 == 0) await agent('a' + i) }}");
    let run = system.coordinator.submit(spec(&body)).await.expect("submits");
    let mut watcher = system.coordinator.watch(&run);
    let RunOutcome::Ended(view) = system.coordinator.run_to_its_end(run).await else { unreachable!("it ends") };
    assert_eq!(view.status, RunStatus::Completed, "{:?}", view.error);
    match watcher.next().await {
        Some(WatchItem::Missed { items }) => items,
        other => unreachable!("nothing was missed: {other:?}"),
    }
}

#[test]
fn l01_every_metric_that_is_registered_is_moved_by_what_it_counts() {
    actix::System::new().block_on(async {
        let system = doubled(500).await;
        let names = system.coordinator.watched().meters.names();
        assert!(unmoved(&names, &[page(&system)]).len() > 15, "at the start little has moved");
        let mut pages = vec![standing(&system).await];

        let all = "return (await parallel(Array.from({ length: 200 }, (_, i) => () => agent('agent-' + i)))).length";
        let before = page(&system);
        assert_eq!(system.run(all).await.agents.done, 200);
        assert_eq!(page(&system).sum("skein_agents_total", "") - before.sum("skein_agents_total", ""), 200.0);
        assert!(page(&system).sum("skein_redeliveries_total", "") >= 200.0, "everything came twice");
        until("an answer is stale", || page(&system).sum("skein_stale_answers_total", "") > 0.0).await;

        let mut small = spec("await agent('a'); try { await agent('b') } catch (e) { return e.name }");
        small.limits.agents_max = 1;
        assert!(matches!(system.run_spec(small.clone()).await, RunOutcome::Ended(_)));
        assert_eq!(page(&system).sum("skein_limit_refusals_total", "limit=\"agents\""), 1.0);
        (small.limits.agents_max, small.budget) = (10, Some(1));
        assert!(matches!(system.run_spec(small).await, RunOutcome::Ended(_)));
        assert_eq!(page(&system).sum("skein_limit_refusals_total", "limit=\"budget\""), 1.0);

        let endless = system.run("while (true) {}").await;
        assert_eq!(endless.status, RunStatus::Failed);
        assert_eq!(page(&system).sum("skein_script_kills_total", "cause=\"time\""), 1.0);

        let view = diverged(&system).await;
        assert_eq!(view.error.map(|error| error.kind).as_deref(), Some("divergence"));
        let after = page(&system);
        assert_eq!((after.sum("skein_divergences_total", ""), after.sum("skein_takeovers_total", "")), (1.0, 1.0));
        assert_eq!(after.sum("skein_replay_events_total", ""), 5.0);

        let items = missed(&system).await;
        assert_eq!(page(&system).sum("skein_feed_dropped_total", ""), items as f64);

        pages.push(page(&system));
        pages.iter().for_each(Page::lint);
        assert_eq!(unmoved(&names, &pages), Vec::<String>::new());
        let never = [names.clone(), vec![String::from("skein_that_nobody_moves_total")]].concat();
        assert_eq!(json!(unmoved(&never, &pages)), json!(["skein_that_nobody_moves_total"]));
        system.stop().await;
    });
}
