//! Phase: the groups in which people see agents (C25, C35).

use skein_common::script::PhaseDeclaration;

/// The group of agents that started before any phase.
pub const NO_PHASE: &str = "(no phase)";

/// The groups of a run in the order in which they are shown: declared ones first, then as they were first used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Phases {
    titles: Vec<String>,
    declared: usize,
}

impl Phases {
    /// The groups that `meta.phases` declares; a title said twice is one group.
    #[must_use]
    pub fn declared(phases: &[PhaseDeclaration]) -> Phases {
        let mut groups = Phases::default();
        for phase in phases {
            groups.group(&phase.title);
        }
        groups.declared = groups.titles.len();
        groups
    }

    /// Whether `meta.phases` names this title.
    #[must_use]
    pub fn is_declared(&self, title: &str) -> bool {
        self.titles.iter().take(self.declared).any(|known| known == title)
    }

    /// Whether a group of this title exists.
    #[must_use]
    pub fn is_known(&self, title: &str) -> bool {
        self.titles.iter().any(|known| known == title)
    }

    /// The group of this title, a new one at the end if there is none.
    pub fn group(&mut self, title: &str) -> usize {
        if let Some(index) = self.titles.iter().position(|known| known == title) {
            return index;
        }
        self.titles.push(title.to_owned());
        self.titles.len() - 1
    }

    #[must_use]
    pub fn titles(&self) -> &[String] {
        &self.titles
    }
}
