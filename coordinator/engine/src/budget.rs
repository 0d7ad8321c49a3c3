//! Budget: tokens spent, reserved and left (C38).

use skein_common::agent::Usage;
use skein_common::run::BudgetUnit;
use std::collections::BTreeMap;

/// What finished agents of one model used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Finished {
    agents: u64,
    tokens: u64,
}

/// The tokens of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    pub total: Option<u64>,
    pub unit: BudgetUnit,
    /// Settled into the script so far, in the unit.
    pub spent: u64,
    finished: BTreeMap<String, Finished>,
}

impl Budget {
    #[must_use]
    pub fn new(total: Option<u64>, unit: BudgetUnit) -> Budget {
        Budget { total, unit, ..Budget::default() }
    }

    /// What this usage counts in the budget's unit.
    #[must_use]
    pub fn count(&self, usage: &Usage) -> u64 {
        match self.unit {
            BudgetUnit::Total => usage.total(),
            BudgetUnit::Output => usage.output,
        }
    }

    /// An agent of this model ended for good with this usage.
    pub fn settle(&mut self, model: Option<&str>, usage: &Usage) {
        let tokens = self.count(usage);
        self.spent = self.spent.saturating_add(tokens);
        let finished = self.finished.entry(model.unwrap_or_default().to_owned()).or_default();
        finished.agents += 1;
        finished.tokens = finished.tokens.saturating_add(tokens);
    }

    /// Why a call cannot start, when the budget is spent.
    #[must_use]
    pub fn exhausted(&self) -> Option<String> {
        let total = self.total.filter(|total| self.spent >= *total)?;
        Some(format!("budget exhausted: {} of {total} tokens", self.spent))
    }

    /// Whether what is spent and what running agents of these models will probably use reaches the total.
    #[must_use]
    pub fn reserved_reaches_total<'a>(&self, running_models: impl Iterator<Item = Option<&'a str>>) -> bool {
        let Some(total) = self.total else { return false };
        let reserved = running_models.fold(0u64, |sum, model| sum.saturating_add(self.mean(model)));
        self.spent.saturating_add(reserved) >= total
    }

    /// Mean usage of a finished agent of this model, 0 before the first.
    fn mean(&self, model: Option<&str>) -> u64 {
        self.finished
            .get(model.unwrap_or_default())
            .and_then(|finished| finished.tokens.checked_div(finished.agents))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(output: u64) -> Usage {
        Usage { input: 10, output, ..Usage::default() }
    }

    #[test]
    fn c38_the_refusal_names_spent_and_total() {
        let mut budget = Budget::new(Some(25), BudgetUnit::Total);
        assert_eq!(budget.exhausted(), None);
        budget.settle(None, &tokens(20));
        assert_eq!(budget.exhausted().as_deref(), Some("budget exhausted: 30 of 25 tokens"));
    }

    #[test]
    fn c38_the_reserve_is_the_mean_of_the_models_finished_agents() {
        let mut budget = Budget::new(Some(100), BudgetUnit::Output);
        assert!(!budget.reserved_reaches_total([Some("opus"); 16].into_iter()));
        budget.settle(Some("opus"), &tokens(20));
        assert!(!budget.reserved_reaches_total([Some("opus"); 3].into_iter()));
        assert!(budget.reserved_reaches_total([Some("opus"); 4].into_iter()));
        assert!(!budget.reserved_reaches_total([Some("haiku"); 99].into_iter()));
    }
}
