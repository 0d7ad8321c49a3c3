//! Redis servers from the generator in `fixtures/fleet`, on loopback ports that are free now, ended with the test.
#![expect(clippy::expect_used, reason = "servers that cannot be made fail the test")]

use crate::{eventually, processes, project_dir};
use rustix::process::Signal;
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// The generator makes six servers on ports in a row; a cluster has a second port for each.
const SERVERS: u16 = 6;
const BUS_OFFSET: u16 = 10_000;
/// Below what the system gives to clients, with the second ports.
const PORTS_FROM: u16 = 12_000;
const PORTS_TO: u16 = 20_000;
/// Longer than any test; what keeps the traffic from going on when a test dies without a word.
const TRAFFIC_SECONDS: &str = "240";

/// Six servers with a planted big key, and the traffic that reads it.
#[derive(Debug)]
pub struct Redis {
    dir: TempDir,
    pub first_port: u16,
    pub answers: Value,
    traffic: Option<Child>,
}

impl Redis {
    /// Starts the servers; `mode` is `standalone` or `cluster`.
    #[must_use]
    pub fn start(seed: u32, mode: &str) -> Redis {
        // Tests of one process choose their ports one after the other.
        static PORTS: Mutex<Option<u16>> = Mutex::new(None);
        let mut next = PORTS.lock().expect("ports");
        let first_port = free_ports(next.unwrap_or_else(first_of_process));
        *next = Some(first_port + SERVERS);
        drop(next);
        let dir = tempfile::Builder::new().prefix("skein-redis-").tempdir().expect("a folder");
        let mut redis = Redis { dir, first_port, answers: Value::Null, traffic: None };
        let answers = redis.dir.path().join("answers.json");
        let (seed, port) = (seed.to_string(), first_port.to_string());
        let mut start = redis.generator("start");
        start.arg("--answers").arg(&answers).args(["--seed", &seed, "--mode", mode, "--port", &port]);
        let mut starting = start.spawn().expect("python3 runs");
        let status = ended(&mut starting, "the servers are filled");
        assert!(status, "the servers were not made");
        let text = std::fs::read_to_string(answers).expect("answers");
        redis.answers = serde_json::from_str(&text).expect("answers are JSON");
        redis
    }

    /// Lets clients read the planted key, and others do what is harmless, until the test ends.
    pub fn let_clients_read(&mut self) {
        let traffic = self.generator("load").args(["--seconds", TRAFFIC_SECONDS]).spawn().expect("python3 runs");
        self.traffic = Some(traffic);
        let port = self.answers["port"].to_string();
        let command = self.answers["command"].as_str().expect("a command").to_owned();
        eventually("the slow log has enough of the planted reads", || {
            let output = Command::new("redis-cli").args(["-p", &port, "SLOWLOG", "GET", "200"]).output();
            let text = String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).into_owned();
            (text.lines().filter(|line| *line == command).count() >= 4).then_some(())
        });
    }

    /// All nodes as the example takes them.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        (self.first_port..self.first_port + SERVERS).map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// One answer of a server.
    pub fn ask(&self, port: u16, words: &[&str]) {
        let output = Command::new("redis-cli").args(["-p", &port.to_string()]).args(words).output();
        assert!(output.expect("redis-cli runs").status.success(), "{words:?}");
    }

    /// Ends the server on this port.
    pub fn end(&self, port: u16) {
        let name = format!(":{port}");
        for pid in self.servers() {
            if processes::command_line(pid).contains(&name) {
                processes::kill_9(pid);
                eventually("the server is gone", || (!processes::is_alive(pid)).then_some(()));
            }
        }
    }

    fn generator(&self, operation: &str) -> Command {
        let mut command = Command::new("python3");
        command.arg(project_dir().join("tests/fixtures/fleet/redisgen.py")).arg(operation);
        command.arg("--base").arg(self.base()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn base(&self) -> PathBuf {
        self.dir.path().join("servers")
    }

    /// Servers work in folders of their own below ours; nothing else on the machine does.
    fn servers(&self) -> Vec<i32> {
        processes::working_below(&canonical(self.dir.path()))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut traffic) = self.traffic.take() {
            let _gone_already = traffic.kill();
            let _ended = traffic.wait();
        }
        for pid in self.servers() {
            processes::signal(pid, Signal::KILL);
        }
    }
}

fn canonical(dir: &Path) -> PathBuf {
    dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf())
}

/// Two test processes at the same time begin elsewhere.
fn first_of_process() -> u16 {
    PORTS_FROM + u16::try_from(std::process::id() % 1000).unwrap_or(0) * SERVERS
}

/// The first of six ports in a row on which, and on whose cluster ports, nobody listens.
fn free_ports(from: u16) -> u16 {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let all_free = |first: &u16| (*first..first + SERVERS).all(|port| is_free(port) && is_free(port + BUS_OFFSET));
    (from..PORTS_TO).step_by(usize::from(SERVERS)).find(all_free).expect("free ports")
}

/// Waits for a process; one that hangs is killed, and the test fails.
fn ended(child: &mut Child, what: &str) -> bool {
    let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(what, || child.try_wait().expect("waits").map(|status| status.success()))
    }));
    waited.unwrap_or_else(|_| {
        let _gone_already = child.kill();
        false
    })
}
