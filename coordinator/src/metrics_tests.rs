//! Metrics of a coordinator: what moves them, and which series there can be.

use super::*;
use crate::ownership::{Holdings, Terms};
use serde_json::json;
use skein_common::ports::{Lease, shard_of};
use skein_common::run::RunSpec;
use skein_common::script::{Call, CallKind, Loaded, Op};
use skein_common::wire::AttemptEnd;
use skein_common::{AgentNumber, Payload};
use skein_engine::{Command, Run};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A run that is driven by hand, and counted as a driver does.
struct Counted {
    meters: Meters,
    metrics: Metrics,
    run: Run,
    live: LiveRun,
    now_ms: i64,
}

impl Counted {
    fn begin(models: &[&str]) -> Counted {
        let meters = Meters::default();
        let deliveries = Deliveries::register(&meters).expect("registers");
        let models = AllowedNames::new(models.iter().map(|model| (*model).to_owned()));
        let metrics = Metrics::register(&meters, deliveries, models).expect("registers");
        let spec: RunSpec = serde_json::from_value(json!({
            "script": { "as": "text", "text": "" }, "origin": "test.js", "runner": "simulated", "seed": 1,
            "project_dir": "/", "limits": { "concurrency": 16, "agents_max": 1000 },
        }))
        .expect("a spec");
        let (run, _) = Run::submit(spec, 0);
        let live = metrics.begin_run(&RunId::from_uuid(uuid::Uuid::nil()));
        let mut counted = Counted { meters, metrics, run, live, now_ms: 0 };
        counted.accept(Command::Begin { epoch: 1 });
        counted.accept(Command::Load { loaded: Loaded::default() });
        counted
    }

    /// A second later.
    fn accept(&mut self, command: Command) {
        self.now_ms += 1000;
        let events = self.run.accept(command, self.now_ms).expect("accepts");
        let took = Duration::from_millis(2);
        self.metrics.journalled(self.run.state(), &events, self.now_ms, took, &mut self.live);
    }

    fn call(&mut self, options: &[Option<String>]) {
        let calls = (1..).zip(options).map(|(id, options)| {
            let kind = CallKind::Agent {
                prompt: format!("prompt {id}"),
                options: options.clone(),
                options_not_object: false,
                phase: None,
                workflow: None,
            };
            Op::Call(Call { id, kind })
        });
        self.accept(Command::Operate { ops: calls.collect() });
    }

    fn report(&mut self, agent: AgentNumber, end: AttemptEnd, tokens: u64) {
        let attempt = self.run.state().agent(agent).expect("an agent").attempts;
        let usage = Usage { input: tokens, ..Usage::default() };
        self.accept(Command::Report { agent, attempt, end, usage, notes: Vec::new() });
    }

    fn text(&self) -> String {
        self.meters.text().expect("encodes")
    }

    /// The value of a series, as it is written.
    fn value(&self, series: &str) -> f64 {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series}:\n{text}")).parse().expect("a number")
    }
}

fn done() -> AttemptEnd {
    AttemptEnd::Done { value: Payload::text("done") }
}

#[test]
fn a_thousand_models_are_as_many_series_as_are_configured_and_one() {
    let mut counted = Counted::begin(&["opus", "haiku"]);
    let model = |name: String| Some(json!({ "model": name }).to_string());
    let mut options: Vec<_> = (0..997).map(|number| model(format!("model-{number}"))).collect();
    options.extend([model(String::from("opus")), model(String::from("haiku")), None]);
    counted.call(&options);
    for agent in 1..=1000 {
        counted.report(agent, done(), 1);
    }
    let text = counted.text();
    let labels = |line: &str| Some(line.split_once("model=\"")?.1.split_once('"')?.0.to_owned());
    let models: BTreeSet<String> = text.lines().filter_map(labels).collect();
    assert_eq!(models.iter().map(String::as_str).collect::<Vec<_>>(), ["haiku", "none", "opus", "other"]);
    assert_eq!(counted.value(r#"skein_agents_total{model="other",outcome="done",runner="simulated"}"#), 997.0);
    assert_eq!(counted.value(r#"skein_tokens_total{kind="input",model="opus"}"#), 1.0);
    assert!(text.lines().count() < 500, "{} lines", text.lines().count());
}

#[test]
fn l01_gauges_are_those_of_the_journal_and_permits_are_never_above_the_limit() {
    let mut counted = Counted::begin(&[]);
    counted.call(&vec![None; 40]);
    for ended in 1..=40 {
        let running = counted.value("skein_agents_running");
        assert_eq!(running, f64::from((41 - ended).min(16)));
        assert_eq!(counted.value("skein_agents_queued"), f64::from(41 - ended) - running);
        let held = counted.value(r#"skein_permits_in_use{scope="run"}"#);
        assert!(held <= counted.value(r#"skein_permits_limit{scope="run"}"#) && held == running);
        counted.report(u32::try_from(ended).expect("fits"), done(), 1);
    }
    assert_eq!(counted.value(r#"skein_runs_active{state="running"}"#), 1.0);
    counted.accept(Command::Return { result: String::from("1"), warnings: Vec::new() });
    for gauge in
        [r#"skein_runs_active{state="running"}"#, "skein_agents_running", r#"skein_permits_limit{scope="run"}"#]
    {
        assert_eq!(counted.value(gauge), 0.0, "{gauge}");
    }
    assert_eq!(counted.value(r#"skein_runs_total{outcome="completed"}"#), 1.0);
    assert_eq!(counted.value(r#"skein_agents_total{model="none",outcome="done",runner="simulated"}"#), 40.0);
    assert_eq!(counted.value("skein_agent_queue_seconds_count"), 40.0);
    assert_eq!(counted.value("skein_journal_batch_events_sum") as u64, counted.run.state().events - 1);
}

#[test]
fn a_later_attempt_waits_for_a_permit_again_and_its_tokens_count_too() {
    let mut counted = Counted::begin(&[]);
    counted.call(&[None]);
    let failed = AttemptEnd::Failed {
        cause: skein_common::agent::Cause::Failed,
        detail: None,
        message: String::new(),
        retryable: true,
        unfit: None,
    };
    counted.report(1, failed, 10);
    counted.report(1, done(), u64::MAX);
    assert_eq!(counted.value(r#"skein_permit_wait_seconds_count{scope="run"}"#), 2.0);
    assert_eq!(counted.value("skein_agent_queue_seconds_count"), 1.0);
    assert_eq!(counted.value(r#"skein_agents_total{model="none",outcome="done",runner="simulated"}"#), 1.0);
    assert_eq!(counted.value(r#"skein_agent_duration_seconds_sum{runner="simulated"}"#), 1.0);
    let bound = (TOKENS_MAX + 10) as f64;
    assert_eq!(counted.value(r#"skein_tokens_total{kind="input",model="none"}"#), bound, "no worker makes it run over");
}

#[tokio::test(start_paused = true)]
async fn who_may_have_lost_a_run_tells_nothing_of_it() {
    let mut counted = Counted::begin(&[]);
    counted.call(&[None]);
    assert_eq!(counted.value("skein_agents_running"), 1.0);
    let lease = Duration::from_secs(3);
    let holdings = Arc::new(Holdings::new(1, Terms::new(lease), String::from("here")));
    counted.metrics.standing().tell_only_of(holdings.clone());
    counted.metrics.see_workers(WorkerCounts { working: 3, draining: 2, suspect: 1 });
    let shard = shard_of(&RunId::from_uuid(uuid::Uuid::nil()), 1);
    let told = |counted: &Counted| {
        let workers = ["working", "draining", "suspect"].map(|state| format!("skein_workers{{state=\"{state}\"}}"));
        (counted.value("skein_agents_running"), workers.map(|series| counted.value(&series)))
    };
    assert_eq!(told(&counted), (0.0, [0.0; 3]), "another owns it");
    holdings.gain(shard, Lease { name: String::from("shard-00"), epoch: 1 }, tokio::time::Instant::now());
    assert!(holdings.open(shard));
    assert_eq!(told(&counted), (1.0, [3.0, 2.0, 1.0]));
    tokio::time::advance(lease).await;
    assert_eq!(told(&counted), (0.0, [0.0; 3]), "the lease may have ended");
    drop(counted.live);
}
