//! Processes as the system sees them.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// Pids of all processes whose environment names this run: its agents and what they started.
#[must_use]
pub fn of_run(run: &str) -> Vec<i32> {
    let mark = format!("SKEIN_RUN={run}");
    with_variable(&mark)
}

/// Pids of all processes that carry this variable in their environment.
#[must_use]
pub fn with_variable(entry: &str) -> Vec<i32> {
    pids().into_iter().filter(|pid| environment(*pid).iter().any(|known| *known == entry)).collect()
}

/// Pids of the processes whose parent is `parent`.
#[must_use]
pub fn children_of(parent: i32) -> Vec<i32> {
    pids().into_iter().filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Pids of the processes that work in this folder or below it.
#[must_use]
pub fn working_below(dir: &std::path::Path) -> Vec<i32> {
    let works = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|works_in| works_in.starts_with(dir));
    pids().into_iter().filter(works).collect()
}

/// The command line of a process, words joined by blanks.
#[must_use]
pub fn command_line(pid: i32) -> String {
    fs::read(format!("/proc/{pid}/cmdline")).map(|bytes| text(&bytes).replace('\0', " ")).unwrap_or_default()
}

/// Kills a process that this test started, without a chance to say anything.
pub fn kill_9(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone_already = kill_process(pid, Signal::KILL);
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone_already = kill_process(pid, signal);
    }
}

/// Whether a process is there and is no zombie.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|pid| is_alive(*pid)).collect()
}

fn environment(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(text).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
