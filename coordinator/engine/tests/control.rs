//! What people do to a run and its agents, and who wins which race.

mod common;

use common::{Driven, count, spec};
use skein_common::agent::{Cause, Usage};
use skein_common::run::{RunLimits, RunSpec, RunStatus};
use skein_common::script::{Call, CallKind, Op, Outcome, ScriptError, ScriptErrorKind};
use skein_common::wire::AttemptEnd;
use skein_common::workflow::WorkflowRef;
use skein_common::{Payload, RunId};
use skein_engine::{
    Command, Effect, Event, JournalOutcome, Refused, TaskEnd, agent_views, effects, run_view, settlement,
};

fn two_at_a_time() -> Driven {
    Driven::started(RunSpec { limits: RunLimits { concurrency: 2, ..RunLimits::default() }, ..spec() })
}

fn status(driven: &Driven) -> RunStatus {
    run_view(&RunId::from_uuid(uuid::Uuid::nil()), driven.run.state(), 0, None).status
}

fn started(events: &[Event]) -> usize {
    count(events, |event| matches!(event, Event::TaskStarted { .. }))
}

fn all_effects(driven: &Driven, events: &[Event]) -> Vec<Effect> {
    events.iter().flat_map(|event| effects(driven.run.state(), event, driven.now_ms)).collect()
}

/// The outcomes that events are for the script.
fn outcomes(driven: &Driven, events: &[Event]) -> Vec<JournalOutcome> {
    events.iter().filter_map(|event| Some(settlement(driven.run.state(), event)?.outcome)).collect()
}

fn run_stopped() -> JournalOutcome {
    JournalOutcome::Plain(Outcome::Error { name: "Error".to_owned(), message: "run stopped".to_owned() })
}

#[test]
fn r08_a_pause_lets_running_agents_finish_and_starts_nothing() {
    let mut driven = two_at_a_time();
    driven.call_many(5);
    assert_eq!(driven.accept(Command::Pause), Ok(vec![Event::Paused {}]));
    assert_eq!(status(&driven), RunStatus::Pausing);
    assert_eq!(driven.accept(Command::Pause), Ok(Vec::new()), "a second pause changes nothing");
    assert_eq!(started(&driven.finish(1, 0).expect("runs")), 0);
    assert_eq!(started(&driven.finish(2, 0).expect("runs")), 0);
    assert_eq!(status(&driven), RunStatus::Paused);
    let resumed = driven.accept(Command::Resume).expect("goes on");
    assert_eq!((resumed[0].clone(), started(&resumed)), (Event::Resumed {}, 2));
    assert_eq!(driven.accept(Command::Resume), Err(Refused::NotPaused));
}

#[test]
fn r08_an_agent_that_finishes_as_the_pause_comes_counts_on_whichever_side_it_was_journalled() {
    let mut driven = two_at_a_time();
    driven.call_many(2);
    driven.finish(1, 0).expect("runs");
    driven.accept(Command::Pause).expect("holds");
    driven.finish(2, 0).expect("its result is kept");
    let state = driven.replayed();
    assert!(state.state().paused);
    assert_eq!(state.state().open_agents, 0);
}

#[test]
fn c33_a_stop_rejects_every_pending_and_later_call_and_the_run_ends_stopped() {
    let mut driven = two_at_a_time();
    driven.call_many(3);
    let stopped = driven.accept(Command::Stop).expect("stops");
    assert_eq!(outcomes(&driven, &stopped), vec![run_stopped(); 3]);
    let todo = all_effects(&driven, &stopped);
    assert!(todo.contains(&Effect::StartGrace), "{todo:?}");
    assert!(todo.contains(&Effect::Cancel { agent: 1, attempt: 1 }), "{todo:?}");
    assert_eq!(status(&driven), RunStatus::Stopping);
    let later = driven.call("more", None);
    assert_eq!(outcomes(&driven, &later), [run_stopped()]);
    assert_eq!(driven.accept(Command::Stop), Ok(Vec::new()));
    assert_eq!(driven.accept(Command::Pause), Err(Refused::Stopping));
    let returned = Command::Return { result: "1".to_owned(), warnings: Vec::new() };
    assert!(matches!(
        driven.accept(returned).as_deref(),
        Ok([Event::RunEnded { status: RunStatus::Stopped, error: None }])
    ));
}

#[test]
fn c33_a_stopped_run_ends_stopped_when_its_script_throws_or_does_nothing() {
    let error = ScriptError {
        kind: ScriptErrorKind::Thrown,
        message: "Error: run stopped".to_owned(),
        line: None,
        column: None,
        stack: None,
        source_line: None,
    };
    for end in [Command::Fail { error }, Command::EndGrace] {
        let mut driven = two_at_a_time();
        driven.call_many(1);
        driven.accept(Command::Stop).expect("stops");
        let events = driven.accept(end).expect("ends");
        assert_eq!(events, [Event::RunEnded { status: RunStatus::Stopped, error: None }]);
    }
}

#[test]
fn c33_a_child_workflow_that_is_still_to_be_read_or_is_called_later_rejects_too() {
    let mut driven = two_at_a_time();
    let call = |id| {
        let target = WorkflowRef::Path { path: String::from("child.js") };
        Command::Operate { ops: vec![Op::Call(Call { id, kind: CallKind::Workflow { target, args: None } })] }
    };
    driven.accept(call(1)).expect("asks for the file");
    let stopped = driven.accept(Command::Stop).expect("stops");
    assert_eq!(outcomes(&driven, &stopped), [run_stopped()]);
    let read = Command::ProvideScript { call: 1, read: Ok(String::from("export const meta = {}")) };
    assert_eq!(driven.accept(read), Err(Refused::NotOpen), "too late");
    let later = driven.accept(call(2)).expect("is answered");
    assert_eq!(outcomes(&driven, &later), [run_stopped()]);
    assert_eq!(driven.replayed().state(), driven.run.state());
}

#[test]
fn r08_stop_against_success_is_won_by_what_is_journalled_first() {
    let mut driven = two_at_a_time();
    driven.call_many(2);
    driven.finish(1, 5).expect("finished first");
    driven.accept(Command::Stop).expect("stops");
    assert_eq!(driven.finish(2, 5), Err(Refused::NotRunning), "too late");
    assert!(matches!(driven.run.state().agents[0].state, skein_engine::AgentState::Ended(skein_engine::Ended::Done)));

    let mut driven = two_at_a_time();
    driven.call_many(1);
    driven.accept(Command::Return { result: "42".to_owned(), warnings: Vec::new() }).expect("returns");
    driven.accept(Command::Stop).expect("only hurries the end");
    assert_eq!(status(&driven), RunStatus::Completed);
}

#[test]
fn r08_a_stop_ends_a_pause_and_what_was_held_back_comes_first() {
    let mut driven = two_at_a_time();
    driven.call_many(2);
    driven.accept(Command::Pause).expect("holds");
    driven.finish(1, 0).expect("kept");
    driven.accept(Command::Stop).expect("stops");
    assert!(!driven.run.state().paused);
    assert_eq!(status(&driven), RunStatus::Stopping);
}

#[test]
fn r08_a_stopped_agent_holds_its_permit_until_its_attempt_is_over_and_gives_null() {
    let mut driven = two_at_a_time();
    driven.call_many(3);
    let events = driven.accept(Command::StopAgent { agent: 1 }).expect("stops");
    assert_eq!(started(&events), 0, "it still runs");
    assert_eq!(all_effects(&driven, &events), [Effect::Interrupt { agent: 1, attempt: 1 }]);
    assert_eq!(agent_views(driven.run.state(), 0)[0].status, "stopping");
    let restart = driven.accept(Command::RestartAgent { agent: 1 });
    assert_eq!(restart, Err(Refused::AgentEnding { agent: 1 }));
    // It was done before the word reached it: the person was first.
    let over = driven.finish(1, 7).expect("over");
    assert_eq!(outcomes(&driven, &over), [JournalOutcome::Plain(Outcome::Null)]);
    assert_eq!(started(&over), 1, "agent 3 has its permit");
    let view = &agent_views(driven.run.state(), 0)[0];
    assert_eq!((view.status.as_str(), view.tokens), ("stopped", 7), "what it used counts");
}

#[test]
fn r08_a_restarted_agent_has_another_attempt_whose_value_is_used() {
    let mut driven = two_at_a_time();
    driven.call("work", Some(r#"{"retries":0}"#));
    for attempt in 1..=8 {
        driven.accept(Command::RestartAgent { agent: 1 }).expect("restarts");
        let end = AttemptEnd::Done { value: Payload::text("of the one that was interrupted") };
        let report = Command::Report { agent: 1, attempt, end, usage: Usage::default(), notes: Vec::new() };
        let events = driven.accept(report).expect("over");
        let [Event::AttemptEnded { cause: Cause::Interrupted, .. }, Event::TaskStarted { attempt: next, .. }] =
            events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(next, attempt + 1);
    }
    let events = driven.finish(1, 0).expect("done");
    assert_eq!(outcomes(&driven, &events), [JournalOutcome::Value(Payload::text("done"))]);
}

#[test]
fn r08_restarts_do_not_count_as_retries() {
    let mut driven = two_at_a_time();
    driven.call("work", Some(r#"{"retries":1}"#));
    driven.accept(Command::RestartAgent { agent: 1 }).expect("restarts");
    driven.accept(Command::Lose { agent: 1, attempt: 1, ours: false }).expect("over");
    let fails = |driven: &mut Driven, attempt| {
        let message = "exit 75".to_owned();
        let end = AttemptEnd::Failed { cause: Cause::Failed, detail: None, message, retryable: true, unfit: None };
        driven.accept(Command::Report { agent: 1, attempt, end, usage: Usage::default(), notes: Vec::new() })
    };
    assert_eq!(started(&fails(&mut driven, 2).expect("retried")), 1);
    let last = fails(&mut driven, 3).expect("for good");
    assert!(matches!(last[..], [Event::TaskEnded { end: TaskEnd::Null { cause: Cause::Failed, .. }, .. }]), "{last:?}");
}

#[test]
fn r08_a_skipped_agent_never_starts_and_gives_null() {
    let mut driven = two_at_a_time();
    driven.call_many(3);
    let events = driven.accept(Command::SkipAgent { agent: 3 }).expect("skips");
    assert_eq!(outcomes(&driven, &events), [JournalOutcome::Plain(Outcome::Null)]);
    assert_eq!(all_effects(&driven, &events), []);
    assert_eq!(agent_views(driven.run.state(), 0)[2].status, "skipped");
    assert_eq!(driven.accept(Command::SkipAgent { agent: 1 }), Err(Refused::AgentStarted { agent: 1 }));
    assert_eq!(driven.accept(Command::SkipAgent { agent: 3 }), Err(Refused::AgentEnded { agent: 3 }));
    assert_eq!(driven.accept(Command::StopAgent { agent: 9 }), Err(Refused::NoSuchAgent { agent: 9, agents: 3 }));
}

#[test]
fn r08_a_waiting_agent_can_be_stopped_and_not_restarted() {
    let mut driven = two_at_a_time();
    driven.call_many(3);
    assert_eq!(driven.accept(Command::RestartAgent { agent: 3 }), Err(Refused::AgentWaits { agent: 3 }));
    let events = driven.accept(Command::StopAgent { agent: 3 }).expect("stops");
    assert!(matches!(events[..], [Event::TaskEnded { end: TaskEnd::Null { cause: Cause::Stopped, .. }, .. }]));
}

#[test]
fn r08_an_agent_that_was_interrupted_and_whose_worker_goes_down_is_over() {
    let mut driven = two_at_a_time();
    driven.call_many(2);
    driven.accept(Command::StopAgent { agent: 1 }).expect("stops");
    driven.accept(Command::RestartAgent { agent: 2 }).expect("restarts");
    driven.run = driven.replayed();
    let standing = driven.run.state().standing_effects();
    assert_eq!(standing.len(), 2, "the next owner ends them: {standing:?}");
    for agent in [1, 2] {
        driven.accept(Command::Lose { agent, attempt: 1, ours: true }).expect("over");
    }
    let state = driven.run.state();
    assert!(!state.agents[0].is_open());
    assert!(state.agents[1].runs(2));
    assert_eq!(state.agents[1].losses_of_ours, 0);
}

#[test]
fn r08_takeovers_of_a_paused_run_do_not_count_as_getting_nowhere() {
    let mut driven = two_at_a_time();
    driven.call_many(1);
    driven.accept(Command::Pause).expect("holds");
    for epoch in 2..20 {
        driven.accept(Command::Begin { epoch }).expect("taken over");
    }
    assert_eq!(status(&driven), RunStatus::Pausing);
    driven.accept(Command::Resume).expect("goes on");
    driven.finish(1, 0).expect("done");
}
