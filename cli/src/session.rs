//! Session: coordinator, worker and store in this one process, and one run followed to its end.

use crate::args::Global;
use crate::client::{run_socket, serve_socket};
use crate::door::{Door, TcpDoor};
use crate::events::EventLines;
use crate::exit::{self, Code, usage};
use crate::output;
use crate::progress::Progress;
use crate::report;
use crate::settings::{Settings, read_labels};
use crate::signals::Signals;
use crate::sweep::Sweeps;
use crate::telemetry::{Counting, StoreReadiness};
use anyhow::Context as _;
use skein_backend::embedded::Store;
use skein_common::run::RunSpec;
use skein_common::view::RunView;
use skein_common::{RunId, WorkerId};
use skein_coordinator::{Coordinator, CoordinatorConfig, Retention, RunOutcome, stored};
use skein_script::HostPool;
use skein_worker::{WorkerConfig, WorkerHandle};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a run whose process died waits for a `skein serve` to see it.
const LOOK_FOR_INTERRUPTED: Duration = Duration::from_secs(2);

/// The whole system in one process.
pub struct Session {
    /// The store is still there when this process is gone.
    keeps_runs: bool,
    coordinator: Coordinator,
    worker: WorkerHandle,
    sweeps: Sweeps,
    store: Store,
    store_dir: PathBuf,
    /// Every event is printed while the run goes on.
    prints_events: bool,
    watchers_max: usize,
}

/// What a followed run came to.
enum Followed {
    Outcome(RunOutcome),
    Signal(Code),
}

/// A run that ended, or the exit code of a process that was told to leave it.
pub enum Concluded {
    Ended(Box<RunView>),
    Left(Code),
}

impl Concluded {
    /// Prints result and report; the exit code is the run's.
    ///
    /// # Errors
    /// Nothing that is ours.
    pub fn report(self, global: &Global, strict: bool) -> anyhow::Result<Code> {
        match self {
            Concluded::Ended(view) => {
                report::finished(global, &view)?;
                Ok(exit::code_of_run(&view, strict))
            }
            Concluded::Left(code) => Ok(code),
        }
    }
}

impl Session {
    /// Starts everything on this store.
    ///
    /// # Errors
    /// The store cannot be opened or a child process not started.
    pub async fn start(settings: &Settings, store_dir: &Path) -> anyhow::Result<Session> {
        let (served_hosts, labels) = (settings.served.host_names()?, read_labels(&settings.served.labels)?);
        let store = Store::open(store_dir)?;
        let executable = this_program()?;
        let counting = Counting::begin()?;
        let readiness = Arc::new(StoreReadiness::new(store.ports().directory));
        let hosts = HostPool::start(executable.clone()).await.context("cannot start the script host")?;
        let coordinator = Coordinator::start(CoordinatorConfig {
            ports: store.ports(),
            hosts,
            host_limits: settings.host_limits.clone(),
            settings: settings.coordinator.clone(),
            owner: owner(),
            // Each run of a store is owned by itself: neither is used.
            node: String::from("here"),
            lease: Duration::from_secs(3),
            telemetry: counting.of_coordinator(settings, readiness)?,
        });
        let worker_name = format!("worker-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let worker = skein_worker::start(WorkerConfig {
            ports: store.ports(),
            id: WorkerId(worker_name.clone()),
            node: worker_name,
            labels,
            state_dir: None,
            settings: settings.worker.clone(),
            executable,
            attempts_dir: store.runs_dir(),
            root: settings.served.root.clone(),
            pools: settings.served.pools.clone(),
            hosts: served_hosts,
            metrics: counting.of_worker()?,
        })
        .await
        .context("cannot start the worker")?;
        let of_removed = |note: &str| tracing::warn!("of a run that is removed after its time: {note}");
        let sweeps = Sweeps::start(retention(&store, of_removed), settings.retention.days);
        let store_dir = store_dir.to_path_buf();
        let watchers_max = settings.api.watchers_max;
        Ok(Session {
            keeps_runs: true,
            coordinator,
            worker,
            sweeps,
            store,
            store_dir,
            prints_events: false,
            watchers_max,
        })
    }

    /// The store will be removed: there is nothing to continue later.
    #[must_use]
    pub fn temporary(self) -> Session {
        Session { keeps_runs: false, ..self }
    }

    /// Every event is printed while a run goes on.
    #[must_use]
    pub fn printing_events(self, prints_events: bool) -> Session {
        Session { prints_events, ..self }
    }

    /// Stores a new run and gives its id.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn submit(&self, spec: RunSpec) -> anyhow::Result<RunId> {
        Ok(self.coordinator.submit(spec).await?)
    }

    /// Runs this to its end without showing anything; then nothing of this session is left.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn complete(self, spec: RunSpec) -> anyhow::Result<RunOutcome> {
        let run = self.submit(spec).await?;
        let outcome = self.coordinator.run_to_its_end(run).await;
        self.close().await;
        Ok(outcome)
    }

    /// Runs a stored run to its end and shows it while it runs; then nothing of this session is left.
    ///
    /// # Errors
    /// The run cannot be taken up here, or could not go on.
    pub async fn follow(self, global: &Global, run: &RunId) -> anyhow::Result<Concluded> {
        let door = if self.keeps_runs { self.open_door(run) } else { None };
        let mut progress = Progress::start(global, self.coordinator.watch(run));
        let followed = self.until_end_or_signal(run, &mut progress).await;
        progress.finish().await;
        if let Some(door) = door {
            door.close().await;
        }
        let keeps_run = self.keeps_runs;
        self.close().await;
        match followed? {
            Followed::Outcome(RunOutcome::Ended(view)) => Ok(Concluded::Ended(view)),
            Followed::Outcome(RunOutcome::Interrupted { reason }) => {
                anyhow::bail!(
                    "{run} did not end: {reason}\nnothing is lost; continue it with: {}",
                    resume_command(global, run)
                )
            }
            Followed::Signal(code) => {
                if keeps_run {
                    let command = resume_command(global, run);
                    output::note(&format!("interrupted; nothing is lost. Continue with: {command}"));
                }
                Ok(Concluded::Left(code))
            }
        }
    }

    /// How other terminals reach this run; it goes on without.
    fn open_door(&self, run: &RunId) -> Option<Door> {
        let opened = Door::open(&self.coordinator, run_socket(&self.store_dir, run), false, self.watchers_max);
        opened.inspect_err(|error| tracing::warn!(%error, "other terminals cannot reach this run")).ok()
    }

    /// Executes runs until a signal: those that were interrupted, and those that are submitted through its doors, of
    /// which one may be on TCP.
    ///
    /// # Errors
    /// Another process serves this store, it cannot be read, or the address cannot be listened on.
    pub async fn serve(self, settings: &Settings, listen: Option<SocketAddr>) -> anyhow::Result<Code> {
        // Whatever keeps it from serving, what was started for it ends first.
        let served = self.serve_until_signal(settings, listen).await;
        self.close().await;
        served
    }

    async fn serve_until_signal(&self, settings: &Settings, listen: Option<SocketAddr>) -> anyhow::Result<Code> {
        let mut signals = Signals::new()?;
        // The address first: a socket that nobody closes would stay.
        let tcp_door = listen.map(|address| TcpDoor::open(&self.coordinator, settings, address)).transpose()?;
        let door = Door::open(&self.coordinator, serve_socket(&self.store_dir), true, self.watchers_max)?;
        if let Some(door) = &tcp_door {
            output::note(&door.describe());
        }
        let served = self.take_up_until_signal(&mut signals).await;
        if let Some(door) = tcp_door {
            door.close().await;
        }
        door.close().await;
        served
    }

    async fn take_up_until_signal(&self, signals: &mut Signals) -> anyhow::Result<Code> {
        output::note(&format!("serving the runs of {}; Ctrl-C ends, nothing is lost", self.store_dir.display()));
        loop {
            self.take_up_interrupted().await?;
            tokio::select! {
                code = signals.next() => return Ok(code),
                () = tokio::time::sleep(LOOK_FOR_INTERRUPTED) => {}
            }
        }
    }

    /// Runs that another process left, or that died with it, go on here (R6).
    async fn take_up_interrupted(&self) -> anyhow::Result<()> {
        for run in stored::interrupted(self.coordinator.ports()).await? {
            output::note(&format!("continuing {run}"));
            if let Err(reason) = self.coordinator.begin(run.clone()).await {
                tracing::warn!(run_id = %run, reason, "run not taken up");
            }
        }
        Ok(())
    }

    /// Ends everything of this session; a second signal does not wait for it, the keeper then does the rest.
    async fn close(self) {
        let closing = async {
            self.coordinator.shutdown().await;
            self.worker.stop().await;
            self.sweeps.stop().await;
        };
        let Ok(mut signals) = Signals::new() else { return closing.await };
        tokio::select! {
            () = closing => {}
            code = signals.next() => code.exit_now(),
        }
    }

    async fn until_end_or_signal(&self, run: &RunId, progress: &mut Progress) -> anyhow::Result<Followed> {
        let mut signals = Signals::new()?;
        let mut end = std::pin::pin!(self.coordinator.run_to_its_end(run.clone()));
        let new_lines = || EventLines::new(self.store.ports(), run.clone(), self.store.changes());
        let mut lines = self.prints_events.then(new_lines);
        loop {
            tokio::select! {
                outcome = &mut end => {
                    if let Some(lines) = &mut lines {
                        lines.print_new().await?;
                    }
                    return Ok(Followed::Outcome(outcome));
                }
                printed = print_next(&mut lines) => printed?,
                code = signals.next() => return Ok(Followed::Signal(code)),
                () = progress.show_next() => {}
            }
        }
    }
}

/// Names this process in leases.
fn owner() -> String {
    format!("process {}", std::process::id())
}

/// What removes runs of this store. Worktrees of theirs that were changed are not removed but named to `left`.
#[must_use]
pub fn retention(store: &Store, left: fn(&str)) -> Retention {
    let files = store.clone();
    let remove_files = move |run: &RunId| {
        for note in skein_worker::forget_worktrees(&files.runs_dir(), run) {
            left(&note);
        }
        files.remove_files(run)
    };
    Retention::new(store.ports(), owner(), Box::new(remove_files))
}

/// Prints events as they come; waits for ever when nobody wants them.
async fn print_next(lines: &mut Option<EventLines>) -> anyhow::Result<()> {
    match lines {
        Some(lines) => lines.print_next().await,
        None => std::future::pending().await,
    }
}

/// The command that continues a run, for a person who may have named a store.
#[must_use]
pub fn resume_command(global: &Global, run: &RunId) -> String {
    format!("skein resume {run}{}", place_flag(global))
}

/// How an interrupted run goes on, for the end of a sentence.
#[must_use]
pub fn how_to_go_on(global: &Global, run: &RunId) -> String {
    match global.settings.api_url() {
        Some(url) => format!("a process that serves at {url} takes it up by itself"),
        None => format!("continue it with: {}", resume_command(global, run)),
    }
}

/// The flag that the next command needs, too, to find the same runs.
#[must_use]
pub fn place_flag(global: &Global) -> String {
    // What files or the environment name is named for the next command too.
    if let Some(url) = global.settings.url_of_flag() {
        return format!(" --url {url}");
    }
    match global.settings.store_of_flag() {
        Some(store) => format!(" --store {}", shell_words::quote(&store.to_string_lossy())),
        None => String::new(),
    }
}

/// This program's file, for the child processes it makes of itself. The link of the system is used, so that a
/// replaced or deleted file changes nothing for a process that runs.
///
/// # Errors
/// The system does not say.
pub fn this_program() -> anyhow::Result<PathBuf> {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() { Ok(link) } else { std::env::current_exe().context("cannot find this program's file") }
}

/// The store a person named or the default one, for reading.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn existing_store(global: &Global) -> anyhow::Result<Store> {
    match store_if_any(global)? {
        Some(store) => Ok(store),
        None => Err(no_store(global)?),
    }
}

/// What a person is told who asks for a run where none ever was.
///
/// # Errors
/// No store is named and there is no default place for one.
pub fn no_store(global: &Global) -> anyhow::Result<anyhow::Error> {
    let dir = global.settings.store_dir()?;
    let dir = dir.display();
    Ok(usage(format!("there are no runs in {dir}: start one with `skein run`, or name a store with --store")))
}

/// The same for a reader to whom no store is as good as an empty one.
///
/// # Errors
/// It is there and cannot be read.
pub fn store_if_any(global: &Global) -> anyhow::Result<Option<Store>> {
    match Store::open_existing(&global.settings.store_dir()?) {
        Ok(store) => Ok(Some(store)),
        Err(skein_backend::embedded::OpenError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
