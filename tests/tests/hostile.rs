//! Hostile scripts end their own run with an error that names the cap, while a healthy run in the same process goes on.

use skein_common::run::RunStatus;
use skein_script::HostLimits;
use skein_tests::system::System;

/// What it is, the body of the script, and the kinds of error it may end with.
const HOSTILE: [(&str, &str, &[&str]); 8] = [
    ("endless loop", "while(true){}", &["limit", "time"]),
    ("ten gigabytes of arrays", "const a = []; for (;;) a.push(new Array(1e6).fill(a.length))", &["memory", "time"]),
    ("a giant string", "return 'a'.repeat(2**30).length", &["memory"]),
    ("a catastrophic regular expression", "return /^(a+)+$/.test('a'.repeat(40) + '!')", &["time"]),
    (
        "a promise flood",
        "function g(){ Promise.resolve().then(g); Promise.resolve().then(g) } g(); await new Promise(()=>{})",
        &["limit", "memory", "time"],
    ),
    ("an endless await", "for(;;){ await null }", &["limit", "time"]),
    ("a getter that loops in the result", "return { get a(){ for(;;); } }", &["limit", "time"]),
    (
        "an endless recursion of promises",
        "async function f(){ await f() } await f()",
        &["limit", "memory", "stack", "time"],
    ),
];

const HEALTHY: &str = "
    const all = []
    for (let round = 0; round < 20; round++)
        all.push(...await parallel(Array.from({ length: 16 }, (_, i) => () => agent(`round ${round} agent ${i}`))))
    return all.filter(Boolean).length";

#[test]
fn c10_hostile_scripts_end_their_own_runs_beside_a_healthy_one() {
    actix::System::new().block_on(async {
        let system = System::start(HostLimits { turn_ms: 2_000, ..HostLimits::default() }).await;
        let parentheses = format!("return {}1{}", "(".repeat(3000), ")".repeat(3000));
        let mut hostile: Vec<(&str, &str, &[&str])> = HOSTILE.to_vec();
        hostile.push(("3000 nested parentheses", &parentheses, &["limit"]));
        let system_ref = &system;
        let runs = hostile.iter().map(|(name, body, kinds)| async move {
            let view = system_ref.run(body).await;
            assert_eq!(view.status, RunStatus::Failed, "{name}");
            let error = view.error.unwrap_or_else(|| unreachable!("{name} failed without an error"));
            assert!(kinds.contains(&error.kind.as_str()), "{name}: {error:?}");
            assert_names_the_cap(name, &error.message);
        });
        let all_hostile = futures::future::join_all(runs);
        let (_, healthy) = tokio::join!(all_hostile, system.run(HEALTHY));
        assert_eq!(healthy.status, RunStatus::Completed);
        assert_eq!(healthy.result.map(|json| json.get().to_owned()).as_deref(), Some("320"));
        let after = system.run(HEALTHY).await;
        assert_eq!(after.status, RunStatus::Completed, "and the process is as good as before");
        system.stop().await;
    });
}

fn assert_names_the_cap(name: &str, message: &str) {
    let caps = ["`instructions`", "`memory_bytes`", "`turn_ms`", "`jobs`", "`recursion`", "nested"];
    assert!(caps.iter().any(|cap| message.contains(cap)), "{name}: {message}");
}

#[test]
fn r02_many_runs_at_once_all_end_right() {
    actix::System::new().block_on(async {
        let system = System::start(HostLimits::default()).await;
        let bodies: Vec<String> = (0..50)
            .map(|run| format!("const a = await agent('a'); const b = await agent('b' + a); return {run}"))
            .collect();
        let views = futures::future::join_all(bodies.iter().map(|body| system.run(body))).await;
        for (run, view) in views.into_iter().enumerate() {
            assert_eq!(view.result.map(|json| json.get().to_owned()), Some(run.to_string()));
            assert_eq!(view.agents.done, 2);
        }
        system.stop().await;
    });
}
