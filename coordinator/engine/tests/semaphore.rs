//! The semaphore against a model of it: first come first served inside a priority, fair between tenants, and no permit
//! is lost or given twice, whatever happens in whatever order.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use proptest::prelude::*;
use skein_engine::{Semaphore, Ticket};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Step {
    /// The next ticket comes, of this priority and tenant.
    Enqueue(u8, u32),
    /// Whoever is next gets a permit.
    Grant,
    /// One of the holders gives its permit back: by its place among them, with its token or a wrong one.
    Release(usize, bool),
    /// One of those who wait goes away.
    Withdraw(usize),
    Cap(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3u8, 0..3u32).prop_map(|(priority, tenant)| Step::Enqueue(priority, tenant)),
        8 => Just(Step::Grant),
        4 => (0..8usize, prop::bool::weighted(0.8)).prop_map(|(holder, right)| Step::Release(holder, right)),
        1 => (0..8usize).prop_map(Step::Withdraw),
        1 => (1..6u32).prop_map(Step::Cap),
    ]
}

/// What must be true, kept in the plainest way.
#[derive(Default)]
struct Model {
    cap: usize,
    tickets: u64,
    waiting: BTreeMap<u64, Ticket>,
    /// Ticket -> token and tenant.
    holders: BTreeMap<u64, (u64, u32)>,
    tokens: BTreeSet<u64>,
}

impl Model {
    fn held_by(&self, tenant: u32) -> usize {
        self.holders.values().filter(|(_, of)| *of == tenant).count()
    }

    /// Of the highest priority that waits: the tenant that holds least, and of its tickets the first.
    fn next(&self) -> Option<u64> {
        if self.holders.len() >= self.cap {
            return None;
        }
        let highest = self.waiting.values().map(|ticket| ticket.priority).max()?;
        let mut first_of: BTreeMap<u32, u64> = BTreeMap::new();
        for ticket in self.waiting.values().filter(|ticket| ticket.priority == highest) {
            first_of.entry(ticket.tenant).or_insert(ticket.id);
        }
        first_of.into_iter().map(|(tenant, id)| (self.held_by(tenant), id)).min().map(|(_, id)| id)
    }
}

fn play(semaphore: &mut Semaphore, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Enqueue(priority, tenant) => {
            model.tickets += 1;
            let ticket = Ticket { id: model.tickets, priority: *priority, tenant: *tenant };
            semaphore.enqueue(ticket.clone());
            semaphore.enqueue(ticket.clone());
            model.waiting.insert(ticket.id, ticket);
        }
        Step::Grant => {
            let next = semaphore.next().map(|ticket| ticket.id);
            prop_assert_eq!(next, model.next());
            if let Some(id) = next {
                let token = semaphore.next_token();
                prop_assert!(model.tokens.insert(token), "token {} was given before", token);
                semaphore.grant(id, token).expect("it waits");
                let ticket = model.waiting.remove(&id).expect("it waits");
                model.holders.insert(id, (token, ticket.tenant));
                // Who holds one cannot get in line for another.
                semaphore.enqueue(ticket);
            }
        }
        Step::Release(place, right) => {
            let chosen = model.holders.iter().nth(*place).map(|(id, (token, _))| (*id, *token));
            if let Some((id, token)) = chosen {
                let released = semaphore.release(id, if *right { token } else { token + 1_000_000 });
                prop_assert_eq!(released.is_some(), *right);
                if *right {
                    model.holders.remove(&id);
                    prop_assert_eq!(semaphore.release(id, token), None, "given back twice");
                }
            }
        }
        Step::Withdraw(place) => {
            let chosen = model.waiting.keys().nth(*place).copied();
            if let Some(id) = chosen {
                prop_assert_eq!(semaphore.withdraw(id).map(|ticket| ticket.id), Some(id));
                model.waiting.remove(&id);
            }
        }
        Step::Cap(cap) => {
            semaphore.set_cap(*cap);
            model.cap = usize::try_from(*cap).expect("fits");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn l03_any_steps_leave_it_as_fair_and_as_full_as_its_model(steps in prop::collection::vec(step(), 1..200)) {
        let mut semaphore = Semaphore::new(3);
        let mut model = Model { cap: 3, ..Model::default() };
        for step in &steps {
            play(&mut semaphore, &mut model, step)?;
            prop_assert_eq!(semaphore.permits_in_use() as usize, model.holders.len());
            prop_assert_eq!(semaphore.waiting(), model.waiting.len());
            prop_assert_eq!(semaphore.permits_free() as usize, model.cap.saturating_sub(model.holders.len()));
        }
    }
}
