//! Runs scripts in real hosts and answers their calls.

#![expect(dead_code, reason = "each test binary uses a part")]

use std::path::PathBuf;

use serde_json::Value;
use skein_common::script::{
    Call, CallKind, Loaded, Op, Outcome, ScriptError, ScriptErrorKind, Settlement, Start, TurnEnd,
};
use skein_script::{HostLimits, HostPool, LoadError, ScriptHost};

pub const META: &str = "export const meta = { name: 'n', description: 'd' }";
pub const NOW_MS: i64 = 1_700_000_000_000;

pub fn executable() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_script-host-test"))
}

pub async fn pool() -> HostPool {
    HostPool::start(executable()).await.unwrap()
}

pub fn first_turn() -> Start {
    Start { args: None, seed: 7, now_ms: NOW_MS, budget_total: None }
}

pub fn settlement(call: u32, outcome: Outcome) -> Settlement {
    Settlement { call, outcome, now_ms: NOW_MS, spent: 0, cap_reached: false }
}

pub fn text(text: impl Into<String>) -> Outcome {
    Outcome::Text { text: text.into() }
}

pub fn error(message: &str) -> Outcome {
    Outcome::Error { name: "Error".to_owned(), message: message.to_owned() }
}

/// Everything a script did, and how it ended.
#[derive(Debug)]
pub struct Run {
    pub ops: Vec<Op>,
    /// The result, or why there is none.
    pub end: Result<Value, ScriptError>,
    pub warnings: Vec<String>,
}

impl Run {
    pub fn logs(&self) -> Vec<&str> {
        self.ops.iter().filter_map(|op| if let Op::Log { text } = op { Some(text.as_str()) } else { None }).collect()
    }

    pub fn calls(&self) -> Vec<&Call> {
        self.ops.iter().filter_map(|op| if let Op::Call(call) = op { Some(call) } else { None }).collect()
    }

    pub fn prompts(&self) -> Vec<&str> {
        let prompt = |call: &&'_ Call| matches!(call.kind, CallKind::Agent { .. });
        self.calls().into_iter().filter(prompt).map(prompt_of).collect()
    }

    #[track_caller]
    pub fn value(&self) -> &Value {
        self.end.as_ref().unwrap()
    }

    #[track_caller]
    pub fn error(&self) -> &ScriptError {
        self.end.as_ref().unwrap_err()
    }

    #[track_caller]
    pub fn assert_failed(&self, kind: ScriptErrorKind, message: &str) {
        assert_eq!((self.error().kind, self.error().message.as_str()), (kind, message));
    }
}

pub fn prompt_of(call: &Call) -> &str {
    match &call.kind {
        CallKind::Agent { prompt, .. } => prompt,
        CallKind::Timer { .. } | CallKind::Workflow { .. } => "",
    }
}

/// Answers an agent with `done: <prompt>`, or with an error when the prompt begins with `fail`; timers are due.
pub fn echo(call: &Call) -> Outcome {
    match &call.kind {
        CallKind::Timer { .. } => Outcome::Fired,
        CallKind::Workflow { target, .. } => error(&format!("workflow({target}): there is none")),
        CallKind::Agent { prompt, .. } if prompt.starts_with("fail") => error("agent failed"),
        CallKind::Agent { prompt, .. } => text(format!("done: {prompt}")),
    }
}

/// A body after a valid `meta`, every call answered by [`echo`] in call order.
pub async fn run(body: &str) -> Run {
    run_with(&pool().await, &with_meta(body), first_turn(), &HostLimits::default(), echo).await
}

pub async fn run_args(body: &str, args: &str) -> Run {
    let start = Start { args: Some(args.to_owned()), ..first_turn() };
    run_with(&pool().await, &with_meta(body), start, &HostLimits::default(), echo).await
}

pub async fn run_limited(body: &str, limits: HostLimits) -> Run {
    run_with(&pool().await, &with_meta(body), first_turn(), &limits, echo).await
}

pub fn with_meta(body: &str) -> String {
    format!("{META}\n{body}")
}

pub async fn run_with(
    pool: &HostPool,
    source: &str,
    start: Start,
    limits: &HostLimits,
    answer: impl Fn(&Call) -> Outcome,
) -> Run {
    let (mut host, _) = match pool.load(source, limits).await {
        Ok(loaded) => loaded,
        Err(LoadError::Script(error)) => return Run { ops: Vec::new(), end: Err(error), warnings: Vec::new() },
        Err(error) => panic!("{error}"),
    };
    let mut waiting = Vec::new();
    let mut ops = Vec::new();
    let mut end = host.start(start).await;
    loop {
        let (TurnEnd::Waiting { ops: new, .. } | TurnEnd::Done { ops: new, .. } | TurnEnd::Failed { ops: new, .. }) =
            &end;
        for op in new {
            match op {
                Op::Call(call) => waiting.push(call.clone()),
                Op::ClearTimer { call } => waiting.retain(|other| other.id != *call),
                _ => {}
            }
        }
        ops.extend(new.iter().cloned());
        end = match end {
            TurnEnd::Waiting { open, .. } => {
                assert_eq!(open as usize, waiting.len());
                let call = waiting.remove(0);
                host.settle(vec![settlement(call.id, answer(&call))]).await
            }
            TurnEnd::Done { result, warnings, .. } => {
                return Run { ops, end: Ok(serde_json::from_str(&result).unwrap()), warnings };
            }
            TurnEnd::Failed { error, .. } => return Run { ops, end: Err(error), warnings: Vec::new() },
        }
    }
}

pub async fn load(pool: &HostPool, body: &str) -> (ScriptHost, Loaded) {
    pool.load(&with_meta(body), &HostLimits::default()).await.unwrap()
}

#[track_caller]
pub fn open_calls(end: &TurnEnd) -> Vec<&Call> {
    let TurnEnd::Waiting { ops, .. } = end else { panic!("{end:?}") };
    ops.iter().filter_map(|op| if let Op::Call(call) = op { Some(call) } else { None }).collect()
}
