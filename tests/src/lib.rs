//! The harness of the whole-system tests: the real program in a store and a home of its own, watched from outside.
#![expect(clippy::expect_used, clippy::panic, reason = "a harness that cannot do its work fails the test")]

pub mod bench;
pub mod browser;
pub mod cluster;
pub mod fleet;
pub mod hostile;
pub mod nats;
pub mod processes;
pub mod prometheus;
pub mod recorded;
pub mod redis;
pub mod served;
pub mod sim;
pub mod system;
pub mod watching;

use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a condition may take to come true; only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The program under test: `SKEIN_BIN`, or the workspace's own build, brought up to date once per test process.
#[must_use]
pub fn skein_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("SKEIN_BIN") {
            return PathBuf::from(path);
        }
        let test = std::env::current_exe().expect("a test has a file");
        // Tests are built into `deps` below the programs, the benchmark beside them.
        let deps_dir = test.ancestors().find(|dir| dir.ends_with("deps")).unwrap_or(&test);
        let profile_dir = deps_dir.parent().expect("a folder").to_path_buf();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "-p", "skein"]).current_dir(project_dir());
        if profile_dir.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the program does not build");
        profile_dir.join("skein")
    })
}

/// The root of the project.
#[must_use]
pub fn project_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in the project")
}

/// A store, a home and a project folder of one test.
#[derive(Debug)]
pub struct Skein {
    dir: TempDir,
}

impl Default for Skein {
    fn default() -> Skein {
        Skein::new()
    }
}

impl Skein {
    #[must_use]
    pub fn new() -> Skein {
        let dir = tempfile::Builder::new().prefix("skein-test-").tempdir().expect("a temporary folder");
        for sub in ["home", "project"] {
            std::fs::create_dir(dir.path().join(sub)).expect("a folder");
        }
        Skein { dir }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Writes a file of the project and gives its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.project().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect("writes");
        path
    }

    /// A workflow whose meta is filled in.
    pub fn workflow(&self, name: &str, body: &str) -> PathBuf {
        self.write(name, &format!("export const meta = {{ name: 'test', description: 'a test' }}\n{body}"))
    }

    /// A definition of a `command` agent that runs this shell text; the prompt is `$1`.
    pub fn shell_agent(&self, name: &str, front_matter: &str, shell: &str) {
        let line = serde_json::to_string(&["sh", "-c", shell, "sh", "{prompt}"]).expect("encodes");
        let text = format!("---\nname: {name}\nrunner: command\ncommand: {line}\n{front_matter}---\n");
        self.write(&format!("agents/{name}.md"), &text);
    }

    /// The program with these arguments, in an environment of its own, deadlines at 2 s.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(skein_binary());
        command.args(args).current_dir(self.project()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path().join("home")).env("SKEIN_STORE", self.store());
        command.env("SKEIN_SYSTEM_CONFIG", self.dir.path().join("no-system-file.toml"));
        for deadline in ["SKEIN_ATTEMPT_DEADLINE", "SKEIN_SCRIPT_TURN", "SKEIN_KILL_GRACE"] {
            command.env(deadline, "2s");
        }
        command.env("SKEIN_HEARTBEAT", "500ms");
        command
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        Ended::from(self.command(args).output().expect("the program starts"))
    }

    /// `skein run FILE --yes --json …` to its end.
    pub fn run_json(&self, script: &Path, more: &[&str]) -> Ended {
        let mut args: Vec<&OsStr> = vec!["run".as_ref(), script.as_os_str(), "--yes".as_ref(), "--json".as_ref()];
        args.extend(more.iter().map(AsRef::<OsStr>::as_ref));
        self.run(args)
    }

    /// The program in the background; its output goes to files of the test's folder.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Child {
        let file = |name: &str| std::fs::File::create(self.dir.path().join(name)).expect("a file");
        self.command(args).stdout(file("stdout")).stderr(file("stderr")).spawn().expect("the program starts")
    }

    /// What a program in the background wrote to standard error so far.
    #[must_use]
    pub fn background_stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// All runs as `skein runs --json` lists them.
    #[must_use]
    pub fn runs(&self) -> Vec<Value> {
        match self.run(["runs", "--json"]).json() {
            Value::Array(runs) => runs,
            other => panic!("not a list: {other}"),
        }
    }

    /// The positions of all events in the journal of a run, read past every process.
    #[must_use]
    pub fn positions(&self, run: &str) -> Vec<String> {
        let store = skein_backend::embedded::Store::open_existing(&self.store()).expect("the store");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let run = run.parse().expect("a run's id");
        let records = runtime.block_on(store.ports().journal.read(&run, 0)).expect("the journal");
        let decode = |bytes: &bytes::Bytes| skein_engine::decode_record(bytes).expect("a record");
        positions(&records.iter().map(decode).collect::<Vec<_>>())
    }

    /// The id of the only run there is.
    #[must_use]
    pub fn only_run(&self) -> String {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "one run: {runs:?}");
        runs[0]["run"].as_str().expect("an id").to_owned()
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// Standard output as one JSON value.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{}\n{}", self.stdout, self.stderr))
    }

    /// What a command printed that did what it was asked.
    pub fn answered(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.json()
    }

    /// The final object of a run that completed.
    pub fn completed(&self) -> Value {
        let view = self.json();
        assert_eq!(view["status"], "completed", "{view:#}\n{}", self.stderr);
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        view
    }

    /// The final object of a run that failed, and its error.
    pub fn failed(&self) -> (Value, Value) {
        let view = self.json();
        assert_eq!(view["status"], "failed", "{view:#}\n{}", self.stderr);
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        let error = view["error"].clone();
        (view, error)
    }
}

/// The positions of the events of a journal.
#[must_use]
pub fn positions(records: &[skein_engine::Record]) -> Vec<String> {
    let of_record = |(number, record): (usize, &skein_engine::Record)| {
        (0..record.events.len()).map(move |index| format!("{number}.{index}")).collect::<Vec<_>>()
    };
    records.iter().enumerate().flat_map(of_record).collect()
}

/// Waits until something is there; a test that waits in vain fails with `what`.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}
