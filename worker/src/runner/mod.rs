//! Runners: what carries out an attempt, one per kind (A1).

mod command;
pub(crate) mod output;
pub(crate) mod program;
pub(crate) mod progress;
mod schema;
mod simulated;

pub(crate) use command::CommandRunner;
pub(crate) use simulated::SimulatedRunner;

use async_trait::async_trait;
use skein_common::Payload;
use skein_common::agent::{Cause, RunnerKind, Usage};
use skein_common::wire::{AttemptEnd, AttemptRef, Task};
use std::time::Duration;
use tokio::sync::watch;

/// Carries out attempts of one kind.
#[async_trait(?Send)]
pub(crate) trait Runner: std::fmt::Debug {
    /// Carries out the work. When asked to stop it leaves nothing running and then answers whatever it likes.
    async fn run(&self, work: &Work, stop: &mut Stop) -> Ended;
}

/// The runners of a worker.
#[derive(Debug)]
pub(crate) struct Runners {
    pub command: Box<dyn Runner>,
    pub simulated: Box<dyn Runner>,
    pub llm: Box<dyn Runner>,
    pub cli: Box<dyn Runner>,
}

impl Runners {
    /// The runner of this kind.
    pub(crate) fn of(&self, kind: RunnerKind) -> &dyn Runner {
        match kind {
            RunnerKind::Command => self.command.as_ref(),
            RunnerKind::Simulated => self.simulated.as_ref(),
            RunnerKind::Llm => self.llm.as_ref(),
            RunnerKind::Cli => self.cli.as_ref(),
        }
    }
}

/// A task with its texts in place.
#[derive(Debug)]
pub(crate) struct Work {
    pub task: Task,
    pub prompt: String,
    /// JSON text.
    pub schema: Option<String>,
    /// JSON text.
    pub args: Option<String>,
    /// For the whole attempt.
    pub timeout: Duration,
    /// Without progress; `None` is for ever.
    pub stall: Option<Duration>,
}

impl Work {
    /// Which attempt it is.
    pub(crate) fn attempt(&self) -> &AttemptRef {
        &self.task.attempt
    }
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ended {
    pub end: AttemptEnd,
    pub usage: Usage,
    pub notes: Vec<String>,
}

impl Ended {
    /// A value and nothing to remark.
    pub(crate) fn done(value: Payload, usage: Usage) -> Ended {
        Ended { end: AttemptEnd::Done { value }, usage, notes: Vec::new() }
    }

    /// A failure that is not tried again.
    pub(crate) fn failed(cause: Cause, detail: Option<&str>, message: impl Into<String>) -> Ended {
        let detail = detail.map(str::to_owned);
        let end = AttemptEnd::Failed { cause, detail, message: message.into(), retryable: false, unfit: None };
        Ended { end, usage: Usage::default(), notes: Vec::new() }
    }

    /// An answer that does not fit the schema; why it does not.
    pub(crate) fn unfit(answer: String, message: String) -> Ended {
        let mut ended = Ended::failed(Cause::Failed, Some("schema"), message);
        if let AttemptEnd::Failed { unfit, .. } = &mut ended.end {
            *unfit = Some(Box::new(Payload::text(answer)));
        }
        ended
    }

    /// A loss by a fault of ours: tried again.
    pub(crate) fn lost(detail: Option<&str>, message: impl Into<String>) -> Ended {
        let mut ended = Ended::failed(Cause::Lost, detail, message);
        if let AttemptEnd::Failed { retryable, .. } = &mut ended.end {
            *retryable = true;
        }
        ended
    }
}

/// Tells a runner that its attempt shall end.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<Asked>);

/// Whether an attempt shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    No,
    /// Its programs may clear up.
    Gracefully,
    /// Somebody else may begin the same at any moment.
    AtOnce,
}

impl Stop {
    /// The side that asks and the side that is asked. When the first is dropped, that is asking too.
    pub(crate) fn pair() -> (watch::Sender<Asked>, Stop) {
        let (sender, receiver) = watch::channel(Asked::No);
        (sender, Stop(receiver))
    }

    /// Waits until the attempt shall end.
    pub(crate) async fn asked(&mut self) {
        let _ = self.0.wait_for(|asked| *asked != Asked::No).await;
    }

    /// Whether there is no time to clear up.
    pub(crate) fn is_urgent(&self) -> bool {
        *self.0.borrow() == Asked::AtOnce
    }
}

/// For kinds that this worker does not have.
#[derive(Debug)]
pub(crate) struct MissingRunner(pub RunnerKind);

#[async_trait(?Send)]
impl Runner for MissingRunner {
    async fn run(&self, _: &Work, _: &mut Stop) -> Ended {
        let message = format!("this worker has no `{}` runner: no model is configured here", self.0.name());
        Ended::failed(Cause::Failed, Some("no_runner"), message)
    }
}
