//! What a token allows.

use super::problem::{Problem, ProblemKind};
use actix_web::{HttpMessage as _, HttpRequest};
use std::fmt;

/// One thing that a token may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To look at runs, agents, workers.
    Read,
    /// To start runs, and to steer them and their agents.
    Run,
    /// To start runs that name programs, or files of the machine that runs them.
    Command,
    /// To answer what agents ask permission for.
    Approve,
    /// To operate the cluster: its workers.
    Admin,
}

impl Scope {
    /// Every scope, in the order people read them.
    pub const ALL: [Scope; 5] = [Scope::Read, Scope::Run, Scope::Command, Scope::Approve, Scope::Admin];

    /// The word in a file of tokens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Run => "run",
            Scope::Command => "command",
            Scope::Approve => "approve",
            Scope::Admin => "admin",
        }
    }

    /// The scope of this name, or of a name that it had.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Scope> {
        if name == "steer" {
            return Some(Scope::Run);
        }
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// What a change at this path needs at least. A path is as the routes see it.
    pub(super) fn of_change(path: &str) -> Scope {
        if path.starts_with("/api/v1/workers/") { Scope::Admin } else { Scope::Run }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some scopes; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// What the user of this machine may: everything.
    #[must_use]
    pub fn all() -> Scopes {
        Scope::ALL.into_iter().collect()
    }

    #[must_use]
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Scopes) -> Scopes {
        Scopes(self.0 | others.0)
    }

    /// Refuses what is not among them.
    pub(super) fn require(self, scope: Scope, why: &str) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        let detail = format!("{why} needs a token with the scope `{scope}`");
        Err(Problem::new(ProblemKind::Forbidden, detail))
    }

    /// What whoever asks may; the door that let the request in has written it down.
    pub(super) fn of(request: &HttpRequest) -> Scopes {
        request.extensions().get().copied().unwrap_or_default()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_hold_what_they_were_given_and_nothing_else() {
        let some: Scopes = [Scope::Read, Scope::Command].into_iter().collect();
        assert!(some.has(Scope::Read) && some.has(Scope::Command) && !some.has(Scope::Run));
        assert!(!Scopes::default().has(Scope::Read));
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::all().has(scope)));
        assert_eq!(some.and([Scope::Run, Scope::Approve, Scope::Admin].into_iter().collect()), Scopes::all());
        let refused = some.require(Scope::Run, "to pause a run").expect_err("refused");
        assert_eq!(refused.detail, "to pause a run needs a token with the scope `run`");
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
        }
        assert_eq!((Scope::from_name("steer"), Scope::from_name("Run")), (Some(Scope::Run), None));
    }
}
