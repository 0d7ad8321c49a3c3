//! A script that waits for long gives its host back and goes on in another one.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use serde_json::json;
use skein_tests::{Skein, eventually, processes};

/// The script hosts of a `skein run`.
fn hosts(run: u32) -> usize {
    let children = processes::children_of(i32::try_from(run).expect("a pid"));
    let zygotes = children.into_iter().filter(|pid| processes::command_line(*pid).contains("script-zygote"));
    zygotes.map(|zygote| processes::children_of(zygote).len()).sum()
}

#[test]
fn a_script_that_waits_loses_its_host_as_often_as_it_waits_and_comes_to_its_result() {
    let skein = Skein::new();
    skein.shell_agent("waits", "", "while [ ! -e \"go-$SKEIN_AGENT\" ]; do sleep 0.02; done; echo $SKEIN_AGENT");
    let body = "const seen = []
        for (const i of [1, 2, 3]) {
            log('before', i)
            seen.push(await agent('p' + i, {agentType: 'waits'}), random())
        }
        return {seen, again: random()}";
    let script = skein.workflow("w.js", body);
    let mut command = skein.command(["run", script.to_str().expect("a path"), "--yes", "--json"]);
    command.env("SKEIN_HIBERNATE_AFTER", "100ms").env("SKEIN_HOSTS_MAX", "0");
    let running = command.stdout(std::process::Stdio::piped()).spawn().expect("starts");
    for agent in 1..=3 {
        eventually("it has a host again or hibernates", || {
            let agents = skein.runs().first().map(|run| run["agents"]["started"].clone());
            (agents == Some(json!(agent))).then_some(())
        });
        eventually("it hibernates", || (hosts(running.id()) == 0).then_some(()));
        std::fs::write(skein.project().join(format!("go-{agent}")), "").expect("writes");
    }
    let output = running.wait_with_output().expect("ends");
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(view["status"], "completed", "{view:#}");
    let seen = view["result"]["seen"].as_array().expect("a list");
    assert_eq!([&seen[0], &seen[2], &seen[4]], ["1", "2", "3"]);
    // Chance goes on where it was: a replay draws the same numbers again.
    let drawn: std::collections::BTreeSet<String> =
        [&seen[1], &seen[3], &seen[5], &view["result"]["again"]].iter().map(|number| number.to_string()).collect();
    assert_eq!(drawn.len(), 4);
    let run = skein.only_run();
    let lines = skein.run(["logs", &run]).stdout;
    assert_eq!(lines.matches("before").count(), 3, "{lines}");
}
