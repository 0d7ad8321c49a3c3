//! Balance: which shards a process takes and gives back, decided from what it sees.
//!
//! Each member is due an equal part of all shards, those that are left over go to the first in the order of their names.
//! Whoever has more gives back, whoever has less takes what is free. A member that comes or goes moves no other shards
//! than those it gets or had.

use skein_common::ports::Shard;
use std::collections::{BTreeMap, BTreeSet};

/// What one member sees and has.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub me: &'a str,
    /// The nodes that take part.
    pub members: &'a BTreeSet<String>,
    pub count: Shard,
    /// Who holds which shard, as the store says.
    pub holders: &'a BTreeMap<Shard, String>,
    /// The shards that this process knows to be its own.
    pub ours: &'a BTreeSet<Shard>,
    /// Shards that it is giving up: to be left alone.
    pub leaving: &'a BTreeSet<Shard>,
}

/// What it does about it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub take: Vec<Shard>,
    pub give_back: Vec<Shard>,
    /// It has less than it is due, whether or not something is free.
    pub is_short: bool,
}

/// How many shards the member of this rank is due.
pub(super) fn share(count: Shard, members: usize, rank: usize) -> usize {
    let (count, members) = (usize::from(count), members.max(1));
    count / members + usize::from(rank < count % members)
}

/// The next moves; none for one that takes no part.
pub(super) fn decide(view: &View<'_>) -> Moves {
    let Some(rank) = view.members.iter().position(|member| member == view.me) else { return Moves::default() };
    let due = share(view.count, view.members.len(), rank);
    let excess = view.ours.len().saturating_sub(due);
    let need = due.saturating_sub(view.ours.len());
    let give_back = view.ours.iter().rev().take(excess).copied().collect();
    let take = candidates(view, rank).into_iter().take(need).collect();
    Moves { take, give_back, is_short: need > 0 }
}

/// What may be taken, best first: what an earlier life of this node held, then the free ones, beginning where no member
/// before this one takes any, so that those who look at the same moment do not run after the same shards.
fn candidates(view: &View<'_>, rank: usize) -> Vec<Shard> {
    let is_open = |shard: &Shard| !view.ours.contains(shard) && !view.leaving.contains(shard);
    let held_by = |shard: &Shard| view.holders.get(shard).map(String::as_str);
    let all = || (0..view.count).filter(is_open);
    let mut free: Vec<Shard> = all().filter(|shard| held_by(shard).is_none()).collect();
    let taken_before_us = taken_by_ranks_before(view, rank);
    if !free.is_empty() {
        let begin = taken_before_us % free.len();
        free.rotate_left(begin);
    }
    all().filter(|shard| held_by(shard) == Some(view.me)).chain(free).collect()
}

/// How many shards the members before this one lack.
fn taken_by_ranks_before(view: &View<'_>, rank: usize) -> usize {
    let held = |member: &String| view.holders.values().filter(|holder| *holder == member).count();
    let members = view.members.iter().take(rank).enumerate();
    members.map(|(rank, member)| share(view.count, view.members.len(), rank).saturating_sub(held(member))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A cluster whose members decide one after the other; what they take and give back happens at once.
    #[derive(Debug, Clone, Default)]
    struct Cluster {
        count: Shard,
        members: BTreeSet<String>,
        holders: BTreeMap<Shard, String>,
    }

    fn name(number: u8) -> String {
        format!("node-{number:03}")
    }

    impl Cluster {
        fn of(count: Shard, numbers: impl IntoIterator<Item = u8>) -> Cluster {
            Cluster { count, members: numbers.into_iter().map(name).collect(), holders: BTreeMap::new() }
        }

        fn shards_of(&self, member: &str) -> BTreeSet<Shard> {
            let of_member = self.holders.iter().filter(|(_, holder)| *holder == member);
            of_member.map(|(shard, _)| *shard).collect()
        }

        fn moves_of(&self, me: &str, seen: &BTreeMap<Shard, String>) -> Moves {
            let (ours, leaving) = (self.shards_of(me), BTreeSet::new());
            let view =
                View { me, members: &self.members, count: self.count, holders: seen, ours: &ours, leaving: &leaving };
            decide(&view)
        }

        /// All look at the same moment, then act in an order that `picks` chooses: who comes second to a shard gets none.
        fn round(&mut self, picks: &[u8]) {
            let seen = self.holders.clone();
            let mut waiting: Vec<(String, Moves)> =
                self.members.iter().map(|me| (me.clone(), self.moves_of(me, &seen))).collect();
            let mut picks = picks.iter().cycle();
            while !waiting.is_empty() {
                let next = usize::from(picks.next().copied().unwrap_or_default()) % waiting.len();
                let (me, moves) = waiting.swap_remove(next);
                for shard in moves.give_back {
                    assert_eq!(self.holders.remove(&shard), Some(me.clone()), "gives back what it has");
                }
                for shard in moves.take {
                    assert!(!self.shards_of(&me).contains(&shard), "takes what it has not");
                    self.holders.entry(shard).or_insert_with(|| me.clone());
                }
            }
        }

        /// Until nobody moves; fails when that takes more rounds than anybody can need.
        fn settle(&mut self, picks: &[u8]) {
            for _ in 0..2 * self.members.len() + 3 {
                let before = self.holders.clone();
                self.round(picks);
                if self.holders == before {
                    return;
                }
            }
            panic!("still moving: {self:?}");
        }

        fn shares(&self) -> Vec<usize> {
            self.members.iter().map(|member| self.shards_of(member).len()).collect()
        }

        fn assert_balanced(&self) {
            let due: Vec<usize> =
                (0..self.members.len()).map(|rank| share(self.count, self.members.len(), rank)).collect();
            assert_eq!(self.shares(), due);
            assert_eq!(self.holders.len(), usize::from(self.count), "every shard has an owner");
        }

        fn moved_since(&self, before: &Cluster) -> usize {
            let moved = |shard: &Shard| self.holders.get(shard) != before.holders.get(shard);
            (0..self.count).filter(moved).count()
        }
    }

    #[test]
    fn shares_are_equal_and_what_is_left_over_goes_to_the_first() {
        assert_eq!((0..3).map(|rank| share(16, 3, rank)).collect::<Vec<_>>(), [6, 5, 5]);
        assert_eq!((0..5).map(|rank| share(3, 5, rank)).collect::<Vec<_>>(), [1, 1, 1, 0, 0]);
    }

    #[test]
    fn those_who_look_at_the_same_moment_take_different_shards() {
        let mut cluster = Cluster::of(16, 0..5);
        cluster.round(&[0]);
        cluster.assert_balanced();
    }

    #[test]
    fn who_takes_no_part_moves_nothing() {
        let cluster = Cluster::of(16, [1, 2]);
        assert_eq!(cluster.moves_of("node-009", &BTreeMap::new()), Moves::default());
    }

    #[test]
    fn what_an_earlier_life_of_the_node_held_is_taken_first() {
        let members = BTreeSet::from([name(1), name(2)]);
        let holders = BTreeMap::from([(9, name(1)), (3, name(2))]);
        let (ours, leaving) = (BTreeSet::new(), BTreeSet::new());
        let view =
            View { me: "node-001", members: &members, count: 16, holders: &holders, ours: &ours, leaving: &leaving };
        assert_eq!(decide(&view).take.first(), Some(&9));
    }

    #[test]
    fn what_is_being_given_up_is_left_alone() {
        let members = BTreeSet::from([name(1)]);
        let (holders, ours) = (BTreeMap::from([(0, name(1))]), BTreeSet::from([1]));
        let leaving = BTreeSet::from([0]);
        let view =
            View { me: "node-001", members: &members, count: 3, holders: &holders, ours: &ours, leaving: &leaving };
        assert_eq!(decide(&view), Moves { take: vec![2], give_back: vec![], is_short: true });
    }

    proptest! {
        #[test]
        fn every_shard_finds_one_owner_and_then_nothing_moves(
            count in 1..64u16,
            numbers in proptest::collection::btree_set(0..50u8, 1..12),
            held in proptest::collection::btree_map(0..64u16, 0..60u8, 0..64),
            picks in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let mut cluster = Cluster::of(count, numbers);
            // Anything may be held by anybody; what those hold that are gone comes free.
            let held = held.into_iter().filter(|(shard, _)| *shard < count).map(|(shard, holder)| (shard, name(holder)));
            cluster.holders = held.filter(|(_, holder)| cluster.members.contains(holder)).collect();
            cluster.settle(&picks);
            cluster.assert_balanced();
        }

        #[test]
        fn one_that_joins_moves_its_own_shards_only(
            count in 1..64u16,
            numbers in proptest::collection::btree_set(0..50u8, 1..12),
            newcomer in 0..50u8,
            picks in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let mut cluster = Cluster::of(count, numbers);
            cluster.members.remove(&name(newcomer));
            prop_assume!(!cluster.members.is_empty());
            cluster.settle(&picks);
            let before = cluster.clone();
            cluster.members.insert(name(newcomer));
            cluster.settle(&picks);
            cluster.assert_balanced();
            prop_assert_eq!(cluster.moved_since(&before), cluster.shards_of(&name(newcomer)).len());
        }

        #[test]
        fn one_that_leaves_moves_its_own_shards_only(
            count in 1..64u16,
            numbers in proptest::collection::btree_set(0..50u8, 2..12),
            leaver in 0..12usize,
            picks in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let mut cluster = Cluster::of(count, numbers);
            cluster.settle(&picks);
            let before = cluster.clone();
            let leaver = cluster.members.iter().nth(leaver % cluster.members.len()).cloned().unwrap_or_default();
            cluster.members.remove(&leaver);
            cluster.holders.retain(|_, holder| *holder != leaver);
            cluster.settle(&picks);
            cluster.assert_balanced();
            prop_assert_eq!(cluster.moved_since(&before), before.shards_of(&leaver).len());
        }
    }
}
