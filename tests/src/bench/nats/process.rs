//! Process: a coordinator or a worker, which keeps its folder however often it is started.

use crate::cluster::free_port;
use crate::cluster::http::{Answer, call};
use crate::{processes, skein_binary};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A process of a cluster, or the place of one that was killed.
pub struct Process {
    args: Vec<String>,
    dir: PathBuf,
    name: String,
    url: String,
    /// Where its API listens; workers have none.
    port: Option<u16>,
    child: Option<Child>,
}

impl Process {
    pub fn coordinator(dir: &Path, name: &str, url: &str) -> anyhow::Result<Process> {
        let port = free_port();
        Process::start(dir, name, url, Some(port), &["coordinator", "--listen", &format!("127.0.0.1:{port}")])
    }

    pub fn worker(dir: &Path, name: &str, url: &str, args: &[&str]) -> anyhow::Result<Process> {
        Process::start(dir, name, url, None, &[&["worker"], args].concat())
    }

    fn start(dir: &Path, name: &str, url: &str, port: Option<u16>, args: &[&str]) -> anyhow::Result<Process> {
        let state = dir.join(name).display().to_string();
        let args = args.iter().map(|&arg| arg.to_owned()).chain([String::from("--state"), state]).collect();
        let (dir, name, url) = (dir.to_owned(), name.to_owned(), url.to_owned());
        let mut process = Process { args, dir, name, url, port, child: None };
        process.restart()?;
        Ok(process)
    }

    /// Starts it in its folder, if it does not run.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join(format!("{}.log", self.name)))?;
        let mut command = Command::new(skein_binary());
        command.args(&self.args).current_dir(&self.dir).env_clear().env("HOME", self.dir.join("home"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("SKEIN_SYSTEM_CONFIG", self.dir.join("no-system-file.toml"));
        command.env("SKEIN_NATS_URL", &self.url).env("SKEIN_NATS_PREFIX", super::site::PREFIX);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Kills it without a chance to do anything, and waits until it is gone.
    pub fn kill(&mut self) {
        let pid = self.pid();
        if let (Some(mut child), Some(pid)) = (self.child.take(), pid) {
            processes::kill_9(pid);
            let _gone = child.wait();
        }
    }

    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok())
    }

    /// A call to its API, below `/api/v1`; `None` when it does not answer.
    pub async fn call(&self, method: &'static str, path: &str, body: String) -> Option<Answer> {
        let (port, token) = (self.port?, self.token()?);
        let path = format!("/api/v1{path}");
        tokio::task::spawn_blocking(move || call(port, &token, method, &path, &body)).await.ok()?
    }

    /// What it says of this path.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.call("GET", path, String::new()).await?;
        if answer.status == 200 { serde_json::from_str(&answer.body).ok() } else { None }
    }

    fn token(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join(&self.name).join("api.token")).ok()?;
        text.split_whitespace().next().map(str::to_owned)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
