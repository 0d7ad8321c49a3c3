//! What a person may type. Types only; what happens is in `commands`.

use crate::cluster_args::{CoordinatorArgs, NatsCommandArgs, WorkerArgs};
use crate::remote::ApiUrl;
use crate::saved_args::{CommandsArgs, SaveArgs};
use crate::settings::Settings;
use clap::{Args, Parser, Subcommand, ValueEnum};
use skein_common::RunId;
use skein_common::agent::{RunnerKind, Simulation};
use skein_common::run::ResumeMode;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Runs JavaScript workflows that start many agents, and loses nothing when something dies.
#[derive(Debug, Parser)]
#[command(name = "skein", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Where runs are kept, as SKEIN_STORE and store.dir of the settings [default: the platform's state directory].
    #[arg(long, global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Ask the API of another process, as SKEIN_URL and api.url of the settings, instead of working on a store here.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "store")]
    pub url: Option<ApiUrl>,
    /// One JSON object (or one a line) on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress and no report; results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// More of the log on standard error; twice for all of it.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Of files and environment; `main` reads them before anything else.
    #[arg(skip)]
    pub settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a workflow and follow it to its end; prints the result
    Run(Box<RunArgs>),
    /// Let a paused run go on; continue an interrupted one; run an ended one again with its results
    #[command(after_help = "Example:\n  skein resume wf_01kb3v9m5c7w8t3xq2r4y6z8a0")]
    Resume(RunName),
    /// Hold a run: agents that run finish, nothing new starts
    #[command(after_help = "Example:\n  skein pause wf_01kb3v9m5c7w8t3xq2r4y6z8a0      (`skein resume` lets it go on)")]
    Pause(RunName),
    /// End a run: running agents are cancelled, finished results are kept
    #[command(after_help = "Example:\n  skein stop wf_01kb3v9m5c7w8t3xq2r4y6z8a0")]
    Stop(RunName),
    /// End one agent of a run; its call gives null
    #[command(after_help = "Example:\n  skein agent-stop wf_01kb3v9m5c7w8t3xq2r4y6z8a0 17")]
    AgentStop(AgentArgs),
    /// Have one running agent begin again
    #[command(after_help = "Example:\n  skein agent-restart wf_01kb3v9m5c7w8t3xq2r4y6z8a0 17")]
    AgentRestart(AgentArgs),
    /// Keep one waiting agent from starting; its call gives null
    #[command(after_help = "Example:\n  skein agent-skip wf_01kb3v9m5c7w8t3xq2r4y6z8a0 17")]
    AgentSkip(AgentArgs),
    /// List the workers that made themselves known
    #[command(after_help = "Example:\n  skein workers --url http://127.0.0.1:7717")]
    Workers,
    /// Let a worker finish what it runs, take nothing new, and end
    Drain(DrainArgs),
    /// Execute runs of the store until told to end; takes up interrupted ones
    Serve(ServeArgs),
    /// Own runs of a cluster and execute their scripts, until told to end
    Coordinator(CoordinatorArgs),
    /// Carry out agents of a cluster's runs, until told to end; what runs then may finish
    Worker(WorkerArgs),
    /// Prepare the NATS servers of a cluster
    Nats(NatsCommandArgs),
    /// Parse and lint scripts; no agent starts
    Check(CheckArgs),
    /// Make a sample fleet of servers in a temporary folder and find its planted fault
    Demo(DemoArgs),
    /// List runs, newest first
    Runs(RunsArgs),
    /// Show one run: status, phases, agents, tokens, failures
    #[command(after_help = "Example:\n  skein show wf_01kb3v9m5c7w8t3xq2r4y6z8a0      (`skein runs` lists the ids)")]
    Show(RunName),
    /// Print the result of a run that has ended
    #[command(after_help = "Example:\n  skein result wf_01kb3v9m5c7w8t3xq2r4y6z8a0 | jq .report")]
    Result(RunName),
    /// List the agents of a run
    #[command(after_help = "Example:\n  skein agents wf_01kb3v9m5c7w8t3xq2r4y6z8a0 | grep failed")]
    Agents(RunName),
    /// Show one agent of a run: prompt, attempts, output
    #[command(after_help = "Example:\n  skein agent wf_01kb3v9m5c7w8t3xq2r4y6z8a0 17")]
    Agent(AgentArgs),
    /// Print the log lines and failures of a run
    Logs(LogsArgs),
    /// Remove a run that nobody runs, with everything of its
    ///
    /// Worktrees that its agents changed stay; each is named on standard error, with path and branch.
    #[command(after_help = "Example:\n  skein remove wf_01kb3v9m5c7w8t3xq2r4y6z8a0")]
    Remove(RunName),
    /// Show what is set, and by whom
    Config(ConfigArgs),
    /// Let a project's files name programs that run here
    Trust(TrustArgs),
    /// Check that this machine has what Skein needs
    #[command(after_help = "Example:\n  skein doctor --json | jq '.checks[] | select(.status != \"ok\")'")]
    Doctor,
    /// Print what a shell needs to complete commands and flags
    #[command(after_help = "Example:\n  skein completions bash > ~/.local/share/bash-completion/completions/skein")]
    Completions(CompletionsArgs),
    /// Keep the script of a run under a name, to run it again
    Save(SaveArgs),
    /// List the saved workflows; show or remove one
    Commands(CommandsArgs),
    /// Print the script of a run, byte for byte
    #[command(after_help = "Example:\n  skein script wf_01kb3v9m5c7w8t3xq2r4y6z8a0 > again.js")]
    Script(RunName),
}

impl Command {
    /// Whether it starts a run, or changes one or what is kept for runs to come.
    #[must_use]
    pub fn steers(&self) -> bool {
        !matches!(
            self,
            Command::Check(_)
                | Command::Runs(_)
                | Command::Show(_)
                | Command::Result(_)
                | Command::Agents(_)
                | Command::Agent(_)
                | Command::Logs(_)
                | Command::Script(_)
                | Command::Workers
                | Command::Config(_)
                | Command::Completions(_)
                | Command::Doctor
        )
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein run examples/repo-headings/repo-headings.js --yes --args '{\"dir\":\"docs\"}'
  skein run review.js --yes --runner command --command 'sh review.sh' the text becomes args
  skein run plan.js --dry-run
  skein run deep-research --yes which text becomes args of a saved workflow")]
pub struct RunArgs {
    /// The script: a file, or the name of a saved workflow (`skein commands` lists them).
    #[arg(value_name = "FILE|NAME")]
    pub script: PathBuf,
    /// Becomes `args` when --args is not given; text that is a JSON object or array is parsed.
    #[arg(value_name = "TEXT", conflicts_with = "args")]
    pub text: Vec<String>,
    /// `args` as JSON, from a file, or from standard input.
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub args: Option<String>,
    /// Start without asking.
    #[arg(long, short)]
    pub yes: bool,
    /// Tokens the run may use, such as 230k or 1.5m.
    #[arg(long, value_name = "TOKENS")]
    pub budget: Option<String>,
    /// Model of agents that name none.
    #[arg(long)]
    pub model: Option<String>,
    /// Agents at the same time, 1 to 256 [default: limits.concurrency of the settings, 16].
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// Agents in all, 1 to 100000 [default: limits.agents of the settings, 1000].
    #[arg(long, value_name = "N")]
    pub max_agents: Option<u32>,
    /// Unknown agent options throw, and a degraded run exits with 6.
    #[arg(long)]
    pub strict: bool,
    /// Time the whole run may take, such as 30m.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// Runner of agents whose type names none.
    #[arg(long, value_enum)]
    pub runner: Option<Runner>,
    /// With --runner command: the program that every agent without a type runs.
    #[arg(long, value_name = "PROG ARG…")]
    pub command: Option<String>,
    /// With --runner simulated: latency=5ms,jitter=2ms,fail=0.01,tokens=110,text=64k.
    #[arg(long, value_name = "SETTINGS")]
    pub simulate: Option<Simulation>,
    /// Answer calls from the results of this run, which has ended or was interrupted; its args and seed are kept.
    #[arg(long, value_name = "RUN")]
    pub resume: Option<RunId>,
    /// Which results are reused: of every call that matches, or only up to the first that does not.
    #[arg(long, value_enum, default_value = "keyed", requires = "resume")]
    pub resume_mode: Mode,
    /// Print every event of the run while it happens, one JSON object a line; the last line is the final object.
    #[arg(long, conflicts_with_all = ["detach", "dry_run"])]
    pub events: bool,
    /// Give the run to the `skein serve` of this store, or of --url, print its id and leave.
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,
    /// Run the script with simulated agents and report what it would start; nothing is kept or spent.
    #[arg(long)]
    pub dry_run: bool,
}

/// The modes of [`ResumeMode`] as words of the command line.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum Mode {
    #[default]
    Keyed,
    Prefix,
}

impl From<Mode> for ResumeMode {
    fn from(mode: Mode) -> ResumeMode {
        match mode {
            Mode::Keyed => ResumeMode::Keyed,
            Mode::Prefix => ResumeMode::Prefix,
        }
    }
}

/// The runners of [`RunnerKind`] as words of the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Runner {
    Llm,
    Cli,
    Command,
    Simulated,
}

impl From<Runner> for RunnerKind {
    fn from(runner: Runner) -> RunnerKind {
        match runner {
            Runner::Llm => RunnerKind::Llm,
            Runner::Cli => RunnerKind::Cli,
            Runner::Command => RunnerKind::Command,
            Runner::Simulated => RunnerKind::Simulated,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  skein check workflows/*.js")]
pub struct CheckArgs {
    #[arg(required = true, value_name = "FILE")]
    pub scripts: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  skein demo --seed 3")]
pub struct DemoArgs {
    /// Which fleet to make; 1 is the one of the documentation.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// nginx hosts in the fleet.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(4..=1000))]
    pub hosts: u32,
    /// Keep the fleet, and say where it is.
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  skein runs --json | jq -r '.[].run'")]
pub struct RunsArgs {
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein serve &
  skein run review.js --yes --detach
  skein serve --listen 127.0.0.1:7717 &
  skein run review.js --yes --url http://127.0.0.1:7717")]
pub struct ServeArgs {
    /// Also serve the HTTP API on TCP, to whoever has a token [default: api.listen of the settings, nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  skein drain web-3 --url http://127.0.0.1:7717")]
pub struct DrainArgs {
    /// Its id or its node, as `skein workers` lists them.
    #[arg(value_name = "WORKER")]
    pub worker: String,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct RunName {
    #[arg(value_name = "RUN")]
    pub run: RunId,
}

#[derive(Debug, Args)]
pub struct AgentArgs {
    #[arg(value_name = "RUN")]
    pub run: RunId,
    /// The agent's number, as `skein agents RUN` lists it.
    #[arg(value_name = "N")]
    pub agent: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein logs wf_01kb3v9m5c7w8t3xq2r4y6z8a0
  skein logs wf_01kb3v9m5c7w8t3xq2r4y6z8a0 -f --json | jq -r .text")]
pub struct LogsArgs {
    #[arg(value_name = "RUN")]
    pub run: RunId,
    /// Go on printing until the run ends, whichever process runs it.
    #[arg(long, short)]
    pub follow: bool,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = "Example:\n  skein config show --origin")]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting as it counts here
    #[command(after_help = "Example:
  skein config show --origin

Files, the later ones win: /etc/skein/skein.toml, ~/.config/skein/config.toml, ./.skein.toml; then SKEIN_* variables,
then flags. A project's file may set limits, budget, model and names of hosts and pools; what names a program counts
once the project is trusted (skein trust).")]
    Show {
        /// Also who said so: a file and line, a variable, a flag.
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein trust .                 shows what its files name, asks, and lets it run until they change
  skein trust --list
  skein trust --remove .")]
pub struct TrustArgs {
    /// The project's folder [default: the current one].
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print the trusted folders.
    #[arg(long, conflicts_with_all = ["dir", "remove"])]
    pub list: bool,
    /// Trust the folder no more.
    #[arg(long)]
    pub remove: bool,
    /// Show and trust without asking.
    #[arg(long, conflicts_with_all = ["list", "remove"])]
    pub yes: bool,
}
