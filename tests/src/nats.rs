//! NATS servers as `deploy/` starts them: with its files, on free ports of loopback.

use crate::{eventually, processes, project_dir};
use serde_json::Value;
use skein_backend::nats::server::{Version, program};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A file of `deploy/nats`.
#[must_use]
pub fn configuration(name: &str) -> PathBuf {
    project_dir().join("deploy/nats").join(name)
}

/// The server's program with one of these files.
#[must_use]
pub fn command(name: &str) -> Command {
    let mut command = Command::new(program(Version::New).expect("a NATS server"));
    command.arg("-c").arg(configuration(name)).stdin(Stdio::null());
    command
}

/// Whether the server takes the file, and what it says.
#[must_use]
pub fn check(name: &str, variables: &[(&str, &str)]) -> Output {
    command(name).arg("-t").envs(variables.iter().copied()).output().expect("the server runs")
}

/// A running server; it is killed when this is dropped.
#[derive(Debug)]
pub struct NatsServer {
    process: Child,
    log: PathBuf,
    port: u16,
    monitor: u16,
}

impl NatsServer {
    /// `deploy/nats/single.conf` on a free port, with everything of its in this folder.
    #[must_use]
    pub fn single(dir: &Path) -> NatsServer {
        let port = free_port();
        let mut command = command("single.conf");
        command.arg("-p").arg(port.to_string());
        NatsServer::start(command, dir, port)
    }

    /// What it wrote so far.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts it and waits until it can be asked.
    #[must_use]
    pub fn start(mut command: Command, dir: &Path, port: u16) -> NatsServer {
        std::fs::create_dir_all(dir).expect("a folder");
        let (log, monitor) = (dir.join("nats.log"), free_port());
        let file = std::fs::File::create(&log).expect("a file");
        command.args(["-m", &monitor.to_string()]).current_dir(dir).stdout(Stdio::null()).stderr(file);
        let process = command.spawn().expect("the server starts");
        let server = NatsServer { process, log, port, monitor };
        eventually("the NATS server answers", || {
            server.assert_alive();
            server.ask("/healthz?js-server-only=true").filter(|answer| answer["status"] == "ok")
        });
        server
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What its monitoring says at this path; `None` while it does not answer.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    fn assert_alive(&self) {
        let is_alive = i32::try_from(self.process.id()).is_ok_and(processes::is_alive);
        assert!(is_alive, "{}", self.said());
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// A port that nobody listened on a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
