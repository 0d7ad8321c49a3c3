//! A world for a worker, and waiting without sleeping.

pub use crate::ports::*;

use skein_common::agent::{AgentDefinition, CommandLine, RetryRule, RunnerKind};
use skein_common::config::WorkerSettings;
use skein_common::wire::Task;
use skein_common::{RunId, WorkerId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Looks again and again until it is so; for what tells nobody that it changed, such as processes and files.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn shell(run: &RunId, agent: u32, project_dir: &Path, line: &str) -> Task {
    let command = Some(vec!["/bin/sh".into(), "-c".into(), line.into()]);
    Task { command, ..task(run, agent, RunnerKind::Command, project_dir) }
}

pub fn definition(path: &Path, command: CommandLine) -> AgentDefinition {
    AgentDefinition {
        name: "tester".into(),
        description: String::new(),
        model: None,
        runner: Some(RunnerKind::Command),
        command: Some(command),
        cwd: None,
        env: Vec::new(),
        retry: RetryRule::Asked,
        tools: None,
        body: String::new(),
        path: path.to_str().unwrap().into(),
        digest: String::new(),
    }
}

pub fn config(world: &Arc<World>, attempts_dir: &Path) -> skein_worker::WorkerConfig {
    skein_worker::WorkerConfig {
        ports: world.ports(),
        id: WorkerId("node-0.test".into()),
        node: "node-0".into(),
        labels: BTreeMap::new(),
        state_dir: None,
        settings: WorkerSettings { slots: 16, heartbeat_ms: 1000, ..WorkerSettings::default() },
        executable: PathBuf::from(env!("CARGO_BIN_EXE_keeper-test")),
        attempts_dir: attempts_dir.to_owned(),
        root: None,
        pools: vec!["default".into()],
        hosts: Vec::new(),
        metrics: skein_worker::Metrics::unwatched().unwrap(),
    }
}

/// Processes whose command line holds this text.
pub fn processes_with(text: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command_line).contains(text)
    })
    .collect()
}

pub fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}
