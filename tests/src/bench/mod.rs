//! Benchmark: each run of a workload in a fresh process of its own, so that what it costs can be told apart.

mod crowd;
mod figures;
mod measure;
mod memory;
mod replay;
mod rig;
mod table;
mod w5;
mod workloads;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use figures::{Report, Sample};
use rustix::fs::statfs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// `f_type` of a file system in memory, on which a flush costs nothing.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One run, 1000 no-op agents, 16 at a time, result in order.
    W1,
    /// 200 agents, each of which needs the one before.
    W2,
    /// 100 runs of 10 agents at once.
    W3,
    /// 200 agents that return 64 KiB each.
    W4,
    /// `kill -9` of `skein run` at about 500 of 1000 agents of 5 ms, then `skein resume`.
    W5,
    /// Idle, and after W1 to W4.
    Memory,
    /// Takeover of a run of 3000 events.
    Replay,
    /// All hostile scripts at once beside a healthy run of 200 agents.
    Hostile,
    /// 500 runs of 4 agents at once.
    Many,
    /// All of them.
    All,
}

impl Workload {
    const EACH: [Workload; 9] = [
        Workload::W1,
        Workload::W2,
        Workload::W3,
        Workload::W4,
        Workload::W5,
        Workload::Memory,
        Workload::Replay,
        Workload::Hostile,
        Workload::Many,
    ];

    fn name(self) -> &'static str {
        match self {
            Workload::W1 => "w1",
            Workload::W2 => "w2",
            Workload::W3 => "w3",
            Workload::W4 => "w4",
            Workload::W5 => "w5",
            Workload::Memory => "memory",
            Workload::Replay => "replay",
            Workload::Hostile => "hostile",
            Workload::Many => "many",
            Workload::All => "all",
        }
    }
}

/// Where coordinator, worker and store meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    Embedded,
    Nats,
}

/// Measures what Skein costs.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Arguments {
    pub workload: Workload,
    #[arg(long, value_enum, default_value = "embedded")]
    pub backend: Backend,
    /// How often each workload is run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// One JSON object a workload instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Where the stores are made; must be on a disk.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Measures once, in this process, and prints the figures.
    #[arg(long, hide = true)]
    pub once: bool,
}

/// Carries the command line out; prints.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    if arguments.backend == Backend::Nats {
        complain("the nats backend is not built yet");
        return ExitCode::from(2);
    }
    match measure_all(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program that tells a person what is wrong")]
fn complain(text: &str) {
    eprintln!("bench: {text}");
}

/// A reader that has seen enough ends nothing but itself.
fn say(text: &str) {
    let _nobody_reads = writeln!(std::io::stdout().lock(), "{text}");
}

fn measure_all(arguments: &Arguments) -> anyhow::Result<()> {
    let dir = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    check_disk(&dir)?;
    if arguments.once {
        let sample = measure_once(arguments.workload, &dir)?;
        say(&serde_json::to_string(&sample)?);
        return Ok(());
    }
    let _built_before_anything_is_measured = crate::skein_binary();
    let workloads = match arguments.workload {
        Workload::All => &Workload::EACH[..],
        one => &[one],
    };
    for workload in workloads {
        let samples: anyhow::Result<Vec<Sample>> =
            (0..arguments.runs).map(|_| in_own_process(*workload, &dir)).collect();
        let report = Report::of(workload.name(), &samples.with_context(|| format!("workload {}", workload.name()))?);
        if arguments.json {
            say(&serde_json::to_string(&report)?);
        } else {
            say(&table::print(&report));
        }
    }
    Ok(())
}

/// A flush to memory would say nothing.
fn check_disk(dir: &Path) -> anyhow::Result<()> {
    let found = statfs(dir).with_context(|| format!("{} cannot be used", dir.display()))?;
    anyhow::ensure!(found.f_type != TMPFS_MAGIC, "{} is in memory: name a folder on a disk with --dir", dir.display());
    Ok(())
}

fn in_own_process(workload: Workload, dir: &Path) -> anyhow::Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([workload.name(), "--once", "--dir"]).arg(dir).env("SKEIN_BIN", crate::skein_binary());
    let output = command.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "the measuring process ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure_once(workload: Workload, dir: &Path) -> anyhow::Result<Sample> {
    let store = tempfile::Builder::new().prefix("skein-bench-").tempdir_in(dir)?;
    match workload {
        Workload::W5 => w5::kill_and_resume(store.path()),
        Workload::All => anyhow::bail!("one workload at a time"),
        other => actix::System::new().block_on(in_process(other, store.path())),
    }
}

async fn in_process(workload: Workload, store: &Path) -> anyhow::Result<Sample> {
    match workload {
        Workload::W1 => workloads::w1(store).await,
        Workload::W2 => workloads::w2(store).await,
        Workload::W3 => workloads::w3(store).await,
        Workload::W4 => workloads::w4(store).await,
        Workload::Memory => memory::memory(store).await,
        Workload::Replay => replay::replay(store).await,
        Workload::Hostile => crowd::hostile(store).await,
        Workload::Many => crowd::many(store).await,
        Workload::W5 | Workload::All => anyhow::bail!("not measured in this process"),
    }
}
