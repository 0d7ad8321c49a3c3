//! A script in the manner of the article that made dynamic workflows known: free variables given as `args`, four
//! phases, a cheap model that scans and a strong one that concludes.

use serde_json::json;
use skein_tests::Skein;

const SCRIPT: &str = r"export const meta = {
  name: 'nginx-502-debug',
  description: 'Finds the root cause of 502s',
  phases: [{ title: 'Scan' }, { title: 'Check' }, { title: 'Verify' }, { title: 'Report' }],
}

phase('Scan')
const logs = await parallel(nginxServers.map(server => () =>
  agent(`Count the 502s of ${server}`, { label: server, model: 'haiku', agentType: 'reader' })))

phase('Check')
const services = await parallel(backendServices.map(service => () =>
  agent(`Read GC logs, heap and pool of ${service}`, { label: service, model: 'haiku', agentType: 'reader' })))

phase('Verify')
const timeline = await agent(`Join: ${logs.filter(Boolean).join('; ')} / ${services.filter(Boolean).join('; ')}`,
  { model: 'opus', agentType: 'reader' })

phase('Report')
const report = await agent(`Root cause and plan from: ${timeline}`, { model: 'opus', agentType: 'reader' })
return { logs, services, timeline, report }
";

#[test]
fn c37_the_keys_of_args_are_free_variables_of_the_script() {
    let skein = Skein::new();
    skein.shell_agent("reader", "", "cat >/dev/null; echo \"$SKEIN_MODEL read $SKEIN_LABEL in $SKEIN_PHASE\"");
    let script = skein.write("nginx-502-debug.js", SCRIPT);
    let args = json!({
        "nginxServers": (1..=100).map(|n| format!("nginx-{n:03}")).collect::<Vec<_>>(),
        "backendServices": (1..=50).map(|n| format!("service-{n:02}")).collect::<Vec<_>>(),
    });
    let view = skein.run_json(&script, &["--args", &args.to_string(), "--budget", "230k"]).completed();
    let result = view["result"].as_object().expect("an object");
    assert_eq!(result.keys().collect::<Vec<_>>(), ["logs", "services", "timeline", "report"]);
    assert_eq!(result["logs"].as_array().expect("logs").len(), 100);
    assert_eq!(result["logs"][41], "haiku read nginx-042 in Scan");
    assert_eq!(result["services"][0], "haiku read service-01 in Check");
    assert!(result["report"].as_str().expect("text").starts_with("opus read "), "{}", result["report"]);
    let phases: Vec<(&str, u64)> = view["phases"]
        .as_array()
        .expect("phases")
        .iter()
        .filter_map(|phase| Some((phase["title"].as_str()?, phase["agents"].as_u64()?)))
        .collect();
    assert_eq!(phases, [("Scan", 100), ("Check", 50), ("Verify", 1), ("Report", 1)]);
    assert_eq!(
        view["models"],
        json!([
            { "model": "haiku", "agents": 150, "tokens": 0 },
            { "model": "opus", "agents": 2, "tokens": 0 },
        ])
    );
    assert_eq!(view["tokens"]["budget"], 230_000);
}
