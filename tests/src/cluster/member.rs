//! Member: one coordinator or worker process, which keeps its folder however often it is started.

use super::http::{Answer, call};
use super::site::Site;
use crate::{eventually, processes};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::rc::Rc;

/// A process of a cluster, or the place of one that was killed.
#[derive(Debug)]
pub struct Member {
    site: Rc<Site>,
    name: String,
    args: Vec<String>,
    /// Where its API listens; workers have none.
    port: Option<u16>,
    child: Option<Child>,
    is_stopped: bool,
}

impl Member {
    pub(super) fn coordinator(site: &Rc<Site>, name: String, port: u16) -> Member {
        let args = vec![String::from("coordinator"), String::from("--listen"), format!("127.0.0.1:{port}")];
        Member::start(site, name, args, Some(port))
    }

    pub(super) fn worker(site: &Rc<Site>, name: String, more: &[&str]) -> Member {
        let args = std::iter::once("worker").chain(more.iter().copied()).map(str::to_owned).collect();
        Member::start(site, name, args, None)
    }

    fn start(site: &Rc<Site>, name: String, mut args: Vec<String>, port: Option<u16>) -> Member {
        let mut member = Member { site: site.clone(), name, args: Vec::new(), port, child: None, is_stopped: false };
        args.extend([String::from("--state"), member.state_dir().display().to_string()]);
        member.args = args;
        member.restart();
        member
    }

    /// Starts it in its folder, if it does not run.
    pub fn restart(&mut self) {
        if self.child.is_some() {
            return;
        }
        let log = || -> File {
            OpenOptions::new().create(true).append(true).open(self.log_file()).expect("a file for its log")
        };
        let mut command = self.site.command(&self.args);
        self.child = Some(command.stdout(log()).stderr(log()).spawn().expect("the program starts"));
    }

    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.site.skein.dir().join(&self.name)
    }

    /// The name by which the cluster knows it, however often it is started.
    #[must_use]
    pub fn node(&self) -> String {
        // Its role is its first argument.
        let file = self.state_dir().join(&self.args[0]).join("node-0/id");
        let id = || std::fs::read_to_string(&file).ok().filter(|id| !id.trim().is_empty());
        format!("node-0-{}", eventually("it has an identity", id).trim())
    }

    /// What it said, in all its lives.
    #[must_use]
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        format!("--- {}\n{text}", self.name)
    }

    /// Whether it is there and not stopped.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.child.is_some() && !self.is_stopped
    }

    /// Kills it without a chance to do anything, and waits until it is gone.
    pub fn kill(&mut self) {
        self.is_stopped = false;
        if let Some(mut child) = self.child.take() {
            processes::kill_9(pid_of(&child));
            let _gone = child.wait();
        }
    }

    /// Stops it in the middle of whatever it does.
    pub fn suspend(&mut self) {
        self.signal(Signal::STOP);
        self.is_stopped = true;
    }

    /// Lets it go on.
    pub fn awake(&mut self) {
        self.signal(Signal::CONT);
        self.is_stopped = false;
    }

    pub fn signal(&self, signal: Signal) {
        processes::signal(self.pid(), signal);
    }

    #[must_use]
    pub fn pid(&self) -> i32 {
        pid_of(self.child.as_ref().expect("it runs"))
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        eventually("the process ends", || child.try_wait().expect("a child"))
    }

    /// A call to its API, below `/api/v1`; `None` when it does not answer.
    #[must_use]
    pub fn call(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let port = self.port.filter(|_| self.runs())?;
        call(port, &self.token()?, method, &format!("/api/v1{path}"), body)
    }

    /// What it says of this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Value> {
        self.call("GET", path, "").filter(|answer| answer.status == 200).map(|answer| answer.json())
    }

    /// What it says of this path beside the API. Of a worker: where `--metrics 127.0.0.1:0` made it listen.
    #[must_use]
    pub fn watched(&self, path: &str) -> Option<Answer> {
        let of_worker = || {
            let log = self.log();
            let rest = log.rsplit("metrics on http://127.0.0.1:").next()?;
            rest.split('/').next()?.parse().ok()
        };
        let port = self.port.or_else(of_worker).filter(|_| self.runs())?;
        call(port, &self.token()?, "GET", path, "")
    }

    /// The address and the token of its API, for a client.
    #[must_use]
    pub fn door(&self) -> (String, String) {
        let port = self.port.expect("a coordinator");
        (format!("http://127.0.0.1:{port}"), eventually("it has a token", || self.token()))
    }

    pub(super) fn is_healthy(&self) -> bool {
        let healthy = |port| call(port, "", "GET", "/healthz", "").is_some_and(|answer| answer.status == 200);
        self.runs() && self.port.is_none_or(healthy)
    }

    /// Fails the test when it ended although nobody told it to.
    pub(super) fn must_live(&mut self) {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
        assert!(ended.is_none(), "{} ended ({ended:?})", self.name);
    }

    fn token(&self) -> Option<String> {
        let file = if self.port.is_some() { "api.token" } else { "metrics.token" };
        let text = std::fs::read_to_string(self.state_dir().join(file)).ok()?;
        text.split_whitespace().next().map(str::to_owned)
    }

    fn log_file(&self) -> PathBuf {
        self.site.skein.dir().join(format!("{}.log", self.name))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid")
}
