//! The files of `deploy/`: NATS servers take theirs and do what they say, the others name what is there.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use serde_json::Value;
use skein_tests::nats::{self, NatsServer, free_port};
use skein_tests::{Skein, eventually, project_dir};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy(name: &str) -> PathBuf {
    project_dir().join("deploy").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn one_server_keeps_what_it_acknowledged_and_listens_on_loopback() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = NatsServer::single(dir.path());
    let told = server.ask("/varz").expect("answers");
    assert_eq!(told["host"], "127.0.0.1", "{told:#}");
    assert_eq!(told["jetstream"]["config"]["sync_always"], true, "{told:#}");
    assert!(dir.path().join("nats-data").exists());
}

#[test]
fn a_server_on_a_network_asks_for_passwords_and_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir.path())
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |name: &str| dir.path().join(name).display().to_string();
    let port = free_port();
    let mut command = nats::command("network.conf");
    command
        .env("NATS_LISTEN", format!("127.0.0.1:{port}"))
        .env("NATS_STORE", file("store"))
        .env("NATS_TLS_CERT", file("cert.pem"))
        .env("NATS_TLS_KEY", file("key.pem"))
        .env("NATS_COORDINATOR_PASSWORD", "0123456789abcdef")
        .env("NATS_WORKER_PASSWORD", "1e5");
    let server = NatsServer::start(command, dir.path(), port);
    let told = server.ask("/varz").expect("answers");
    assert_eq!((&told["auth_required"], &told["tls_required"]), (&true.into(), &true.into()), "{told:#}");
    assert_eq!(told["jetstream"]["config"]["sync_always"], true, "{told:#}");
}

#[test]
fn the_servers_take_the_flags_that_container_and_unit_give_them() {
    let compose: Value = serde_saphyr::from_str(&read(&deploy("compose.yaml"))).expect("is YAML");
    let flags = compose["services"]["nats"]["command"].as_array().expect("a command");
    let [file, more @ ..] = flags.get(1..).expect("-c FILE") else { panic!("no file: {flags:?}") };
    assert_eq!(file, "/etc/skein/single.conf");
    // Checked only: these flags would open it to the network.
    let flags = more.iter().filter_map(Value::as_str);
    let answer = nats::command("single.conf").args(flags).arg("-t").output().expect("the server runs");
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(compose["services"]["nats"]["working_dir"], "/data", "its data are below the working directory");
    let unit = unit(&deploy("systemd/nats.service"));
    let start = unit.iter().find(|(key, _)| key == "Service.ExecStart").expect("starts something");
    assert_eq!(start.1, "/usr/local/bin/nats-server -c ${NATS_CONF}");
}

#[test]
fn a_variable_that_is_missing_is_named() {
    let answer = nats::check("cluster/node-1.conf", &[]);
    assert!(!answer.status.success());
    assert!(String::from_utf8_lossy(&answer.stderr).contains("NATS_"), "{answer:?}");
}

#[test]
fn three_servers_find_each_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let servers: Vec<NatsServer> = (0..3_usize)
        .map(|at| {
            let (number, port) = (at + 1, free_port());
            let own = dir.path().join(format!("node-{number}"));
            let mut command = nats::command(&format!("cluster/node-{number}.conf"));
            command
                .env("NATS_LISTEN", format!("127.0.0.1:{port}"))
                .env("NATS_CLUSTER_LISTEN", format!("127.0.0.1:{}", routes[at]))
                .env("NATS_STORE", &own);
            for (other, route) in routes.iter().enumerate() {
                command.env(format!("NATS_ROUTE_{}", other + 1), format!("nats-route://127.0.0.1:{route}"));
            }
            NatsServer::start(command, &own, port)
        })
        .collect();
    let leader = |server: &NatsServer| {
        let told = server.ask("/jsz")?;
        let cluster = &told["meta_cluster"];
        (cluster["cluster_size"] == 3).then(|| cluster["leader"].as_str().map(str::to_owned))?
    };
    eventually("all three have one leader", || {
        let leaders: Option<BTreeSet<String>> = servers.iter().map(leader).collect();
        leaders.filter(|leaders| leaders.len() == 1)
    });
}

/// The settings of a unit, `Section.Key` and value.
fn unit(path: &Path) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in read(path).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = name.to_owned(),
            None => {
                let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{}: {line}", path.display()));
                settings.push((format!("{section}.{key}"), value.to_owned()));
            }
        }
    }
    settings
}

#[test]
fn every_role_has_a_unit_that_keeps_its_state_ends_it_alone_and_starts_a_command_that_is_there() {
    let skein = Skein::new();
    for (name, command, seconds_to_stop) in [
        ("nats.service", None, 60),
        ("skein-coordinator.service", Some("coordinator"), 30),
        ("skein-worker.service", Some("worker"), 35 * 60),
        ("skein-serve.service", Some("serve"), 30),
    ] {
        let unit = unit(&deploy("systemd").join(name));
        let of = |key: &str| unit.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        for key in ["Unit.Description", "Service.StateDirectory", "Install.WantedBy"] {
            assert!(of(key).is_some(), "{name} has no {key}");
        }
        for key in ["DynamicUser", "NoNewPrivileges", "PrivateTmp", "ProtectKernelModules"] {
            assert_eq!(of(&format!("Service.{key}")), Some("yes"), "{name} {key}");
        }
        let stop = of("Service.TimeoutStopSec").expect("a time to stop");
        let seconds = match stop.strip_suffix("min") {
            Some(minutes) => minutes.parse::<u32>().map(|minutes| minutes * 60),
            None => stop.parse(),
        };
        assert_eq!(seconds.expect("a time"), seconds_to_stop, "{name}");
        if let Some(command) = command {
            // Agents are ended by the keeper, not by systemd: a worker that drains lets them finish.
            assert_eq!(of("Service.KillMode"), Some("mixed"), "{name}");
            assert_eq!(of("Service.ExecStart"), Some(format!("/usr/local/bin/skein {command}").as_str()));
            assert_eq!(of("Service.RestartPreventExitStatus"), Some("2"), "{name}");
            assert_eq!(skein.run([command, "--help"]).code, Some(0), "{command}");
        }
    }
}

#[test]
fn systemd_takes_the_units_where_it_is_installed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(deploy("systemd")).expect("a folder") {
        let path = entry.expect("an entry").path();
        // Programs have to be there for it, and are not on a machine that only builds.
        let text =
            read(&path).replace("/usr/local/bin/skein", "/bin/true").replace("/usr/local/bin/nats-server", "/bin/true");
        std::fs::write(dir.path().join(path.file_name().expect("a name")), text).expect("writes");
    }
    let units = std::fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let output = Command::new("systemd-analyze").arg("verify").args(units).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // Units of the machine are looked at, too; what is wrong with those is no fault of ours.
    let ours: Vec<&str> =
        said.lines().filter(|line| line.contains("skein") || line.contains("/nats.service")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_compose_file_names_files_and_commands_that_are_there() {
    let path = deploy("compose.yaml");
    let compose: Value = serde_saphyr::from_str(&read(&path)).expect("is YAML");
    let services = compose["services"].as_object().expect("services");
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["nats", "coordinator-1", "coordinator-2", "worker"]);
    let skein = Skein::new();
    let volumes = compose["volumes"].as_object().expect("volumes");
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume.as_str().and_then(|text| text.split(':').next()).expect("a source");
            let is_there = if source.starts_with('.') { deploy(source).exists() } else { volumes.contains_key(source) };
            assert!(is_there, "{name}: {source}");
        }
        if service["image"] == "skein" {
            let build = &service["build"];
            let context = deploy(build["context"].as_str().expect("a context"));
            assert!(context.join(build["dockerfile"].as_str().expect("a file")).exists(), "{name}");
            let command: Vec<&str> =
                service["command"].as_array().expect("a command").iter().filter_map(Value::as_str).collect();
            // Flags are read before help is given, so that one that is not known shows.
            let help = skein.run(command.iter().copied().chain(["--help"]));
            assert_eq!(help.code, Some(0), "{name}: {}", help.stderr);
            assert!(service["depends_on"] == serde_json::json!(["nats"]), "{name}");
        }
    }
}

#[test]
fn variables_of_skein_in_these_files_are_settings() {
    let documented = read(&project_dir().join("docs/settings.md"));
    let mut found = BTreeSet::new();
    for path in files_below(&deploy("")) {
        let text = read(&path);
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        found.extend(words.filter(|word| word.starts_with("SKEIN_") && *word != "SKEIN_").map(str::to_owned));
    }
    assert!(found.contains("SKEIN_NATS_URL") && found.contains("SKEIN_NODE_DIR"), "{found:?}");
    let unknown: Vec<&String> = found.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
