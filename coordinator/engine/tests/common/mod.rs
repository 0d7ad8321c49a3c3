//! What the engine's tests share: a run that can be driven by hand, and its journal.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_common::Payload;
use skein_common::agent::{RunnerKind, Simulation, Usage};
use skein_common::run::{BudgetUnit, RunLimits, RunSpec};
use skein_common::script::{Call, CallKind, Loaded, Meta, Op};
use skein_common::wire::AttemptEnd;
use skein_engine::{Command, Event, Refused, Run};

pub fn spec() -> RunSpec {
    RunSpec {
        script: Payload::text("export const meta = …"),
        origin: "test.js".to_owned(),
        args: None,
        args_parsed_from_text: false,
        limits: RunLimits::default(),
        budget: None,
        budget_unit: BudgetUnit::Total,
        runner: Some(RunnerKind::Simulated),
        command: None,
        model: None,
        simulation: Simulation::default(),
        definitions: Vec::new(),
        workflows: Vec::new(),
        script_roots: Vec::new(),
        strict: false,
        dry_run: false,
        timeout_ms: None,
        seed: 7,
        project_dir: "/project".to_owned(),
        parent: None,
        resume_mode: skein_common::run::ResumeMode::default(),
        traceparent: None,
    }
}

/// A run with the journal of everything it decided.
pub struct Driven {
    pub run: Run,
    pub journal: Vec<(i64, Event)>,
    pub now_ms: i64,
    calls: u32,
}

impl Driven {
    /// Submitted, begun and loaded.
    pub fn started(spec: RunSpec) -> Driven {
        let mut driven = Driven::submitted(spec);
        driven.accept(Command::Begin { epoch: 1 }).expect("begins");
        driven.accept(Command::Load { loaded: loaded(&[]) }).expect("loads");
        driven
    }

    pub fn submitted(spec: RunSpec) -> Driven {
        let (run, event) = Run::submit(spec, 1000);
        Driven { run, journal: vec![(1000, event)], now_ms: 1000, calls: 0 }
    }

    pub fn accept(&mut self, command: Command) -> Result<Vec<Event>, Refused> {
        self.now_ms += 1;
        let events = self.run.accept(command, self.now_ms)?;
        self.journal.extend(events.iter().map(|event| (self.now_ms, event.clone())));
        Ok(events)
    }

    /// `agent(prompt, options)`, once.
    pub fn call(&mut self, prompt: &str, options: Option<&str>) -> Vec<Event> {
        self.calls += 1;
        let op = agent_op(self.calls, prompt, options);
        self.accept(Command::Operate { ops: vec![op] }).expect("operates")
    }

    /// So many calls in one turn.
    pub fn call_many(&mut self, count: u32) -> Vec<Event> {
        let ops = (0..count)
            .map(|_| {
                self.calls += 1;
                agent_op(self.calls, &format!("prompt {}", self.calls), None)
            })
            .collect();
        self.accept(Command::Operate { ops }).expect("operates")
    }

    pub fn finish(&mut self, agent: u32, tokens: u64) -> Result<Vec<Event>, Refused> {
        let attempt = self.run.state().agent(agent).map_or(0, |agent| agent.attempts);
        self.accept(Command::Report {
            agent,
            attempt,
            end: AttemptEnd::Done { value: Payload::text("done") },
            usage: Usage { input: tokens, ..Usage::default() },
            notes: Vec::new(),
        })
    }

    /// The run that the journal alone gives.
    pub fn replayed(&self) -> Run {
        replay(&self.journal)
    }
}

pub fn replay(journal: &[(i64, Event)]) -> Run {
    let (first, rest) = journal.split_first().expect("a journal");
    let mut run = Run::from_first(&first.1, first.0).expect("starts");
    for (at_ms, event) in rest {
        run.apply(event, *at_ms).expect("applies");
    }
    run
}

pub fn loaded(phases: &[&str]) -> Loaded {
    let phases = phases
        .iter()
        .map(|title| skein_common::script::PhaseDeclaration { title: (*title).to_owned(), ..Default::default() })
        .collect();
    let meta = Meta { name: "test".to_owned(), description: "a test".to_owned(), when_to_use: None, phases };
    Loaded { meta, ..Loaded::default() }
}

pub fn agent_op(id: u32, prompt: &str, options: Option<&str>) -> Op {
    let kind = CallKind::Agent {
        prompt: prompt.to_owned(),
        options: options.map(str::to_owned),
        options_not_object: false,
        phase: None,
        workflow: None,
    };
    Op::Call(Call { id, kind })
}

pub fn count(events: &[Event], is_kind: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| is_kind(event)).count()
}
