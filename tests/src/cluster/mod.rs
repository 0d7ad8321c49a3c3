//! A cluster of real processes: a NATS server, coordinators and workers, each of which can be killed and started again.

pub(crate) mod http;
mod member;
mod nats;
mod probe;
mod site;

pub use http::Answer;
pub use member::Member;
pub use nats::Nats;
pub use probe::Probe;

use crate::{Ended, Skein, eventually, processes, system};
use serde_json::{Value, json};
use site::Site;
use skein_common::agent::RunnerKind;
use skein_common::ports::Ports;
use skein_common::run::RunSpec;
use skein_engine::Record;
use std::ffi::OsStr;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a run may take; only a test that fails waits so long.
const RUN_PATIENCE: Duration = Duration::from_secs(600);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// Ports for APIs: below those that the system gives to whoever connects, so that a restarted process gets its own back.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A cluster, and clients of it.
#[derive(Debug)]
pub struct Cluster {
    pub coordinators: Vec<Member>,
    pub workers: Vec<Member>,
    site: Rc<Site>,
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster::new()
    }
}

impl Cluster {
    /// A server of its own and no process yet.
    #[must_use]
    pub fn new() -> Cluster {
        Cluster::on(Rc::new(Nats::start()), "test")
    }

    /// No process yet, on a server that others may use, too.
    #[must_use]
    pub fn on(nats: Rc<Nats>, prefix: &str) -> Cluster {
        Cluster { coordinators: Vec::new(), workers: Vec::new(), site: Rc::new(Site::new(nats, prefix)) }
    }

    /// So many of each, ready to work.
    #[must_use]
    pub fn of(coordinators: usize, workers: usize) -> Cluster {
        let mut cluster = Cluster::new();
        cluster.add(coordinators, workers);
        cluster
    }

    /// So many more of each, ready to work.
    pub fn add(&mut self, coordinators: usize, workers: usize) {
        (0..coordinators).for_each(|_| self.add_coordinator());
        (0..workers).for_each(|_| self.add_worker(&[]));
        self.ready();
    }

    /// A setting of all processes that are started from now on.
    pub fn set(&self, variable: &str, value: &str) {
        self.site.set(variable, value);
    }

    pub fn add_coordinator(&mut self) {
        let name = format!("coordinator-{}", self.coordinators.len());
        self.coordinators.push(Member::coordinator(&self.site, name, free_port()));
    }

    /// `skein worker` with these arguments.
    pub fn add_worker(&mut self, args: &[&str]) {
        let name = format!("worker-{}", self.workers.len());
        self.workers.push(Member::worker(&self.site, name, args));
    }

    #[must_use]
    pub fn nats(&self) -> Rc<Nats> {
        self.site.nats.clone()
    }

    /// Home, project and folder of the test.
    #[must_use]
    pub fn skein(&self) -> &Skein {
        &self.site.skein
    }

    /// Waits until every process that runs answers or is known to the others.
    pub fn ready(&mut self) {
        self.until("the cluster is ready", |cluster| {
            let members = cluster.coordinators.iter().chain(&cluster.workers);
            (members.filter(|member| member.runs()).all(Member::is_healthy) && cluster.knows_its_workers())
                .then_some(())
        });
    }

    fn knows_its_workers(&self) -> bool {
        let Some(Value::Array(known)) = self.get("/workers") else { return self.workers.is_empty() };
        let mut running = self.workers.iter().filter(|worker| worker.runs());
        running.all(|worker| known.iter().any(|info| info["node"] == worker.node()))
    }

    /// Waits until something is there; a test that waits in vain fails.
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Cluster) -> Option<T>) -> T {
        let deadline = Instant::now() + RUN_PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            self.coordinators.iter_mut().chain(&mut self.workers).for_each(Member::must_live);
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    /// What any coordinator that runs says of this path, below `/api/v1`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Value> {
        self.coordinators.iter().find_map(|coordinator| coordinator.get(path))
    }

    /// A run of this script body whose agents are this command; `{prompt}` in it is filled in.
    #[must_use]
    pub fn spec(&self, body: &str, command: &[&str]) -> RunSpec {
        RunSpec {
            runner: Some(RunnerKind::Command),
            command: Some(command.iter().map(|&word| word.to_owned()).collect()),
            project_dir: self.site.skein.project().display().to_string(),
            ..system::spec(body)
        }
    }

    /// Submits to this coordinator; gives the run's id.
    pub fn submit(&mut self, coordinator: usize, spec: &RunSpec) -> String {
        let body = json!({ "spec": spec }).to_string();
        let answer = self.coordinators[coordinator].call("POST", "/runs", &body);
        let answer = answer.unwrap_or_else(|| panic!("nobody takes the run"));
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["run"].as_str().expect("an id").to_owned()
    }

    /// Waits until the run has ended, and gives what is known of it, with its result.
    pub fn ended(&mut self, run: &str) -> Value {
        let mut view = self.until("the run ends", |cluster| {
            let view = cluster.get(&format!("/runs/{run}"))?;
            matches!(view["status"].as_str(), Some("completed" | "failed" | "stopped")).then_some(view)
        });
        if view["result"].is_null() && view["status"] == "completed" {
            view["result"] = self.until("its result is read", |cluster| cluster.get(&format!("/runs/{run}/result")));
        }
        view
    }

    /// The run, which has to complete.
    pub fn completed(&mut self, run: &str) -> Value {
        let view = self.ended(run);
        assert_eq!(view["status"], "completed", "{view:#}");
        view
    }

    /// The program as a client of this coordinator.
    pub fn client<S: AsRef<OsStr>>(&self, coordinator: usize, args: impl IntoIterator<Item = S>) -> Command {
        let (url, token) = self.coordinators[coordinator].door();
        let mut command = self.site.skein.command(args);
        command.env("SKEIN_URL", url).env("SKEIN_TOKEN", token);
        command
    }

    /// The same, run to its end.
    pub fn cli<S: AsRef<OsStr>>(&self, coordinator: usize, args: impl IntoIterator<Item = S>) -> Ended {
        Ended::from(self.client(coordinator, args).output().expect("the program starts"))
    }

    /// A run's journal, read past all coordinators.
    #[must_use]
    pub fn journal(&self, run: &str) -> Vec<Record> {
        self.site.nats.journal(&self.site.prefix, run)
    }

    /// Works on what is stored, past all coordinators; also before there is any.
    pub fn past_all<T>(&self, work: impl AsyncFnOnce(Ports) -> T) -> T {
        self.site.nats.past_all(&self.site.prefix, true, work)
    }

    /// What this coordinator says of itself.
    pub fn standing(&mut self, coordinator: usize) -> Value {
        self.until("a coordinator says how it stands", |cluster| cluster.coordinators[coordinator].get("/coordinator"))
    }

    /// What all processes said; a test that fails prints it.
    #[must_use]
    pub fn logs(&self) -> String {
        self.coordinators.iter().chain(&self.workers).map(Member::log).collect()
    }

    /// A folder of the test that agents write to.
    #[must_use]
    pub fn probe(&self, name: &str, program: &Path) -> Probe {
        Probe::new(&self.site.skein.dir().join(name), program)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _said = std::io::stderr().write_all(self.logs().as_bytes());
        }
        self.coordinators.iter_mut().chain(&mut self.workers).for_each(Member::kill);
        // Agents of a worker that was killed at the end of the test, and what keeps them.
        let dir = self.site.skein.dir();
        eventually("nothing is left", || {
            let left = processes::working_below(dir);
            left.iter().for_each(|pid| processes::kill_9(*pid));
            left.is_empty().then_some(())
        });
    }
}

/// A port of this machine on which nobody listens.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or_default();
    let port = || FIRST_PORT + (begin + NEXT.fetch_add(1, Ordering::Relaxed) * 7) % PORTS;
    eventually("a port is free", || {
        let port = port();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}
