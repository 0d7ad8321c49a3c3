//! Measure: CPU time, memory and written bytes of this process and everything below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Children are looked at so often: a script host takes its CPU time with it when it ends, and is not asked for it.
const LOOK: Duration = Duration::from_millis(2);
/// Looking may use so much of the time.
const SHARE_OF_TIME: u32 = 50;

/// From its start to [`Meter::stop`].
pub struct Meter {
    begun: Instant,
    /// Whether this process is measured, too, or only those below it.
    with_own: bool,
    own_ns: u64,
    written: u64,
    stop: Sender<()>,
    children: JoinHandle<u64>,
}

/// What was used meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub elapsed_ms: f64,
    pub cpu_ms: f64,
    /// What left for the disk, in whole pages of the system.
    pub written_bytes: f64,
}

impl Meter {
    /// Of this process and those below it.
    pub fn start() -> Meter {
        Meter::begin(true)
    }

    /// Of the processes below this one, which plays the client.
    pub fn start_below() -> Meter {
        Meter::begin(false)
    }

    fn begin(with_own: bool) -> Meter {
        let (stop, stopped) = channel();
        let children = std::thread::spawn(move || watch_children(&stopped));
        Meter { begun: Instant::now(), with_own, own_ns: own_ns(), written: written_bytes(with_own), stop, children }
    }

    pub fn stop(self) -> Used {
        let elapsed_ms = self.begun.elapsed().as_secs_f64() * 1e3;
        let own_ns = if self.with_own { own_ns().saturating_sub(self.own_ns) } else { 0 };
        let _looks_no_more = self.stop.send(());
        let children_ns = self.children.join().unwrap_or(0);
        let written_bytes = written_bytes(self.with_own).saturating_sub(self.written) as f64;
        Used { elapsed_ms, cpu_ms: (own_ns + children_ns) as f64 / 1e6, written_bytes }
    }
}

/// Adds up what each process below this one used, as far as it could be seen while it lived.
fn watch_children(stopped: &Receiver<()>) -> u64 {
    let first: BTreeMap<i32, u64> = descendants().into_iter().map(|pid| (pid, process_ns(pid))).collect();
    let mut last = first.clone();
    let mut is_over = false;
    loop {
        let looked = Instant::now();
        for pid in descendants() {
            let ns = process_ns(pid).max(last.get(&pid).copied().unwrap_or(0));
            last.insert(pid, ns);
        }
        if is_over {
            break;
        }
        // Of many processes a look takes long, so the last one comes after the end.
        let pause = LOOK.max(looked.elapsed() * SHARE_OF_TIME);
        is_over = !matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
    }
    last.iter().map(|(pid, ns)| ns.saturating_sub(first.get(pid).copied().unwrap_or(0))).sum()
}

/// Time on a processor of all threads, without the one that measures.
fn own_ns() -> u64 {
    process_ns(i32::try_from(std::process::id()).unwrap_or(0))
}

fn process_ns(pid: i32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks.flatten().filter_map(|task| first_number(&task.path().join("schedstat"))).sum()
}

fn first_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// The processes below this one.
pub fn descendants() -> BTreeSet<i32> {
    descendants_of(i32::try_from(std::process::id()).unwrap_or(0))
}

fn descendants_of(pid: i32) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            waiting.extend(
                children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| found.insert(*pid)),
            );
        }
    }
    found
}

/// Memory of this process and those below it, pages they share counted once: MiB.
pub fn memory_mb() -> f64 {
    memory_below_mb(&[i32::try_from(std::process::id()).unwrap_or(0)])
}

/// The same of these processes and those below them.
pub fn memory_below_mb(pids: &[i32]) -> f64 {
    let all: BTreeSet<i32> = pids.iter().flat_map(|pid| descendants_of(*pid)).chain(pids.iter().copied()).collect();
    let kib: u64 = all.iter().filter_map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum();
    kib as f64 / 1024.0
}

/// By this process, or by those below it that still live.
fn written_bytes(of_own: bool) -> u64 {
    if of_own {
        return field("/proc/self/io", "write_bytes:").unwrap_or(0);
    }
    descendants().iter().filter_map(|pid| field(&format!("/proc/{pid}/io"), "write_bytes:")).sum()
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
