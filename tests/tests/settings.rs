//! Settings in layers, what a project may set, and trust.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::{Value, json};
use skein_tests::{Ended, Skein};
use std::path::PathBuf;

fn user_file(skein: &Skein, text: &str) -> PathBuf {
    let path = skein.dir().join("home/.config/skein/config.toml");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
    std::fs::write(&path, text).expect("writes");
    path
}

fn system_file(skein: &Skein, text: &str) -> PathBuf {
    let path = skein.dir().join("no-system-file.toml");
    std::fs::write(&path, text).expect("writes");
    path
}

fn shown(skein: &Skein) -> Value {
    skein.run(["config", "show", "--origin", "--json"]).json()
}

/// Value and origin of one setting.
fn of(shown: &Value, table: &str, name: &str) -> (Value, String) {
    let setting = &shown[table][name];
    (setting["value"].clone(), setting["origin"].as_str().expect("an origin").to_owned())
}

#[test]
fn each_layer_beats_the_one_before_and_says_where_it_stands() {
    let skein = Skein::new();
    assert_eq!(of(&shown(&skein), "limits", "concurrency"), (json!(16), "default".into()));
    let system = system_file(&skein, "[limits]\nconcurrency = 2\nagents = 20\n[retention]\ndays = 7\n");
    assert_eq!(of(&shown(&skein), "limits", "concurrency"), (json!(2), format!("{}:2", system.display())));
    let user = user_file(&skein, "# mine\n[limits]\nconcurrency = 3\n");
    assert_eq!(of(&shown(&skein), "limits", "concurrency"), (json!(3), format!("{}:3", user.display())));
    let project = skein.write(".skein.toml", "limits.concurrency = 4\n");
    assert_eq!(of(&shown(&skein), "limits", "concurrency"), (json!(4), format!("{}:1", project.display())));
    assert_eq!(of(&shown(&skein), "limits", "agents"), (json!(20), format!("{}:3", system.display())));
    let mut command = skein.command(["config", "show", "--origin", "--json"]);
    let output = command.env("SKEIN_CONCURRENCY", "5").output().expect("runs");
    assert_eq!(of(&Ended::from(output).json(), "limits", "concurrency"), (json!(5), "SKEIN_CONCURRENCY".into()));
    assert_eq!(of(&shown(&skein), "store", "dir"), (json!(skein.store()), "SKEIN_STORE".into()));
    let flag = skein.run(["config", "show", "--origin", "--json", "--store", "/elsewhere"]).json();
    assert_eq!(of(&flag, "store", "dir"), (json!("/elsewhere"), "--store".into()));
    let plain = skein.run(["config", "show"]).stdout;
    assert!(plain.contains("[limits]\nconcurrency = 4\nagents = 20"), "{plain}");
    assert!(!plain.contains("no-system-file"), "origins only when asked for: {plain}");
}

#[test]
fn l02_limits_of_a_project_count_and_flags_beat_them() {
    let skein = Skein::new();
    skein.write(".skein.toml", "[limits]\nconcurrency = 1\nagents = 3\n[model]\ndefault = \"haiku\"\n");
    let script = skein.workflow("w.js", "return await parallel([1, 2, 3, 4].map(n => () => agent('p' + n)))");
    let simulated = ["--runner", "simulated"];
    let view = skein.run_json(&script, &simulated).completed();
    assert_eq!((&view["agents"]["started"], &view["agents"]["refused"]), (&json!(3), &json!(1)));
    assert_eq!(view["models"][0]["model"], "haiku");
    let more = skein.run_json(&script, &[&simulated[..], &["--max-agents", "10", "--model", "opus"]].concat());
    let view = more.completed();
    assert_eq!((&view["agents"]["started"], &view["models"][0]["model"]), (&json!(4), &json!("opus")));
}

#[test]
fn c38_the_unit_of_the_budget_is_a_setting() {
    let skein = Skein::new();
    user_file(&skein, "[budget]\ntokens = \"1k\"\nunit = \"output\"\n");
    let script = skein.workflow("w.js", "await agent('p'); return [budget.total, budget.spent()]");
    let view = skein.run_json(&script, &["--runner", "simulated"]).completed();
    assert_eq!(view["result"], json!([1000, view["tokens"]["output"]]));
    assert_ne!(view["tokens"]["output"], view["tokens"]["total"]);
}

#[test]
fn what_cannot_be_is_refused_with_its_line_and_what_is_known() {
    let skein = Skein::new();
    for (text, parts) in [
        ("[limits]\nconcurency = 4\n", [":2: unknown key limits.concurency", "concurrency, agents"]),
        ("[limits]\nconcurrency = 300\n", [":2: limits.concurrency = 300", "must be 1 to 256"]),
        ("[worker]\n\nheartbeat = \"soon\"\n", [":3: worker.heartbeat = \"soon\" is no time", "2s"]),
        ("[nonsense]\n", [":1: unknown table [nonsense]", "limits"]),
        ("[limits\n", [":1: ", ""]),
    ] {
        user_file(&skein, text);
        let ended = skein.run(["runs"]);
        assert_eq!(ended.code, Some(2), "{text}: {}", ended.stderr);
        assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{text}: {}", ended.stderr);
    }
    user_file(&skein, "");
    let output = skein.command(["runs"]).env("SKEIN_SLOTS", "many").output().expect("runs");
    let ended = Ended::from(output);
    assert!(ended.code == Some(2) && ended.stderr.contains("SKEIN_SLOTS: \"many\" is no"), "{}", ended.stderr);
    user_file(&skein, "[limits]\nconcurency = 4\n");
    assert_eq!(skein.run(["completions", "bash"]).code, Some(0));
}

#[test]
fn a_project_cannot_move_the_store_or_keep_runs_for_another_time() {
    let skein = Skein::new();
    skein.write(".skein.toml", "[store]\ndir = \"/elsewhere\"\n[retention]\ndays = 1\n[script]\nmemory_bytes = 1\n");
    let ended = skein.run(["config", "show", "--origin", "--json"]);
    assert_eq!(of(&ended.json(), "retention", "days"), (json!(30), "default".into()));
    assert_eq!(of(&ended.json(), "store", "dir").1, "SKEIN_STORE");
    for key in [":2: store.dir is ignored", ":4: retention.days is ignored", ":6: script.memory_bytes is ignored"] {
        assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
    }
    assert_eq!(skein.run(["config", "show", "--quiet"]).stderr, "");
}

#[test]
fn addresses_listeners_and_credentials_never_come_from_a_project() {
    let skein = Skein::new();
    let tables = skein.run(["config", "show", "--json"]).json();
    let keys = |table: &str| tables[table].as_object().expect("a table").keys().cloned().collect::<Vec<_>>();
    let mut text = String::new();
    let mut names = Vec::new();
    for table in ["nats", "api", "node"] {
        text.push_str(&format!("[{table}]\n"));
        for key in keys(table) {
            text.push_str(&format!("{key} = \"of the project\"\n"));
            names.push((table, key));
        }
    }
    assert!(names.contains(&("nats", "url".into())) && names.contains(&("api", "listen".into())), "{names:?}");
    skein.write(".skein.toml", &text);
    let ended = skein.run(["config", "show", "--origin", "--json"]);
    let shown = ended.json();
    for (table, key) in names {
        assert_eq!(of(&shown, table, &key).1, "default", "{table}.{key}");
        assert!(ended.stderr.contains(&format!("{table}.{key} is ignored")), "{table}.{key}: {}", ended.stderr);
    }
}

#[test]
fn the_servers_of_a_cluster_are_a_setting_without_secrets() {
    let skein = Skein::new();
    let user = user_file(&skein, "[nats]\nurl = \"nats://one:4222,nats://two:4222\"\nlease = \"5s\"\nreplicas = 3\n");
    let seen = shown(&skein);
    assert_eq!(of(&seen, "nats", "url"), (json!("nats://one:4222,nats://two:4222"), format!("{}:2", user.display())));
    assert_eq!((of(&seen, "nats", "lease").0, of(&seen, "nats", "replicas").0), (json!("5s"), json!(3)));
    for (text, part) in [
        ("url = \"nats://me:secret@one\"", "nats.password_file"),
        ("lease = \"1500ms\"", "whole seconds"),
        ("lease = \"1s\"", "at least"),
        ("replicas = 2", "neither 1 nor 3 nor 5"),
        ("shards = 2000", "more than 1024"),
        ("shards = 0", "number of shards"),
    ] {
        user_file(&skein, &format!("[nats]\n{text}\n"));
        let ended = skein.run(["runs"]);
        assert!(ended.code == Some(2) && ended.stderr.contains(part), "{text}: {}", ended.stderr);
        assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
    }
}

#[test]
fn a_program_that_a_project_names_runs_only_once_the_project_is_trusted() {
    let skein = Skein::new();
    skein.write(".skein.toml", "[run]\ncommand = [\"sh\", \"-c\", \"echo ran >> ran; echo of the project\"]\n");
    let script = skein.workflow("w.js", "return await agent('p')");
    let untrusted = skein.run_json(&script, &["--runner", "simulated"]);
    assert!(untrusted.stderr.contains("run.command is ignored"), "{}", untrusted.stderr);
    let project = skein.project().canonicalize().expect("a folder");
    let advice = format!("`skein trust {}`", project.display());
    assert!(untrusted.stderr.contains(&advice), "the command to type: {}", untrusted.stderr);
    let refused = skein.run_json(&script, &[]);
    assert!(!skein.project().join("ran").exists(), "--yes does not trust: {}", refused.stdout);
    let trusted = skein.run(["trust", "--yes", "--json"]).json();
    assert_eq!((&trusted["dir"], &trusted["trusted"]), (&json!(project), &json!(true)));
    assert!(trusted["settings"]["run.command"].is_array(), "{trusted}");
    let view = skein.run_json(&script, &[]);
    assert_eq!(view.completed()["result"], "of the project");
    assert!(!view.stderr.contains("ignored"), "{}", view.stderr);
    // A limit is no program: nothing to trust anew. Another program is.
    skein.write(
        ".skein.toml",
        "limits.agents = 5\n[run]\ncommand = [\"sh\", \"-c\", \"echo ran >> ran; echo of the project\"]\n",
    );
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], "of the project");
    skein.write(".skein.toml", "[run]\ncommand = [\"sh\", \"-c\", \"echo other >> other\"]\n");
    assert!(skein.run_json(&script, &["--runner", "simulated"]).stderr.contains("is ignored"));
    let listed = skein.run(["trust", "--list", "--json"]).json();
    assert_eq!(listed, json!([{ "dir": project, "state": "changed" }]));
    assert_eq!(skein.run(["trust", "--remove"]).code, Some(0));
    assert_eq!(skein.run(["trust", "--list", "--json"]).json(), json!([]));
    assert_eq!(skein.run(["trust", "--remove"]).code, Some(2));
    assert!(!skein.project().join("other").exists());
}

#[test]
fn agent_types_of_a_project_that_run_programs_need_trust_and_those_beside_the_script_do_not() {
    let skein = Skein::new();
    let program = "---\nname: tool\ncommand: [\"sh\", \"-c\", \"echo ran\"]\n---\n";
    skein.write(".claude/agents/tool.md", program);
    skein.write(".claude/agents/model.md", "---\nname: model\n---\nThink.\n");
    let script = skein.workflow("flows/w.js", "return await agent('p', { agentType: 'tool' })");
    let ended = skein.run_json(&script, &[]);
    let warning = "tool.md is ignored, since it runs a program; trust the project with `skein trust ";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    assert!(!ended.stderr.contains("model.md"), "text alone runs nothing: {}", ended.stderr);
    assert_eq!(ended.failed().1["kind"], "thrown");
    let checked = skein.run(["check".as_ref(), script.as_os_str(), "--json".as_ref()]);
    assert_eq!(checked.json()["agents"], json!(["model"]));
    assert!(skein.run(["trust", ".", "--yes"]).stdout.contains("agent type tool"));
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], "ran");
    skein.write(".claude/agents/tool.md", &program.replace("ran", "changed"));
    assert!(skein.run_json(&script, &[]).stderr.contains(warning));
    skein.write("flows/agents/tool.md", program);
    assert_eq!(skein.run_json(&script, &[]).completed()["result"], "ran", "the script was named by the person");
}

#[test]
fn there_may_be_nothing_to_trust_and_a_folder_must_be_there() {
    let skein = Skein::new();
    skein.write(".skein.toml", "limits.agents = 5\n");
    assert!(skein.run(["trust"]).stdout.contains("nothing in"));
    assert_eq!(skein.run(["trust", "--list", "--json"]).json(), json!([]));
    assert_eq!(skein.run(["trust", "nowhere"]).code, Some(2));
    skein.write(".skein.toml", "limits = 5\n");
    assert_eq!(skein.run(["trust"]).code, Some(2), "what cannot be read is not trusted");
}

#[test]
fn hosts_and_pools_of_this_machine_are_settings() {
    let skein = Skein::new();
    user_file(&skein, "[worker]\nhosts = [\"db-1\"]\npools = [\"default\", \"gpu\"]\n");
    let body = "return [await agent('p', { host: 'db-1' }), await agent('q', { pool: 'gpu' })]";
    let script = skein.workflow("w.js", body);
    let view = skein.run_json(&script, &["--command", "echo {prompt}"]).completed();
    assert_eq!(view["result"], json!(["p", "q"]));
}

#[test]
fn the_documented_settings_are_the_ones_there_are() {
    let path = skein_tests::project_dir().join("docs/settings.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let documented: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key).collect();
    let shown = Skein::new().run(["config", "show", "--json"]).json();
    let tables = shown.as_object().expect("tables").iter();
    let there: Vec<String> = tables
        .flat_map(|(table, keys)| keys.as_object().expect("keys").keys().map(move |key| format!("{table}.{key}")))
        .collect();
    assert_eq!(documented, there);
}
