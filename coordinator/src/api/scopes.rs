//! What a token allows.

use super::problem::{Problem, ProblemKind};
use actix_web::{HttpMessage as _, HttpRequest};
use std::fmt;

/// One thing that a token may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To look at runs, agents, workers.
    Read,
    /// To start runs, and to steer them and workers.
    Steer,
    /// To start runs that name programs, or files of the machine that runs them.
    Command,
}

impl Scope {
    /// Every scope, in the order people read them.
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Steer, Scope::Command];

    /// The word in a file of tokens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Steer => "steer",
            Scope::Command => "command",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
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
        assert!(some.has(Scope::Read) && some.has(Scope::Command) && !some.has(Scope::Steer));
        assert!(!Scopes::default().has(Scope::Read));
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::all().has(scope)));
        assert_eq!(some.and([Scope::Steer].into_iter().collect()), Scopes::all());
        let refused = some.require(Scope::Steer, "to pause a run").expect_err("refused");
        assert_eq!(refused.detail, "to pause a run needs a token with the scope `steer`");
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
        }
    }
}
