//! Semaphore: who may run now. One machine, used inside a run (scope `run`) and for limits that runs share.
//!
//! | state of a ticket | `enqueue` | `grant` | `release` | `withdraw` |
//! |---|---|---|---|---|
//! | unknown | waiting | - | - | - |
//! | waiting | - | holding, new token | - | unknown |
//! | holding | - | - | unknown, if the token fits | - |
//!
//! Waiting is first come, first served inside a priority; between tenants the one that holds fewest goes first, so
//! that no tenant's long queue starves another's. A token is never given twice, so a late holder can be told apart.

use std::collections::BTreeMap;

/// One wish for a permit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// Unique; smaller came first.
    pub id: u64,
    /// 0 to 9, higher goes first.
    pub priority: u8,
    pub tenant: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    token: u64,
    tenant: u32,
}

/// Permits of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semaphore {
    cap: u32,
    next_token: u64,
    holders: BTreeMap<u64, Holder>,
    /// Priority (inverted, so that higher comes first) and tenant to the ids that wait.
    waiting: BTreeMap<(u8, u32), BTreeMap<u64, Ticket>>,
    held_by_tenant: BTreeMap<u32, u32>,
}

impl Semaphore {
    /// A semaphore with `cap` permits, all free.
    #[must_use]
    pub fn new(cap: u32) -> Semaphore {
        Semaphore {
            cap,
            next_token: 1,
            holders: BTreeMap::new(),
            waiting: BTreeMap::new(),
            held_by_tenant: BTreeMap::new(),
        }
    }

    /// Changes the number of permits; holders above it keep theirs until they release.
    pub fn set_cap(&mut self, cap: u32) {
        self.cap = cap;
    }

    #[must_use]
    pub fn permits_in_use(&self) -> u32 {
        u32::try_from(self.holders.len()).unwrap_or(u32::MAX)
    }

    #[must_use]
    pub fn permits_free(&self) -> u32 {
        self.cap.saturating_sub(self.permits_in_use())
    }

    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.values().map(BTreeMap::len).sum()
    }

    /// Puts a ticket in line; one that waits or holds already is left as it is.
    pub fn enqueue(&mut self, ticket: Ticket) {
        if self.holders.contains_key(&ticket.id) {
            return;
        }
        let line = (u8::MAX - ticket.priority, ticket.tenant);
        self.waiting.entry(line).or_default().entry(ticket.id).or_insert(ticket);
    }

    /// The ticket that is next, if a permit is free.
    #[must_use]
    pub fn next(&self) -> Option<&Ticket> {
        if self.permits_free() == 0 {
            return None;
        }
        let (first_rank, _) = *self.waiting.keys().next()?;
        self.waiting
            .range((first_rank, 0)..=(first_rank, u32::MAX))
            .filter_map(|((_, tenant), line)| Some((self.held(*tenant), line.values().next()?)))
            .min_by_key(|(held, ticket)| (*held, ticket.id))
            .map(|(_, ticket)| ticket)
    }

    /// The token the next grant will carry.
    #[must_use]
    pub fn next_token(&self) -> u64 {
        self.next_token
    }

    /// Gives a permit to a waiting ticket. Whether one is free was decided before: this is a fact.
    /// `None` when the ticket does not wait.
    pub fn grant(&mut self, id: u64, token: u64) -> Option<()> {
        let ticket = self.withdraw(id)?;
        self.holders.insert(id, Holder { token, tenant: ticket.tenant });
        *self.held_by_tenant.entry(ticket.tenant).or_default() += 1;
        self.next_token = self.next_token.max(token + 1);
        Some(())
    }

    /// Takes a permit back; a token that is not the holder's changes nothing.
    pub fn release(&mut self, id: u64, token: u64) -> Option<()> {
        let holder = self.holders.get(&id).filter(|holder| holder.token == token)?;
        if let Some(held) = self.held_by_tenant.get_mut(&holder.tenant) {
            *held = held.saturating_sub(1);
        }
        self.holders.remove(&id);
        Some(())
    }

    /// Takes a waiting ticket out of the line.
    pub fn withdraw(&mut self, id: u64) -> Option<Ticket> {
        let line_key = *self.waiting.iter().find(|(_, line)| line.contains_key(&id))?.0;
        let line = self.waiting.get_mut(&line_key)?;
        let ticket = line.remove(&id);
        if line.is_empty() {
            self.waiting.remove(&line_key);
        }
        ticket
    }

    fn held(&self, tenant: u32) -> u32 {
        self.held_by_tenant.get(&tenant).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(id: u64, priority: u8, tenant: u32) -> Ticket {
        Ticket { id, priority, tenant }
    }

    /// Grants to whoever is next until nobody is.
    fn grant_all(semaphore: &mut Semaphore) -> Vec<u64> {
        let mut granted = Vec::new();
        while let Some(id) = semaphore.next().map(|ticket| ticket.id) {
            let token = semaphore.next_token();
            semaphore.grant(id, token).expect("next waits");
            granted.push(id);
        }
        granted
    }

    #[test]
    fn l03_waiting_is_first_come_first_served_inside_a_priority() {
        let mut semaphore = Semaphore::new(10);
        for (id, priority) in [(1, 5), (2, 5), (3, 9), (4, 0), (5, 9)] {
            semaphore.enqueue(ticket(id, priority, 0));
        }
        assert_eq!(grant_all(&mut semaphore), [3, 5, 1, 2, 4]);
    }

    #[test]
    fn l03_a_long_line_of_one_tenant_does_not_starve_another() {
        let mut semaphore = Semaphore::new(4);
        for id in 1..=100 {
            semaphore.enqueue(ticket(id, 5, 1));
        }
        semaphore.enqueue(ticket(101, 5, 2));
        semaphore.enqueue(ticket(102, 5, 2));
        assert_eq!(grant_all(&mut semaphore), [1, 101, 2, 102]);
    }

    #[test]
    fn l01_never_more_holders_than_permits() {
        let mut semaphore = Semaphore::new(16);
        for id in 1..=1000 {
            semaphore.enqueue(ticket(id, 5, 0));
        }
        assert_eq!(grant_all(&mut semaphore).len(), 16);
        assert_eq!(semaphore.permits_free(), 0);
        assert_eq!(semaphore.waiting(), 984);
    }

    #[test]
    fn a_wrong_token_releases_nothing_and_no_token_is_given_twice() {
        let mut semaphore = Semaphore::new(1);
        semaphore.enqueue(ticket(1, 5, 0));
        assert_eq!(grant_all(&mut semaphore), [1]);
        assert_eq!(semaphore.release(1, 99), None);
        assert_eq!(semaphore.release(1, 1), Some(()));
        assert_eq!(semaphore.release(1, 1), None);
        semaphore.enqueue(ticket(1, 5, 0));
        assert_eq!(semaphore.next_token(), 2);
    }

    #[test]
    fn a_lower_cap_takes_no_permit_away_and_gives_none_until_it_fits() {
        let mut semaphore = Semaphore::new(3);
        for id in 1..=5 {
            semaphore.enqueue(ticket(id, 5, 0));
        }
        grant_all(&mut semaphore);
        semaphore.set_cap(1);
        assert_eq!(semaphore.permits_in_use(), 3);
        semaphore.release(1, 1).expect("holds");
        semaphore.release(2, 2).expect("holds");
        assert!(semaphore.next().is_none());
        semaphore.release(3, 3).expect("holds");
        assert_eq!(grant_all(&mut semaphore), [4]);
    }
}
