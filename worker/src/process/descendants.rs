//! Which processes there are, whose they are, and ending them. Reads /proc.

use super::protocol::Mark;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// All processes at one moment.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    processes: BTreeMap<i32, Process>,
    children: BTreeMap<i32, Vec<i32>>,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub name: String,
    pub parent: i32,
    pub group: i32,
    pub zombie: bool,
    /// Tells a process from a later one of the same number.
    started: u64,
}

/// Whose a process is, as far as it shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Marked {
    By(Mark),
    Not,
    /// Its environment is empty, as it is for an instant while a program is being started.
    Unclear,
}

impl ProcessTable {
    /// The processes of this moment, as far as they can be seen.
    pub(crate) fn read() -> ProcessTable {
        let mut table = ProcessTable::default();
        let Ok(entries) = std::fs::read_dir("/proc") else { return table };
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(process) = Process::read(pid) {
                table.children.entry(process.parent).or_default().push(pid);
                table.processes.insert(pid, process);
            }
        }
        table
    }

    /// Takes this process in as it is now, since the table may be older than it.
    pub(crate) fn look_again(&mut self, pid: i32) {
        if let Some(process) = Process::read(pid) {
            self.processes.insert(pid, process);
        }
    }

    /// The process of this number.
    pub(crate) fn get(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// Numbers of all processes.
    pub(crate) fn pids(&self) -> impl Iterator<Item = i32> {
        self.processes.keys().copied()
    }

    /// This process and everything below it.
    pub(crate) fn tree(&self, root: i32) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut unvisited = vec![root];
        while let Some(pid) = unvisited.pop() {
            if self.processes.contains_key(&pid) && found.insert(pid) {
                unvisited.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        found
    }

    /// Everything below this process.
    pub(crate) fn below(&self, root: i32) -> BTreeSet<i32> {
        let mut found = self.tree(root);
        found.remove(&root);
        found
    }

    /// This process and those it descends from.
    pub(crate) fn ancestors(&self, pid: i32) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        let mut next = Some(pid);
        while let Some(pid) = next.filter(|pid| found.insert(*pid)) {
            next = self.processes.get(&pid).map(|process| process.parent);
        }
        found
    }

    /// `PID (NAME)`, for people.
    pub(crate) fn describe(&self, pid: i32) -> String {
        match self.processes.get(&pid) {
            Some(process) => format!("{pid} ({})", process.name),
            None => pid.to_string(),
        }
    }

    /// Sends SIGKILL to this very process; false when that is not ours to do.
    pub(crate) fn kill(&self, pid: i32) -> bool {
        let Some(known) = self.processes.get(&pid).filter(|process| !process.zombie) else { return true };
        let Some(target) = Pid::from_raw(pid) else { return true };
        let Ok(descriptor) = pidfd_open(target, PidfdFlags::empty()) else { return true };
        // The number may have gone to another process since the table was read.
        if Process::read(pid).is_none_or(|now| now.started != known.started) {
            return true;
        }
        pidfd_send_signal(&descriptor, Signal::KILL) != Err(rustix::io::Errno::PERM)
    }
}

impl Process {
    pub(crate) fn read(pid: i32) -> Option<Process> {
        Process::parse(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    /// `PID (NAME) STATE PARENT GROUP …`; the name may hold anything, parentheses too.
    fn parse(stat: &str) -> Option<Process> {
        const START_TIME_FIELD: usize = 19;
        let (head, tail) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let state = fields.first()?;
        Some(Process {
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            zombie: matches!(*state, "Z" | "X"),
            started: fields.get(START_TIME_FIELD)?.parse().ok()?,
        })
    }
}

/// Children of the calling thread, reaped ones not; `None` where the system does not list them.
///
/// The kernel's list is complete as long as no child is reaped while it is read, which only this thread does.
pub(crate) fn children_of_this_thread() -> Option<Vec<i32>> {
    let text = std::fs::read_to_string("/proc/thread-self/children").ok()?;
    Some(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

/// Whose this process is by its environment.
pub(crate) fn marked(pid: i32) -> Marked {
    match std::fs::read(format!("/proc/{pid}/environ")) {
        Ok(environ) if environ.is_empty() => Marked::Unclear,
        Ok(environ) => mark_in(&environ).map_or(Marked::Not, Marked::By),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Marked::Not,
        Err(_) => Marked::Unclear,
    }
}

fn mark_in(environ: &[u8]) -> Option<Mark> {
    let value = |name: &str| {
        let mut variables = environ.split(|byte| *byte == 0);
        let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    Some(Mark { run: value("SKEIN_RUN")?, agent: value("SKEIN_AGENT")?, attempt: value("SKEIN_ATTEMPT")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 7 40 40 0 -1 4194304 102 0 0 0 0 0 0 0 20 0 1 0 154090 3133440 384";
        let process = Process::parse(stat).expect("parses");
        let expected = Process { name: "a) b (c".into(), parent: 7, group: 40, zombie: false, started: 154_090 };
        assert_eq!(process, expected);
    }

    #[test]
    fn nonsense_is_no_process() {
        for stat in ["", "1", "1 (x", "1 (x) S", "1 (x) S a b"] {
            assert_eq!(Process::parse(stat), None, "{stat}");
        }
    }

    #[test]
    fn a_mark_needs_all_three_variables() {
        let environ = b"PATH=/bin\0SKEIN_RUN=wf_1\0SKEIN_AGENT=2\0SKEIN_ATTEMPT=3\0";
        let mark = Mark { run: "wf_1".into(), agent: "2".into(), attempt: "3".into() };
        assert_eq!(mark_in(environ), Some(mark));
        assert_eq!(mark_in(b"SKEIN_RUN=wf_1\0SKEIN_AGENT=2\0"), None);
        assert_eq!(mark_in(b"XSKEIN_RUN=wf_1\0"), None);
    }

    #[test]
    fn this_process_is_in_the_table_below_its_parent() {
        let table = ProcessTable::read();
        let own = i32::try_from(std::process::id()).expect("fits");
        let parent = table.get(own).expect("is listed").parent;
        assert!(table.tree(parent).contains(&own));
        assert!(table.ancestors(own).contains(&parent));
        assert!(!table.below(own).contains(&own));
    }
}
