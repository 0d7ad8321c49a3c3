//! Probe: what the agents of a run saw of each other, see `bin/probe_agent.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Agents of one run at the same time (L1).
const CAP: usize = 16;

/// A folder in which each agent of a run leaves a line.
#[derive(Debug)]
pub struct Probe {
    dir: PathBuf,
    program: PathBuf,
}

/// How often agents ran.
#[derive(Debug)]
pub struct Seen {
    /// Agents that ran more than once.
    pub again: usize,
    /// The most times that one of them ran.
    pub times_max: usize,
}

impl Probe {
    pub(super) fn new(dir: &Path, program: &Path) -> Probe {
        std::fs::create_dir(dir).expect("a folder");
        Probe { dir: dir.to_owned(), program: program.to_owned() }
    }

    /// The command of an agent that works for so long.
    #[must_use]
    pub fn command(&self, work_ms: u32) -> Vec<String> {
        let (program, dir) = (self.program.display().to_string(), self.dir.display().to_string());
        vec![program, dir, String::from("{prompt}"), work_ms.to_string()]
    }

    /// A script body that starts `agents` of them and gives the number of right answers.
    #[must_use]
    pub fn body(agents: usize) -> String {
        format!(
            "const all = await parallel(Array.from({{length: {agents}}}, (_, i) => () => agent('agent-' + i)));
             return all.filter((text, i) => text === 'agent-' + i).length"
        )
    }

    /// Prompt and slot of every attempt so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.join("lines")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn events(&self) -> String {
        std::fs::read_to_string(self.dir.join("events")).unwrap_or_default()
    }

    /// All of `agents` ran, and never more than the cap of them at once.
    #[must_use]
    pub fn check(&self, agents: usize) -> Seen {
        let lines = self.lines();
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &lines {
            let (prompt, slot) = line.split_once(' ').expect("prompt and slot");
            *times.entry(prompt).or_default() += 1;
            let slot = slot.parse::<usize>().expect("a number");
            assert!(slot < CAP, "more than {CAP} agents at once: {line}\n{}", self.events());
        }
        assert_eq!(times.len(), agents, "none lost");
        let again = times.values().filter(|times| **times > 1).count();
        Seen { again, times_max: times.values().copied().max().unwrap_or_default() }
    }
}
