//! Many runs in one coordinator: all hostile scripts at once beside a healthy run, and 500 runs started in one moment.

use skein_common::run::RunStatus;
use skein_script::HostLimits;
use skein_tests::hostile::{HEALTHY_AGENTS, all, healthy_body};
use skein_tests::system::System;
use skein_tests::{eventually, processes};

/// Those that do no harm within their caps; all others fail.
const HARMLESS: [&str; 13] = [
    "deep_array_flat",
    "deep_proxy_chain",
    "deep_proto",
    "plus_parse",
    "pollute",
    "pollute2",
    "pollute3",
    "regex_parse",
    "ret_misc",
    "sort_cmp",
    "spread_big",
    "toString_rec",
    "unhandled",
];
/// How the others may end. `engine`, a crash of the interpreter, is among them: its host is replaced a few times first.
const KINDS: [&str; 9] = ["limit", "time", "memory", "stack", "stuck", "thrown", "syntax", "serialization", "engine"];

#[test]
fn c10_all_hostile_scripts_at_once_end_for_themselves_and_a_healthy_run_completes() {
    actix::System::new().block_on(async {
        let limits = HostLimits { turn_ms: 5_000, memory_bytes: 64 << 20, ..HostLimits::default() };
        let system = System::start(limits).await;
        let scripts = all();
        assert_eq!(scripts.len(), 80);
        let hostile = futures::future::join_all(scripts.iter().map(|script| system.run(&script.body)));
        let body = healthy_body();
        let (ended, healthy) = tokio::join!(hostile, system.run(&body));
        let expected = Some(HEALTHY_AGENTS.to_string());
        assert_eq!(healthy.result.map(|json| json.get().to_owned()), expected, "{:?}", healthy.error);
        for (script, view) in scripts.iter().zip(ended) {
            let name = script.name.as_str();
            match view.error {
                None => assert!(HARMLESS.contains(&name), "{name} completed"),
                Some(error) => assert!(KINDS.contains(&error.kind.as_str()), "{name}: {error:?}"),
            }
        }
        let after = system.run(&body).await;
        assert_eq!(after.status, RunStatus::Completed, "the process is as good as before");
        system.stop().await;
    });
}

#[test]
fn r02_five_hundred_runs_started_at_once_all_end_right() {
    actix::System::new().block_on(async {
        let system = System::start(HostLimits::default()).await;
        let bodies: Vec<String> = (0..500)
            .map(|run| format!("const both = await parallel(['a', 'b'].map(p => () => agent(p))); return {run}"))
            .collect();
        let views = futures::future::join_all(bodies.iter().map(|body| system.run(body))).await;
        for (run, view) in views.into_iter().enumerate() {
            assert_eq!(view.result.map(|json| json.get().to_owned()), Some(run.to_string()), "{:?}", view.error);
            assert_eq!(view.agents.done, 2);
        }
        system.stop().await;
    });
}

/// The scheduling policy of each script host below this process: 0 is the usual one, 5 is `SCHED_IDLE`.
fn policies_of_hosts() -> Vec<u32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let zygotes =
        processes::children_of(own).into_iter().filter(|pid| processes::command_line(*pid).contains("zygote"));
    let hosts = zygotes.flat_map(processes::children_of);
    let policy = |pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(POLICY_FIELD)?.parse().ok()
    };
    hosts.filter_map(policy).collect()
}

/// Of `/proc/PID/stat`, counted from the state behind the name.
const POLICY_FIELD: usize = 38;
const IDLE: u32 = 5;

#[test]
fn c10_a_host_that_computes_for_long_gives_way_and_one_that_waits_does_not() {
    actix::System::new().block_on(async {
        let system = System::start(HostLimits::default()).await;
        let waiting = "await new Promise(wake => setTimeout(wake, 86400000))";
        let look = tokio::task::spawn_blocking(|| {
            eventually("one of both gives way", || {
                let mut both = policies_of_hosts();
                both.sort_unstable();
                (both == [0, IDLE]).then_some(())
            });
        });
        tokio::select! {
            _ = system.run(waiting) => unreachable!("it waits for a day"),
            () = async { loop { system.run("while (true) {}").await; } } => {}
            looked = look => assert!(looked.is_ok(), "{looked:?}"),
        }
        system.stop().await;
    });
}
