//! Benchmark: each run of a workload in a fresh process of its own, so that what it costs can be told apart.

mod crowd;
mod figures;
mod measure;
mod memory;
mod nats;
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
    /// `kill -9` at about 500 of 1000 agents of 5 ms: of `skein run`, then `skein resume`; on a cluster of the worker,
    /// the coordinator, both, and the server.
    W5,
    /// Idle, and after W1 to W4.
    Memory,
    /// Takeover of a run of 3000 events, in one process.
    Replay,
    /// One agent at a time beside plain requests over the same server. On a cluster.
    RoundTrip,
    /// Takeover of a run of 3000 events by another coordinator. On a cluster.
    Takeover,
    /// The log scan of `examples/nginx-502` on 100 workers. On a cluster.
    Scan,
    /// All hostile scripts at once beside a healthy run of 200 agents.
    Hostile,
    /// 500 runs of 4 agents at once.
    Many,
    /// All of them.
    All,
}

impl Workload {
    const EACH_ON_NATS: [Workload; 9] = [
        Workload::W1,
        Workload::W2,
        Workload::W3,
        Workload::W4,
        Workload::W5,
        Workload::Memory,
        Workload::RoundTrip,
        Workload::Takeover,
        Workload::Scan,
    ];

    const EACH_EMBEDDED: [Workload; 9] = [
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
            Workload::RoundTrip => "round-trip",
            Workload::Takeover => "takeover",
            Workload::Scan => "scan",
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

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Backend::Embedded => "embedded",
            Backend::Nats => "nats",
        }
    }

    fn all_workloads(self) -> &'static [Workload] {
        match self {
            Backend::Embedded => &Workload::EACH_EMBEDDED,
            Backend::Nats => &Workload::EACH_ON_NATS,
        }
    }
}

/// Measures what Skein costs.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Arguments {
    pub workload: Workload,
    #[arg(long, value_enum, default_value = "embedded")]
    pub backend: Backend,
    /// The NATS server flushes what it acknowledges within two minutes, as it comes, instead of first.
    #[arg(long)]
    pub unflushed: bool,
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
        let sample = measure_once(arguments, &dir)?;
        say(&serde_json::to_string(&sample)?);
        return Ok(());
    }
    let _built_before_anything_is_measured = crate::skein_binary();
    let workloads = match arguments.workload {
        Workload::All => arguments.backend.all_workloads(),
        one => &[one],
    };
    for workload in workloads {
        let samples: anyhow::Result<Vec<Sample>> =
            (0..arguments.runs).map(|_| in_own_process(*workload, arguments, &dir)).collect();
        let report = Report::of(workload.name(), &samples.with_context(|| format!("workload {}", workload.name()))?);
        if arguments.json {
            say(&serde_json::to_string(&report)?);
        } else {
            say(&table::print(&report, arguments.backend, arguments.unflushed));
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

fn in_own_process(workload: Workload, arguments: &Arguments, dir: &Path) -> anyhow::Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([workload.name(), "--once", "--backend", arguments.backend.name()]);
    if arguments.unflushed {
        command.arg("--unflushed");
    }
    command.arg("--dir").arg(dir).env("SKEIN_BIN", crate::skein_binary());
    let output = command.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "the measuring process ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure_once(arguments: &Arguments, dir: &Path) -> anyhow::Result<Sample> {
    let store = tempfile::Builder::new().prefix("skein-bench-").tempdir_in(dir)?;
    match (arguments.backend, arguments.workload) {
        (_, Workload::All) => anyhow::bail!("one workload at a time"),
        (Backend::Nats, workload) => {
            actix::System::new().block_on(nats::measure(workload, store.path(), arguments.unflushed))
        }
        (Backend::Embedded, Workload::W5) => w5::kill_and_resume(store.path()),
        (Backend::Embedded, other) => actix::System::new().block_on(in_process(other, store.path())),
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
        Workload::RoundTrip | Workload::Takeover | Workload::Scan => anyhow::bail!("measured with --backend nats only"),
        Workload::W5 | Workload::All => anyhow::bail!("not measured in this process"),
    }
}
