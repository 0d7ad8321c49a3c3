//! What a run can be asked to do, and the answer when it will not.

use serde::{Deserialize, Serialize};
use skein_common::agent::{Cause, Usage};
use skein_common::script::{Loaded, Op, ScriptError};
use skein_common::wire::AttemptEnd;
use skein_common::{AgentNumber, AttemptNumber, Epoch};

/// One thing that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A coordinator owns it from now on.
    Begin { epoch: Epoch },
    /// The script host parsed the script.
    Load { loaded: Loaded },
    /// The script does something.
    Operate { ops: Vec<Op> },
    /// The script returned; JSON text and warnings for the record.
    Return { result: String, warnings: Vec<String> },
    /// The script did not parse, threw, or hit a cap.
    Fail { error: ScriptError },
    /// A worker reports the end of an attempt; its token was checked.
    Report { agent: AgentNumber, attempt: AttemptNumber, end: AttemptEnd, usage: Usage, notes: Vec<String> },
    /// The worker of an attempt is gone. `ours`: it went down with its coordinator.
    Lose { agent: AgentNumber, attempt: AttemptNumber, ours: bool },
    /// No worker can ever take the attempt.
    Reject { agent: AgentNumber, attempt: AttemptNumber, cause: Cause, detail: String, message: String },
    /// A timer is due.
    Fire { call: u32 },
    /// The file that `workflow({scriptPath})` names was read: its text, or why there is none.
    ProvideScript { call: u32, read: Result<String, String> },
    /// What was never awaited had its grace (C28).
    EndGrace,
    /// A person holds it (R8).
    Pause,
    /// A person lets it go on.
    Resume,
    /// Somebody wants it to end: its calls reject, and it ends when its script does or its grace is over.
    Stop,
    /// A person ends one agent; its call gives null.
    StopAgent { agent: AgentNumber },
    /// A person wants a new attempt of a running agent.
    RestartAgent { agent: AgentNumber },
    /// A person does not want a waiting agent to start; its call gives null.
    SkipAgent { agent: AgentNumber },
    /// It cannot go on, and the script is not to blame.
    Abort { kind: String, message: String },
}

/// Why a command changes nothing. An answer, not an error. Sent between coordinators: grows by optional fields only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "refused", rename_all = "snake_case")]
pub enum Refused {
    #[error("the run has ended")]
    Ended,
    #[error("attempt {reported} is not the one that runs")]
    StaleAttempt { reported: AttemptNumber },
    #[error("the agent does not run")]
    NotRunning,
    #[error("the call is not open")]
    NotOpen,
    #[error("epoch {offered} is not newer than {current}")]
    StaleEpoch { offered: Epoch, current: Epoch },
    #[error("the run is at another stage")]
    WrongStage,
    #[error("the run is being stopped")]
    Stopping,
    #[error("the run is not paused")]
    NotPaused,
    #[error("the script has returned: the run is about to end")]
    Returned,
    #[error("there is no agent {agent}: the run has {agents} so far")]
    NoSuchAgent { agent: AgentNumber, agents: usize },
    #[error("agent {agent} has ended already")]
    AgentEnded { agent: AgentNumber },
    #[error("agent {agent} is being stopped already")]
    AgentEnding { agent: AgentNumber },
    #[error("agent {agent} waits for its start: there is nothing to restart")]
    AgentWaits { agent: AgentNumber },
    #[error("agent {agent} has started: stop it instead")]
    AgentStarted { agent: AgentNumber },
    /// A mistake of the engine: the event it decided on does not fit its own state.
    #[error("the engine contradicts itself: {reason}")]
    Contradiction { reason: String },
}
