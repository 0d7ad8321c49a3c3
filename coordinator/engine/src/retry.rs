//! Retry: whether another attempt follows one that failed, and what the agent comes to when none does (C22, C23, L5).
//!
//! | the attempt | another follows | then the agent |
//! |---|---|---|
//! | made no progress | up to 6 such attempts | throws |
//! | answered with what does not fit the schema | up to 5 such attempts | throws |
//! | failed and asks for another, or `retry: any` | up to `retries` more | null |
//! | failed otherwise | never | null |
//!
//! Each kind is counted alone. What failed after the script returned is not tried again and throws nothing.

use crate::command::Refused;
use crate::event::{Event, TaskEnd};
use crate::run::{Batch, Run, externalise, null};
use crate::state::Stage;
use skein_common::agent::{Cause, Usage};
use skein_common::{AgentNumber, AttemptNumber, Payload};

/// Attempts of one agent that may end without progress (L5).
const STALLED_ATTEMPTS_MAX: u32 = 6;
/// Answers of one agent that may not fit its schema (C22).
const UNFIT_ANSWERS_MAX: u32 = 5;
/// The reason stands in an error's message and in events; the whole of it is with its attempt.
const REASON_CHARS_MAX: usize = 2_000;

/// How an attempt failed, as its worker reports it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub cause: Cause,
    pub detail: Option<String>,
    pub message: String,
    pub retryable: bool,
    /// What it answered, when that does not fit the schema.
    pub unfit: Option<Box<Payload>>,
}

impl Run {
    pub(crate) fn attempt_failed(
        &mut self,
        number: AgentNumber,
        attempt: AttemptNumber,
        failure: Failure,
        usage: Usage,
        notes: Vec<String>,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let agent = self.state.agent(number).ok_or(Refused::NotRunning)?;
        let again = match &failure {
            Failure { unfit: Some(_), .. } => agent.unfit + 1 < UNFIT_ANSWERS_MAX,
            Failure { cause: Cause::Stalled, .. } => agent.stalls + 1 < STALLED_ATTEMPTS_MAX,
            other => agent.tries_again(other.retryable),
        };
        if again && self.state.stage == Stage::Running {
            let Failure { cause, detail, message, unfit, .. } = failure;
            let (ours, unfit) = (false, unfit.is_some());
            let event =
                Event::AttemptEnded { agent: number, attempt, cause, detail, message, usage, ours, unfit, notes };
            return self.record(event, batch);
        }
        let end = if self.state.stage == Stage::Running { self.given_up(failure) } else { failure.into_null() };
        self.end_task(number, end, usage, notes, batch)
    }

    /// The end of an agent that gets no further attempt.
    fn given_up(&mut self, failure: Failure) -> TaskEnd {
        let Failure { cause, detail, message, unfit, .. } = failure;
        let reason: String = message.lines().next().unwrap_or_default().chars().take(REASON_CHARS_MAX).collect();
        match (unfit, cause) {
            (Some(answer), _) => {
                let message = format!(
                    "agent({{schema}}): StructuredOutput retry cap ({UNFIT_ANSWERS_MAX}) exceeded — \
                     {UNFIT_ANSWERS_MAX} failed calls with no valid output: {reason}"
                );
                let output = Some(externalise(*answer, &mut self.large_texts));
                TaskEnd::Thrown { cause, detail, message, output }
            }
            (None, Cause::Stalled) => {
                let message = format!("agent stalled on all {STALLED_ATTEMPTS_MAX} attempts ({reason} each)");
                TaskEnd::Thrown { cause, detail, message, output: None }
            }
            (None, _) => null(cause, detail, message),
        }
    }
}

impl Failure {
    fn into_null(self) -> TaskEnd {
        null(self.cause, self.detail, self.message)
    }
}
