//! Properties: whatever happens in whatever order, the journal alone gives the same run, and no limit is broken.

#[expect(dead_code, reason = "each test file uses its own part")]
mod common;

use common::{Driven, agent_op, spec};
use proptest::prelude::*;
use skein_common::Payload;
use skein_common::agent::{Cause, Usage};
use skein_common::run::{RunLimits, RunSpec};
use skein_common::script::{Call, CallKind, Op};
use skein_common::wire::AttemptEnd;
use skein_common::workflow::WorkflowRef;
use skein_engine::{Command, Event, decode_record, encode_records};

const CAP: u32 = 3;
const AGENTS_MAX: u32 = 12;

#[derive(Debug, Clone)]
enum Step {
    Calls(u32),
    Report { agent: u32, attempt: u32, done: bool, retryable: bool, tokens: u64 },
    Lose { agent: u32, attempt: u32, ours: bool },
    Timer(u64),
    Fire(u32),
    Workflow(bool),
    Provide(u32),
    Chatter(u8),
    Crash,
    Return,
    EndGrace,
    Stop,
    Pause,
    Resume,
    StopAgent(u32),
    RestartAgent(u32),
    SkipAgent(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let agent = 1..=AGENTS_MAX + 1;
    let attempt = 1..4u32;
    prop_oneof![
        6 => (1..5u32).prop_map(Step::Calls),
        12 => (agent.clone(), attempt.clone(), any::<bool>(), any::<bool>(), 0..40u64).prop_map(
            |(agent, attempt, done, retryable, tokens)| Step::Report { agent, attempt, done, retryable, tokens }
        ),
        4 => (agent.clone(), attempt, any::<bool>())
            .prop_map(|(agent, attempt, ours)| Step::Lose { agent, attempt, ours }),
        2 => Just(Step::Pause),
        3 => Just(Step::Resume),
        2 => agent.clone().prop_map(Step::StopAgent),
        2 => agent.clone().prop_map(Step::RestartAgent),
        2 => agent.prop_map(Step::SkipAgent),
        2 => (0..5000u64).prop_map(Step::Timer),
        2 => (1..20u32).prop_map(Step::Fire),
        2 => any::<bool>().prop_map(Step::Workflow),
        2 => (1..20u32).prop_map(Step::Provide),
        2 => any::<u8>().prop_map(Step::Chatter),
        2 => Just(Step::Crash),
        1 => Just(Step::Return),
        1 => Just(Step::EndGrace),
        1 => Just(Step::Stop),
    ]
}

/// Plays a step; refused ones change nothing.
fn play(driven: &mut Driven, step: &Step, calls: &mut u32) {
    let command = match step {
        Step::Calls(count) => {
            let ops = (0..*count).map(|index| agent_op(*calls + index + 1, "p", None)).collect();
            if driven.accept(Command::Operate { ops }).is_ok() {
                *calls += count;
            }
            return;
        }
        Step::Timer(delay_ms) => {
            let call = Call { id: *calls + 1, kind: CallKind::Timer { delay_ms: *delay_ms } };
            if driven.accept(Command::Operate { ops: vec![Op::Call(call)] }).is_ok() {
                *calls += 1;
            }
            return;
        }
        Step::Report { agent, attempt, done, retryable, tokens } => Command::Report {
            agent: *agent,
            attempt: *attempt,
            end: if *done {
                AttemptEnd::Done { value: Payload::text("v") }
            } else {
                let message = String::from("no");
                AttemptEnd::Failed { cause: Cause::Failed, detail: None, message, retryable: *retryable }
            },
            usage: Usage { output: *tokens, ..Usage::default() },
            notes: Vec::new(),
        },
        Step::Lose { agent, attempt, ours } => Command::Lose { agent: *agent, attempt: *attempt, ours: *ours },
        Step::Workflow(by_path) => {
            let text = String::from(if *by_path { "a.js" } else { "unknown" });
            let target = if *by_path { WorkflowRef::Path { path: text } } else { WorkflowRef::Name { name: text } };
            let call = Call { id: *calls + 1, kind: CallKind::Workflow { target, args: None } };
            if driven.accept(Command::Operate { ops: vec![Op::Call(call)] }).is_ok() {
                *calls += 1;
            }
            return;
        }
        Step::Provide(call) => Command::ProvideScript { call: *call, read: Ok(format!("text {call}")) },
        Step::Fire(call) => Command::Fire { call: *call },
        Step::Chatter(kind) => {
            let op = match kind % 3 {
                0 => Op::Log { text: "line".to_owned() },
                1 => Op::Phase { title: format!("phase {}", kind % 5) },
                _ => Op::Warning { text: format!("warning {kind}") },
            };
            Command::Operate { ops: vec![op] }
        }
        Step::Crash => Command::Begin { epoch: driven.run.state().epoch + 1 },
        Step::Return => Command::Return { result: "1".to_owned(), warnings: Vec::new() },
        Step::EndGrace => Command::EndGrace,
        Step::Stop => Command::Stop,
        Step::Pause => Command::Pause,
        Step::Resume => Command::Resume,
        Step::StopAgent(agent) => Command::StopAgent { agent: *agent },
        Step::RestartAgent(agent) => Command::RestartAgent { agent: *agent },
        Step::SkipAgent(agent) => Command::SkipAgent { agent: *agent },
    };
    let refused_or_not = driven.accept(command);
    assert!(
        !matches!(refused_or_not, Err(skein_engine::Refused::Contradiction { .. })),
        "the engine contradicts itself: {refused_or_not:?}"
    );
    if matches!(step, Step::Crash) {
        // A crash: what is known from here on is what the journal says.
        driven.run = driven.replayed();
    }
}

fn limited(budget: Option<u64>) -> RunSpec {
    RunSpec { limits: RunLimits { concurrency: CAP, agents_max: AGENTS_MAX }, budget, ..spec() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_accepted_commands_replayed_give_the_same_state(
        steps in prop::collection::vec(step(), 1..80),
        budget in prop::option::of(20..200u64),
    ) {
        let mut driven = Driven::started(limited(budget));
        let mut calls = 0;
        for step in &steps {
            play(&mut driven, step, &mut calls);
        }
        let replayed = driven.replayed();
        prop_assert_eq!(replayed.state(), driven.run.state());
    }

    #[test]
    fn never_more_than_the_cap_run_or_are_accepted(steps in prop::collection::vec(step(), 1..80)) {
        let mut driven = Driven::started(limited(None));
        let mut calls = 0;
        for step in &steps {
            let held = driven.run.state().paused.then(|| driven.run.state().semaphore.next_token());
            play(&mut driven, step, &mut calls);
            let state = driven.run.state();
            // Whoever runs while the run is held had its permit before.
            prop_assert!(held.is_none() || !state.paused || held == Some(state.semaphore.next_token()));
            prop_assert!(state.running.len() <= CAP as usize);
            prop_assert_eq!(state.running.len(), state.semaphore.permits_in_use() as usize);
            prop_assert!(state.agents.len() <= AGENTS_MAX as usize);
            prop_assert_eq!(state.agents.iter().filter(|agent| agent.is_open()).count(), state.open_agents as usize);
        }
    }

    #[test]
    fn every_accepted_agent_settles_exactly_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut driven = Driven::started(limited(None));
        let mut calls = 0;
        for step in &steps {
            play(&mut driven, step, &mut calls);
        }
        let _ended_already = driven.accept(Command::Stop);
        let _ended_already = driven.accept(Command::EndGrace);
        for agent in &driven.run.state().agents {
            let settlements = driven.journal.iter().filter(|(_, event)| match event {
                Event::TaskEnded { agent: number, .. } => *number == agent.number,
                Event::AgentRefused { agent: number, .. } => *number == Some(agent.number),
                _ => false,
            });
            prop_assert_eq!(settlements.count(), 1, "agent {}", agent.number);
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written(steps in prop::collection::vec(step(), 1..40)) {
        let mut driven = Driven::started(limited(Some(100)));
        let mut calls = 0;
        for step in &steps {
            play(&mut driven, step, &mut calls);
        }
        let events: Vec<Event> = driven.journal.iter().map(|(_, event)| event.clone()).collect();
        let records = encode_records(3, 4, 5, &events).expect("encodes");
        let read: Vec<Event> =
            records.iter().flat_map(|bytes| decode_record(bytes).expect("decodes").events).collect();
        prop_assert_eq!(read, events);
    }

    #[test]
    fn a_hostile_record_is_an_error_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _error = decode_record(&bytes);
    }
}
