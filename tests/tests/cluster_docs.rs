//! The steps of `docs/cluster.md` on one machine: NATS server, on loopback and as on a network, coordinator, worker, a
//! run, drain and end.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use rustix::process::Signal;
use serde_json::Value;
use skein_tests::nats::{self, NatsServer, free_port};
use skein_tests::{Ended, Skein, eventually, processes, project_dir};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The addresses of the document and what stands for them here.
struct Place {
    skein: Skein,
    nats: NatsServer,
    api_port: u16,
}

/// A process that outlives no test.
struct Background {
    child: Child,
    stderr: PathBuf,
}

/// What step 1 does in `/etc/skein`.
const CERTIFICATES: [&str; 5] = [
    "openssl req -x509 -newkey rsa:3072 -nodes -days 3650 -subj /CN=skein-ca -keyout ca.key -out ca.pem",
    "openssl req -newkey rsa:3072 -nodes -subj /CN=hub -keyout hub.key -out hub.csr",
    "echo 'subjectAltName=IP:10.0.0.10,DNS:hub' > hub.names",
    "openssl x509 -req -in hub.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile hub.names -out hub.pem",
    "(umask 077; openssl rand -hex 32 > coordinator.password; openssl rand -hex 32 > worker.password)",
];
const SERVER: [&str; 5] = [
    r"NATS_LISTEN=10.0.0.10:4222 NATS_STORE=/var/lib/nats \",
    r"NATS_TLS_CERT=/etc/skein/hub.pem NATS_TLS_KEY=/etc/skein/hub.key \",
    r"NATS_COORDINATOR_PASSWORD=$(cat /etc/skein/coordinator.password) \",
    r"NATS_WORKER_PASSWORD=$(cat /etc/skein/worker.password) \",
    "nats-server -c deploy/nats/network.conf",
];
const COORDINATOR: [&str; 3] = [
    r"SKEIN_NATS_URL=tls://10.0.0.10:4222 SKEIN_NATS_TLS_CA=/etc/skein/ca.pem \",
    r"SKEIN_NATS_USER=coordinator SKEIN_NATS_PASSWORD_FILE=/etc/skein/coordinator.password \",
    "skein coordinator",
];
const WORKER: [&str; 3] = [
    r"SKEIN_NATS_URL=tls://10.0.0.10:4222 SKEIN_NATS_TLS_CA=/etc/skein/ca.pem \",
    r"SKEIN_NATS_USER=worker SKEIN_NATS_PASSWORD_FILE=/etc/skein/worker.password \",
    "skein worker --pool default --host node-1 --slots 8",
];

fn document() -> String {
    std::fs::read_to_string(project_dir().join("docs/cluster.md")).expect("the document")
}

/// The lines as they stand in the document, one below the other.
fn documented(lines: &[&str]) -> String {
    let shown: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    assert!(document().contains(&format!("\n{shown}")), "the document lacks\n{shown}");
    lines.join("\n")
}

/// `deploy/nats/network.conf` as step 1 starts it, with everything of its in this folder.
fn network_server(dir: &Path) -> NatsServer {
    let etc = dir.join("etc");
    std::fs::create_dir_all(&etc).expect("a folder");
    let port = free_port();
    let program = nats::command("network.conf").get_program().to_string_lossy().into_owned();
    let here = |lines: &[&str]| {
        documented(lines)
            .replace("10.0.0.10:4222", &format!("127.0.0.1:{port}"))
            .replace("IP:10.0.0.10", "IP:127.0.0.1")
            .replace("/etc/skein", &etc.to_string_lossy())
            .replace("/var/lib/nats", &dir.join("store").to_string_lossy())
            .replace("nats-server -c deploy", &format!("{program} -c {}/deploy", project_dir().display()))
    };
    let made = Command::new("sh").arg("-ec").arg(here(&CERTIFICATES)).current_dir(&etc).output().expect("a shell");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec env {} \"$@\"", here(&SERVER))).arg("sh").stdin(Stdio::null());
    NatsServer::start(command, dir, port)
}

impl Place {
    fn new(start: fn(&Path) -> NatsServer) -> Place {
        let skein = Skein::new();
        let nats = start(&skein.dir().join("nats"));
        Place { skein, nats, api_port: free_port() }
    }

    /// A command of the document, with the addresses and folders of this machine in it.
    fn command(&self, lines: &[&str], words: &[(&str, &str)]) -> Command {
        let here = documented(lines)
            .replace("10.0.0.10:4222", self.nats.url().trim_start_matches("nats://"))
            .replace("/etc/skein", &self.skein.dir().join("nats/etc").to_string_lossy())
            .replace("127.0.0.1:7717", &format!("127.0.0.1:{}", self.api_port));
        let here = words.iter().fold(here, |text, (word, meant)| text.replace(word, meant));
        // A shell reads it, as it would in front of a person.
        let ours = self.skein.command([""; 0]);
        let folder = Path::new(ours.get_program()).parent().expect("a folder").to_path_buf();
        let path = std::env::var("PATH").expect("programs");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec env {here}"));
        command.env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", format!("{}:{path}", folder.display()));
        command.stdin(Stdio::null()).current_dir(project_dir()).env_remove("SKEIN_STORE");
        // Where the document says nothing it is the server on loopback, and the API at its own port.
        command.env("SKEIN_NATS_URL", self.nats.url()).env("SKEIN_NATS_LEASE", "2s");
        command.env("SKEIN_LISTEN", format!("127.0.0.1:{}", self.api_port));
        command
    }

    fn run(&self, documented: &str) -> Ended {
        self.run_with(documented, &[])
    }

    /// The same with words of the document that stand for others.
    fn run_with(&self, documented: &str, words: &[(&str, &str)]) -> Ended {
        Ended::from(self.command(&[documented], words).output().expect("the program starts"))
    }

    fn start(&self, name: &str, mut command: Command) -> Background {
        let stderr = self.skein.dir().join(format!("{name}.stderr"));
        command.stderr(std::fs::File::create(&stderr).expect("a file"));
        Background { child: command.spawn().expect("the program starts"), stderr }
    }
}

impl Background {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits until it said this, and gives the line.
    fn says(&mut self, part: &str) -> String {
        eventually(part, || {
            let ended = self.child.try_wait().expect("can be asked");
            let said = self.said();
            assert!(ended.is_none() || said.contains(part), "{ended:?} without `{part}`: {said}");
            said.lines().find(|line| line.contains(part)).map(str::to_owned)
        })
    }

    fn terminate(&self) {
        processes::signal(i32::try_from(self.child.id()).expect("a pid"), Signal::TERM);
    }

    fn ends(&mut self) -> Option<i32> {
        let status = eventually("it ends", || self.child.try_wait().expect("can be asked"));
        status.code()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn the_steps_for_two_machines_work_on_one_with_passwords_and_tls() {
    take_the_steps(&Place::new(network_server), &COORDINATOR, &WORKER);
}

#[test]
fn the_steps_for_a_server_on_loopback_work() {
    take_the_steps(&Place::new(NatsServer::single), &COORDINATOR[2..], &WORKER[2..]);
}

fn take_the_steps(place: &Place, coordinator: &[&str], worker: &[&str]) {
    let mut hub = place.start("hub", place.command(coordinator, &[]));
    hub.says("durability");
    hub.says(&format!("127.0.0.1:{}", place.api_port));
    let mut second = place.command(coordinator, &[]);
    // Its own port: on two machines it would be the same.
    second.env("SKEIN_LISTEN", format!("127.0.0.1:{}", free_port()));
    let mut second = place.start("second", second);
    second.says("serves");
    let mut worker = place.start("worker", place.command(worker, &[]));
    let takes = worker.says("takes");
    assert!(takes.contains("pool default, host node-1, 8 agents at a time"), "{takes}");

    let run = "examples/repo-headings/repo-headings.js --yes --args '{\"dir\":\"docs\"}'";
    let ran = place.run(&format!("skein --url http://127.0.0.1:7717 run {run}"));
    assert_eq!(ran.code, Some(0), "{}\n{}\n{}", ran.stderr, hub.said(), worker.said());
    assert!(ran.stdout.contains("\"glossary.md\""), "{}", ran.stdout);

    let listed = place.run("skein --url http://127.0.0.1:7717 workers").stdout;
    let node = takes.split_whitespace().nth(1).expect("a node");
    assert!(listed.contains(node), "{listed}");
    let drained = place.run_with("skein --url http://127.0.0.1:7717 drain NODE", &[("NODE", node)]);
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    assert_eq!(worker.ends(), Some(0), "{}", worker.said());

    for process in [&mut hub, &mut second] {
        process.terminate();
        assert_eq!(process.ends(), Some(143), "{}", process.said());
    }
}

#[test]
fn the_few_rights_of_a_worker_are_enough_for_large_texts_and_for_hosts() {
    let place = Place::new(network_server);
    let mut hub = place.start("hub", place.command(&COORDINATOR, &[]));
    let mut worker = place.start("worker", place.command(&WORKER, &[]));
    hub.says("serves");
    worker.says("takes");
    // Neither prompts nor answers fit into a message; a host is asked without a queue.
    let body = "const text = 'x'.repeat(700000)
        const [near, far] = await parallel([() => agent(text, { host: 'node-1' }), () => agent(text)])
        return [near.length, far.length]";
    let script = place.skein.workflow("large.js", body);
    let url = format!("http://127.0.0.1:{}", place.api_port);
    let program = "sh -c 'head -c 900000 /dev/zero | tr \"\\0\" a'";
    let run = ["--url", &url, "run", script.to_str().expect("text"), "--yes", "--json", "--command", program];
    let ran = Ended::from(place.skein.command(run).env_remove("SKEIN_STORE").output().expect("starts"));
    assert_eq!(ran.completed()["result"], serde_json::json!([900_000, 900_000]), "{}", worker.said());
    worker.terminate();
    assert_eq!(worker.ends(), Some(143), "{}", worker.said());
    let listed = place.run("skein --url http://127.0.0.1:7717 workers").stdout;
    assert!(!listed.contains("node-1"), "it took its entry out of the list: {listed}");
    hub.terminate();
    assert_eq!(hub.ends(), Some(143), "{}", hub.said());
    let said = place.nats.said().to_lowercase();
    assert!(!said.contains("violation"), "{said}");
}

#[test]
fn what_the_doctor_says_of_a_cluster() {
    let place = Place::new(NatsServer::single);
    let check = |place: &Place| -> Value {
        let mut doctor = place.skein.command(["doctor", "--json"]);
        let answer = Ended::from(doctor.env("SKEIN_NATS_URL", place.nats.url()).output().expect("starts")).json();
        let checks = answer["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["name"] == "nats").unwrap_or_default()
    };
    assert_eq!(check(&place)["status"], "fail", "nothing is made by looking");
    let mut init = place.skein.command(["nats", "init", "--nats", &place.nats.url(), "--json"]);
    let made = Ended::from(init.output().expect("starts")).answered();
    assert_eq!((&made["shards"], &made["replicas"]), (&16.into(), &1.into()));
    assert!(made["durability"].is_string());
    assert_eq!(check(&place)["status"], "ok");
    let mut other = place.skein.command(["nats", "init", "--nats", &place.nats.url()]);
    let refused = Ended::from(other.env("SKEIN_NATS_SHARDS", "32").output().expect("starts"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("nats.shards"), "{}", refused.stderr);
}

#[test]
fn a_worker_waits_for_its_server_until_a_signal() {
    let skein = Skein::new();
    let url = format!("nats://127.0.0.1:{}", free_port());
    let mut command = skein.command(["worker", "--nats", &url]);
    let stderr = skein.dir().join("worker.stderr");
    command.stderr(std::fs::File::create(&stderr).expect("a file"));
    let mut worker = Background { child: command.spawn().expect("starts"), stderr };
    worker.says("trying again");
    worker.terminate();
    assert_eq!(worker.ends(), Some(143));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_asked() {
    let skein = Skein::new();
    for (args, part) in [
        (&["worker", "--host", "web-[9-1]"][..], "web-[9-1]"),
        (&["worker", "--slots", "0"], "--slots"),
        (&["worker", "--label", "north"], "NAME=VALUE"),
        (&["worker", "--nats", "nats://me:secret@one"], "nats.password_file"),
        (&["coordinator", "--listen", "everywhere"], "--listen"),
        (&["coordinator", "--name-prefix", "a.b"], "nats.prefix"),
    ] {
        let ended = skein.run(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part) && !ended.stderr.contains("secret"), "{args:?}: {}", ended.stderr);
    }
}
