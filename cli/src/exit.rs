//! Exit codes, fixed by the user's surfaces.

use skein_common::run::RunStatus;
use skein_common::view::RunView;
use std::process::ExitCode;

/// How this process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Completed,
    Failed,
    Usage,
    BudgetSpent,
    Stopped,
    /// Degraded, with `--strict`.
    Degraded,
    /// There is no process to ask, or it does not answer.
    Unreachable,
    Interrupted,
    Terminated,
}

impl Code {
    fn number(self) -> u8 {
        match self {
            Code::Completed => 0,
            Code::Failed => 1,
            Code::Usage => 2,
            Code::BudgetSpent => 3,
            Code::Stopped => 4,
            Code::Degraded => 6,
            Code::Unreachable => 69,
            Code::Interrupted => 130,
            Code::Terminated => 143,
        }
    }

    /// Ends this process without waiting for anything.
    pub fn exit_now(self) -> ! {
        std::process::exit(i32::from(self.number()))
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code.number())
    }
}

/// The code for a run that has ended.
#[must_use]
pub fn code_of_run(view: &RunView, strict: bool) -> Code {
    match view.status {
        RunStatus::Completed if view.degraded && strict => Code::Degraded,
        RunStatus::Completed => Code::Completed,
        RunStatus::Stopped => Code::Stopped,
        _ if view.error.as_ref().is_some_and(|error| error.kind == "budget") => Code::BudgetSpent,
        _ => Code::Failed,
    }
}

/// An error the person can mend by typing something else.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A usage error as the commands return it.
pub fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// Whoever should be asked is not there or does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UnreachableError(pub String);

/// An error of this kind as the commands return it.
pub fn unreachable(message: impl Into<String>) -> anyhow::Error {
    UnreachableError(message.into()).into()
}

/// The code for an error that ended a command.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> Code {
    if error.is::<UsageError>() {
        Code::Usage
    } else if error.is::<UnreachableError>() {
        Code::Unreachable
    } else {
        Code::Failed
    }
}
