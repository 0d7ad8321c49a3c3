//! Real NATS servers for tests, on free ports of this machine.

mod cluster;

pub use cluster::TestCluster;

use skein_common::ports::BoxError;
use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader as AsyncBufReader};
use tokio::net::TcpStream;

/// A server that does not start in this time does not start.
const START_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(2);
/// The shell lives as long as its input is open, which ends with the test's process however that ends. Then the server
/// dies, and its folder goes, unless a line said that it is needed.
const GUARD: &str = r#""$0" -c "$1" >>"$2" 2>&1 & echo $!
read -r line || remove="$3"
kill -9 $!; wait $! 2>/dev/null; [ -z "$remove" ] || rm -rf "$remove""#;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 2.12 or newer: the variable `SKEIN_NATS_SERVER`, else what `tests/run` installed.
    New,
    /// 2.9: the variable `SKEIN_NATS_SERVER_OLD`, else the one of the distribution.
    Old,
}

/// A server with a store of its own. It is killed when this is dropped, and when the test's process dies.
#[derive(Debug)]
pub struct TestServer {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    guard: Child,
    input: Option<ChildStdin>,
    pid: u32,
}

impl TestServer {
    /// Starts a new server with nothing in its store.
    ///
    /// # Errors
    /// When there is no such program, or it does not start.
    pub async fn start() -> Result<TestServer, BoxError> {
        TestServer::start_with(Version::New, "").await
    }

    /// Starts a server of this version with lines of configuration beside port and store; `{dir}` in them is a folder
    /// of the test's own, see [`TestServer::dir`].
    ///
    /// # Errors
    /// When there is no such program, or it does not start.
    pub async fn start_with(version: Version, lines: &str) -> Result<TestServer, BoxError> {
        let dir = TempDir::with_prefix("skein-nats-")?;
        TestServer::start_in(version, dir, lines).await
    }

    /// The same in a folder that was made before, for lines that name files in it.
    ///
    /// # Errors
    /// When there is no such program, or it does not start.
    pub async fn start_in(version: Version, dir: TempDir, lines: &str) -> Result<TestServer, BoxError> {
        let mut server = TestServer { program: program(version)?, dir, port: 0, running: None };
        server.configure(lines)?;
        server.restart().await?;
        Ok(server)
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its folder, with the configuration and the store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// Kills it with SIGKILL, and waits until it is dead.
    pub fn kill(&mut self) {
        if let Some(input) = self.running.as_mut().and_then(|running| running.input.as_mut()) {
            let _ = input.write_all(b"the folder is needed\n");
        }
        self.running = None;
    }

    /// Starts it on the same port and store, if it does not run, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<(), BoxError> {
        if self.running.is_some() {
            return Ok(());
        }
        let running = self.spawn()?;
        let give_up = Instant::now() + START_WITHIN;
        while !self.answers(running.pid).await {
            if Instant::now() > give_up {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                return Err(format!("{} does not start: {log}", self.program.display()).into());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        self.running = Some(running);
        Ok(())
    }

    fn spawn(&self) -> Result<Running, BoxError> {
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .arg(&self.program)
            .arg(self.config())
            .arg(self.log())
            .arg(self.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = guard.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let input = guard.stdin.take();
        Ok(Running { guard, input, pid: line.trim().parse()? })
    }

    /// Whether the server greets; the first time it tells its port in a file.
    async fn answers(&mut self, pid: u32) -> bool {
        if self.port == 0 {
            let told = fs::read_to_string(self.dir().join(format!("nats-server_{pid}.ports"))).unwrap_or_default();
            let Some(port) = port_in(&told) else { return false };
            self.port = port;
            if self.fix_port().is_err() {
                return false;
            }
        }
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)).await else { return false };
        let mut greeting = String::new();
        let read = AsyncBufReader::new(stream).read_line(&mut greeting).await;
        read.is_ok() && greeting.starts_with("INFO ")
    }

    fn configure(&self, lines: &str) -> Result<(), BoxError> {
        let dir = self.dir().to_str().ok_or("the temporary folder has a strange name")?;
        let lines = lines.replace("{dir}", dir);
        let store = if lines.contains("jetstream") {
            String::new()
        } else {
            format!("jetstream {{ store_dir: \"{dir}/store\" }}\n")
        };
        let text = format!("listen: \"127.0.0.1:-1\"\nports_file_dir: \"{dir}\"\n{store}{lines}\n");
        fs::write(self.config(), text)?;
        Ok(())
    }

    /// From now on the server starts on the port that it has.
    fn fix_port(&self) -> Result<(), BoxError> {
        let text = fs::read_to_string(self.config())?;
        fs::write(self.config(), text.replace("127.0.0.1:-1", &format!("127.0.0.1:{}", self.port)))?;
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.dir().join("server.conf")
    }

    fn log(&self) -> PathBuf {
        self.dir().join("server.log")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.guard.wait();
    }
}

/// The first port in `{"nats":["nats://127.0.0.1:4222"],…}`.
fn port_in(ports_file: &str) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(ports_file).ok()?;
    ports.get("nats")?.get(0)?.as_str()?.rsplit(':').next()?.parse().ok()
}

/// The program of this version.
///
/// # Errors
/// When there is none.
pub fn program(version: Version) -> Result<PathBuf, BoxError> {
    let (variable, fallback) = match version {
        Version::New => ("SKEIN_NATS_SERVER", installed()),
        Version::Old => ("SKEIN_NATS_SERVER_OLD", Some(PathBuf::from("/usr/sbin/nats-server"))),
    };
    let program = env::var_os(variable).map(PathBuf::from).or(fallback).filter(|path| path.exists());
    program.ok_or_else(|| format!("no NATS server: tests/run installs one, or set {variable}").into())
}

/// What `tests/run` put beside the build: a test's program is at `<target>/debug/deps/<name>`.
fn installed() -> Option<PathBuf> {
    let this = env::current_exe().ok()?;
    this.ancestors().map(|dir| dir.join("nats-server/bin/nats-server")).find(|path| path.exists())
}
