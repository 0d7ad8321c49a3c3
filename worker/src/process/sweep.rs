//! Ends what attempts leave behind: after each event the keeper looks at its children and kills those that
//! belong to no attempt that is still going on, with everything below them.

use super::descendants::{Marked, ProcessTable, children_of_this_thread, marked};
use super::keeper::Kept;
use super::protocol::KeptId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What a sweep remembers from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Orphans whose environment was empty: killed when it still is in the next round.
    unclear: BTreeSet<i32>,
    /// Processes of other users, which cannot be killed.
    untouchable: BTreeSet<i32>,
    warnings: Vec<String>,
}

/// Processes to be killed, and for which attempt; `None` when that does not show, so that all wait for it.
type Doomed = BTreeMap<i32, Option<KeptId>>;

impl Sweep {
    /// Kills what is to be killed; gives the attempts of which nothing is left, and whether another round is needed.
    pub(super) fn round(&mut self, attempts: &BTreeMap<KeptId, Kept>, closing: bool) -> (Vec<KeptId>, bool) {
        let now = Instant::now();
        let finished = |kept: &Kept| closing || kept.exit.is_some() || kept.kill_at.is_some_and(|at| at <= now);
        let roots: BTreeSet<i32> = attempts.values().filter(|kept| kept.exit.is_none()).map(|kept| kept.root).collect();
        let exited = || attempts.iter().filter(|(_, kept)| kept.exit.is_some()).map(|(id, _)| *id);
        let to_kill = attempts.values().any(|kept| kept.exit.is_none() && finished(kept));
        let orphans = children_of_this_thread().map(|children| children.into_iter().any(|pid| !roots.contains(&pid)));
        if orphans == Some(false) && !to_kill {
            self.unclear.clear();
            return (exited().collect(), false);
        }

        let mut table = ProcessTable::read();
        let children = own_children(&table);
        // Whoever runs away by becoming ever new processes is younger than the table.
        children.iter().for_each(|child| table.look_again(*child));
        // One that ended since the list was read may have left another, which is in the next list only.
        let is_over = |pid: &i32| table.get(*pid).is_none_or(|process| process.zombie);
        let list_is_old = children.iter().any(|child| !roots.contains(child) && is_over(child));
        let doomed = if closing {
            children.into_iter().flat_map(|child| table.tree(child)).map(|pid| (pid, None)).collect()
        } else {
            let orphans = children.into_iter().filter(|pid| !roots.contains(pid)).collect();
            self.doomed(&table, attempts, orphans, finished)
        };
        let doomed: Doomed = doomed.into_iter().filter(|(pid, _)| self.kill(&table, *pid)).collect();
        // An unclear orphan may be anybody's; one that just ended may have left another.
        let all_wait = list_is_old || !self.unclear.is_empty() || doomed.values().any(Option::is_none);
        let waiting: BTreeSet<KeptId> = doomed.values().flatten().copied().collect();
        let gone = exited().filter(|id| !all_wait && !waiting.contains(id)).collect();
        (gone, all_wait || !doomed.is_empty())
    }

    /// What could not be done since the last call.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn doomed(
        &mut self,
        table: &ProcessTable,
        attempts: &BTreeMap<KeptId, Kept>,
        orphans: Vec<i32>,
        finished: impl Fn(&Kept) -> bool,
    ) -> Doomed {
        let mut doomed = Doomed::new();
        for (id, kept) in attempts.iter().filter(|(_, kept)| kept.exit.is_none() && finished(kept)) {
            doomed.extend(table.tree(kept.root).into_iter().map(|pid| (pid, Some(*id))));
        }
        let any_finished = attempts.values().any(&finished);
        let before = std::mem::take(&mut self.unclear);
        for orphan in orphans.into_iter().filter(|pid| table.get(*pid).is_some_and(|process| !process.zombie)) {
            let owner = match self.owner(table, attempts, orphan, &before) {
                Owner::Attempt(id) if attempts.get(&id).is_some_and(&finished) => Some(id),
                Owner::Nobody => None,
                Owner::Unknown if any_finished => None,
                Owner::Attempt(_) | Owner::Unknown | Owner::Unclear => continue,
            };
            for pid in table.tree(orphan) {
                doomed.entry(pid).or_insert(owner);
            }
        }
        doomed
    }

    fn owner(
        &mut self,
        table: &ProcessTable,
        attempts: &BTreeMap<KeptId, Kept>,
        orphan: i32,
        unclear_before: &BTreeSet<i32>,
    ) -> Owner {
        let group = table.get(orphan).map(|process| process.group);
        if let Some((id, _)) = attempts.iter().find(|(_, kept)| Some(kept.root) == group) {
            return Owner::Attempt(*id);
        }
        match marked(orphan) {
            Marked::By(mark) => {
                let owner = attempts.iter().find(|(_, kept)| kept.mark == mark);
                owner.map_or(Owner::Nobody, |(id, _)| Owner::Attempt(*id))
            }
            Marked::Unclear if !unclear_before.contains(&orphan) => {
                self.unclear.insert(orphan);
                Owner::Unclear
            }
            Marked::Unclear | Marked::Not => Owner::Unknown,
        }
    }

    /// Kills; false when there is nothing to wait for.
    fn kill(&mut self, table: &ProcessTable, pid: i32) -> bool {
        if table.get(pid).is_none_or(|process| process.zombie) {
            return false;
        }
        let killed = table.kill(pid);
        if !killed && self.untouchable.insert(pid) {
            self.warnings.push(format!("may not kill {}, which an attempt left behind", table.describe(pid)));
        }
        killed
    }
}

enum Owner {
    Attempt(KeptId),
    /// It was left by an attempt that is over.
    Nobody,
    /// Of any attempt there is.
    Unknown,
    /// To be looked at again.
    Unclear,
}

/// Listed after the table was read: a process that lost its parent since then is in this list and not yet in the
/// table's, and everything else alive is still where the table says.
fn own_children(table: &ProcessTable) -> Vec<i32> {
    children_of_this_thread().unwrap_or_else(|| {
        let own = i32::try_from(std::process::id()).ok();
        table.pids().filter(|pid| table.get(*pid).map(|process| process.parent) == own).collect()
    })
}
