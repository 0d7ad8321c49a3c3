//! Everything comes twice: each task to its worker, each result to its owner, each question to the owner. Runs come to
//! what they come to otherwise, and no program is started twice.

use serde_json::{Value, json};
use skein_backend::faulty::{Faults, Plan, faulty};
use skein_common::ports::Ports;
use skein_common::run::RunStatus;
use skein_common::view::RunView;
use skein_coordinator::RunOutcome;
use skein_script::HostLimits;
use skein_tests::Skein;
use skein_tests::system::{System, example_spec};

/// Both sides of the ports, each with its own dice.
async fn doubled(faults: &Faults) -> System {
    let wrap = |seed| {
        let faults = faults.clone();
        move |ports: Ports| faulty(ports, Plan { seed, faults, crash: None })
    };
    System::start_with_both(HostLimits::default(), wrap(1), wrap(2)).await
}

async fn run_example(system: &System, skein: &Skein, name: &str, args: Value) -> RunView {
    match system.run_spec(example_spec(name, &args, &skein.project())).await {
        RunOutcome::Ended(view) => *view,
        RunOutcome::Interrupted { reason } => unreachable!("{name}: {reason}"),
    }
}

fn result(view: &RunView) -> Value {
    assert_eq!(view.status, RunStatus::Completed, "{:?}", view.error);
    view.result.as_ref().map_or(Value::Null, |json| serde_json::from_str(json.get()).unwrap_or_default())
}

#[test]
fn r04_examples_come_to_the_same_when_everything_is_delivered_twice() {
    let skein = Skein::new();
    for (name, text) in [("a.txt", "TODO one\nTODO two\n"), ("b.txt", "nothing\n"), ("deep/c.txt", "a TODO\n")] {
        skein.write(&format!("src/{name}"), text);
    }
    skein.write("app.conf", "name = shop\npassword = hunter2\n# password = old\n");
    actix::System::new().block_on(async {
        let system = doubled(&Faults::doubled()).await;
        let counted = run_example(&system, &skein, "fan-out", json!({ "dir": "src" })).await;
        let files = json!([{ "file": "a.txt", "todos": 2 }, { "file": "deep/c.txt", "todos": 1 }]);
        assert_eq!(result(&counted), json!({ "total": 3, "files": files, "unread": [] }));
        assert_eq!((counted.agents.started, counted.agents.done), (4, 4));
        let verified = run_example(&system, &skein, "pipeline-verify", json!({ "files": ["app.conf", "gone"] })).await;
        assert_eq!(result(&verified)["confirmed"], json!(["app.conf:2"]));
        assert_eq!((verified.agents.done, verified.agents.failed), (3, 1), "{:?}", verified.failures);
        system.stop().await;
    });
}

#[test]
fn r04_two_hundred_agents_each_run_once_when_everything_is_delivered_twice() {
    let skein = Skein::new();
    skein.shell_agent("worker", "", "echo \"$1\" >> ran; echo \"<$1>\"");
    skein.shell_agent("flaky", "", "echo \"$1\" >> ran; mkdir \"$1\" 2>/dev/null && exit 75; echo \"<$1>\"");
    let body = "export const meta = { name: 'test', description: 'a test' }
        const all = await parallel(Array.from({ length: 200 }, (_, i) => () => agent('agent-' + i,
            { agentType: i % 20 ? 'worker' : 'flaky' })))
        return all.filter((text, i) => text === `<agent-${i}>`).length";
    actix::System::new().block_on(async {
        let faults = Faults { results_mixed: 300, delayed: 200, ..Faults::doubled() };
        let system = doubled(&faults).await;
        let mut spec = skein_tests::system::spec("");
        spec.script = skein_common::Payload::text(body);
        spec.runner = None;
        spec.project_dir = skein.project().display().to_string();
        spec.definitions = skein_worker::definition::discover(&skein.project(), &skein.project(), None).definitions;
        let RunOutcome::Ended(view) = system.run_spec(spec).await else { unreachable!("the run ends") };
        assert_eq!(result(&view), json!(200));
        assert_eq!((view.agents.started, view.agents.done), (200, 200));
        let ran = std::fs::read_to_string(skein.project().join("ran")).unwrap_or_default();
        assert_eq!(ran.lines().count(), 210, "each once, and the ten that asked to come back once more");
        system.stop().await;
    });
}
