//! The `command` runner with real programs (A2).

use crate::bench::{Bench, failure, text};
use crate::support::{definition, eventually, processes_with, shell, task};
use skein_common::Payload;
use skein_common::agent::{Cause, CommandLine, Usage};
use skein_common::wire::AttemptEnd;
use std::os::unix::fs::PermissionsExt as _;

#[actix_rt::test]
async fn a02_exit_codes_and_signals_tell_how_it_ended() {
    let bench = Bench::new().await;
    assert_eq!(text(&bench.shell(1, "echo hello; echo").await), "hello\n");
    let report = bench.shell(2, "echo first >&2; echo why >&2; exit 3").await;
    assert_eq!(failure(&report), (Cause::Failed, "exit 3", "first\nwhy", false));
    let report = bench.shell(3, "echo later >&2; exit 75").await;
    assert_eq!(failure(&report), (Cause::Failed, "exit 75", "later", true));
    let report = bench.shell(4, "kill -9 $$").await;
    assert_eq!(failure(&report), (Cause::Failed, "signal 9", "signal 9, and nothing on standard error", false));
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_only_the_last_lines_of_standard_error_are_kept() {
    let bench = Bench::new().await;
    let report = bench.shell(1, "seq 1 100000 >&2; exit 1").await;
    let (.., message, _) = failure(&report);
    assert!(message.ends_with("99999\n100000") && message.len() <= 2048, "{message}");
    assert!(message.lines().all(|line| line.len() >= 5), "a line is cut: {message}");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_standard_input_is_the_task_as_json() {
    let bench = Bench::with(|config| config.hosts = vec!["nginx-01".into()]).await;
    let mut task = shell(&bench.run, 7, bench.path(), "cat");
    task.args = Some(Payload::json(r#"{"fleet":"x"}"#));
    task.host = Some("nginx-01".into());
    task.model = Some("haiku".into());
    let report = bench.report(&task).await;
    let expected = format!(
        "{{\"prompt\":\"prompt 7\",\"args\":{{\"fleet\":\"x\"}},\"schema\":null,\"label\":\"label 7\",\"phase\":\"Scan\",\
         \"run\":\"{}\",\"agent\":7,\"attempt\":1,\"host\":\"nginx-01\",\"model\":\"haiku\"}}",
        bench.run
    );
    assert_eq!(text(&report), expected);
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_texts_that_are_blobs_are_fetched_first() {
    let bench = Bench::new().await;
    let prompt = "long ".repeat(100_000);
    let reference = Payload::text(prompt.clone()).reference_if_large().unwrap();
    let bytes = prompt.clone().into_bytes();
    bench.world.ports().blobs.put(&bench.run, bytes.into()).await.unwrap();
    let mut task = shell(&bench.run, 1, bench.path(), "wc -c");
    task.prompt = reference;
    let report = bench.report(&task).await;
    let bytes: usize = text(&report).trim().parse().unwrap();
    assert!(bytes > prompt.len(), "{bytes}");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_the_environment_is_exactly_the_list() {
    let bench = Bench::new().await;
    let mut task = task(&bench.run, 1, skein_common::agent::RunnerKind::Command, bench.path());
    let mut definition = definition(&bench.path().join("agent.md"), CommandLine::Argv { argv: vec!["env".into()] });
    definition.env =
        vec!["CARGO_PKG_NAME".into(), "MINE=two = 2".into(), "NOT_THERE".into(), "SKEIN_RUN=forged".into()];
    task.definition = Some(definition);
    let report = bench.report(&task).await;
    let mut lines: Vec<&str> = text(&report).lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "CARGO_PKG_NAME"]
        .iter()
        .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)))
        .collect();
    expected.extend(
        ["MINE=two = 2", "SKEIN_AGENT=1", "SKEIN_ATTEMPT=1", "SKEIN_HOST=", "SKEIN_LABEL=label 1"].map(Into::into),
    );
    expected.extend(["SKEIN_MODEL=", "SKEIN_PHASE=Scan"].map(Into::into));
    expected.push(format!("SKEIN_RUN={}", bench.run));
    expected.sort_unstable();
    assert_eq!(lines, expected);
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_prompt_and_folder_are_filled_into_arguments() {
    let bench = Bench::new().await;
    let script = bench.path().join("agents/show.sh");
    std::fs::create_dir_all(script.parent().unwrap()).unwrap();
    std::fs::write(&script, "#!/bin/sh\nprintf '%s|' \"$0\" \"$@\"; pwd\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut task = task(&bench.run, 1, skein_common::agent::RunnerKind::Command, bench.path());
    task.prompt = Payload::text("a 'b' $(c)");
    let argv = ["./show.sh", "--say={prompt}", "{definition_dir}", "{other}"].map(String::from).to_vec();
    task.definition = Some(definition(&bench.path().join("agents/show.md"), CommandLine::Argv { argv }));
    let (dir, report) = (bench.path().display(), bench.report(&task).await);
    let expected = format!("{dir}/agents/./show.sh|--say=a 'b' $(c)|{dir}/agents|{{other}}|{dir}");
    assert_eq!(text(&report), expected);

    task.attempt.agent = 2;
    task.prompt = Payload::text("x".repeat(100 * 1024 + 1));
    let report = bench.report(&task).await;
    let (cause, detail, message, _) = failure(&report);
    assert_eq!((cause, detail), (Cause::Failed, "prompt_too_large"));
    assert!(message.contains("102401 bytes"), "{message}");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_the_working_directory_is_the_definitions_then_the_root_then_the_project() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::with(|config| config.root = Some(root.path().to_owned())).await;
    assert_eq!(text(&bench.shell(1, "pwd").await), root.path().to_str().unwrap());
    std::fs::create_dir(bench.path().join("sub")).unwrap();
    let mut task = shell(&bench.run, 2, bench.path(), "");
    let mut definition = definition(&bench.path().join("a.md"), CommandLine::Shell { line: "pwd".into() });
    definition.cwd = Some("sub".into());
    task.definition = Some(definition);
    assert_eq!(text(&bench.report(&task).await), bench.path().join("sub").to_str().unwrap());
    task.attempt.agent = 3;
    task.definition.as_mut().unwrap().cwd = Some("missing".into());
    assert_eq!(failure(&bench.report(&task).await).1, "no_directory");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_a_program_that_is_not_there_is_named() {
    let bench = Bench::new().await;
    let mut task = task(&bench.run, 1, skein_common::agent::RunnerKind::Command, bench.path());
    task.command = Some(vec!["no-such-program-anywhere".into()]);
    let report = bench.report(&task).await;
    let expected = (Cause::Failed, "not_found", "command not found: no-such-program-anywhere", false);
    assert_eq!(failure(&report), expected);
    task.attempt.agent = 2;
    task.command = None;
    assert_eq!(failure(&bench.report(&task).await).1, "no_command");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_output_above_the_limit_ends_the_attempt() {
    let bench = Bench::new().await;
    let report = bench.shell(1, "head -c 50000000 /dev/zero; echo never > reached").await;
    let (cause, _, message, _) = failure(&report);
    assert_eq!(cause, Cause::OutputTooLarge);
    assert!(message.contains("1048576 bytes"), "{message}");
    assert!(!bench.path().join("reached").exists());
    let report = bench.shell(2, "head -c 1048576 /dev/zero").await;
    assert_eq!(text(&report).len(), 1_048_576);
    let report = bench.shell(3, "head -c 1048577 /dev/zero").await;
    assert_eq!(failure(&report).0, Cause::OutputTooLarge);
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_fifty_megabytes_arrive_when_they_are_allowed() {
    let bench = Bench::with(|config| config.settings.output_bytes_max = 64 * 1024 * 1024).await;
    let report = bench.shell(1, "head -c 50000000 /dev/zero | tr '\\0' x").await;
    assert_eq!(text(&report).len(), 50_000_000);
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_invalid_utf8_is_replaced_and_noted() {
    let bench = Bench::new().await;
    let report = bench.shell(1, r"printf 'a\377b\n'").await;
    assert_eq!(text(&report), "a\u{fffd}b");
    assert!(report.notes[0].contains("UTF-8"), "{:?}", report.notes);
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_with_a_schema_the_output_must_fit() {
    let bench = Bench::new().await;
    let schema = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;
    let with_schema = |agent, line| {
        let mut task = shell(&bench.run, agent, bench.path(), line);
        task.schema = Some(Payload::json(schema));
        task
    };
    let report = bench.report(&with_schema(1, r#"echo '{"n": "3"}'"#)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::json(r#"{"n":3}"#) });
    let report = bench.report(&with_schema(2, r#"echo '{"n": 3 }'"#)).await;
    assert_eq!(report.end, AttemptEnd::Done { value: Payload::json(r#"{"n": 3 }"#) });
    for (agent, line) in [(3, "echo '{}'"), (4, "echo no json"), (5, "true")] {
        let report = bench.report(&with_schema(agent, line)).await;
        let (cause, detail, message, retryable) = failure(&report);
        assert_eq!((cause, detail, retryable), (Cause::Failed, "schema", false), "{line}");
        assert!(message.starts_with("standard output"), "{message}");
        let AttemptEnd::Failed { unfit: Some(answer), .. } = &report.end else { panic!("no answer: {report:?}") };
        assert_eq!(answer.inline(), Some(line.strip_prefix("echo ").unwrap_or_default().trim_matches('\'')), "{line}");
    }
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_descriptor_3_reports_tokens() {
    let bench = Bench::new().await;
    let line = r#"echo noise >&3; echo '{"skein_usage":{"input":10,"output":5,"cache_read":2}}' >&3; echo done"#;
    let report = bench.shell(1, line).await;
    assert_eq!(text(&report), "done");
    assert_eq!(report.usage, Usage { input: 10, output: 5, cache_read: 2, cache_write: 0 });
    let report = bench.shell(2, r#"echo '{"skein_usage":{"input":9}}' >&3; exit 1"#).await;
    assert_eq!(report.usage.input, 9, "a failed agent's tokens count");
    let report = bench.shell(3, "echo nonsense >&3; echo done").await;
    assert_eq!((report.usage, report.notes.len()), (Usage::default(), 1));
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_nothing_but_the_four_descriptors_is_inherited() {
    let bench = Bench::new().await;
    let report = bench.shell(1, "exec ls /proc/self/fd").await;
    // One more is the directory that `ls` reads.
    assert_eq!(text(&report), "0\n1\n2\n3\n4");
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_what_never_ends_times_out_and_is_gone() {
    let bench = Bench::new().await;
    let mut task = shell(&bench.run, 1, bench.path(), "echo begun >&2; sleep 86401.25");
    task.timeout_ms = Some(300);
    let report = bench.report(&task).await;
    let (cause, detail, message, _) = failure(&report);
    assert_eq!((cause, detail), (Cause::TimedOut, "command_timeout"));
    assert!(message.starts_with("ran longer than 300 ms\nbegun"), "{message}");
    assert_eq!(processes_with("86401.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_what_ignores_sigterm_is_killed() {
    let bench = Bench::new().await;
    let mut task = shell(&bench.run, 1, bench.path(), "trap '' TERM; sleep 86402.25; sleep 86402.25");
    task.timeout_ms = Some(100);
    assert_eq!(failure(&bench.report(&task).await).0, Cause::TimedOut);
    assert_eq!(processes_with("86402.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_daemons_in_sessions_of_their_own_end_with_the_attempt() {
    let bench = Bench::new().await;
    let line = "(setsid sh -c 'sleep 86403.25 & sleep 86403.25' >/dev/null 2>&1 3>&1 </dev/null &) ; \
                (setsid env -i sh -c 'sleep 86403.25' >/dev/null 2>&1 3>&1 </dev/null &); echo done";
    let report = bench.shell(1, line).await;
    assert_eq!(text(&report), "done");
    assert_eq!(processes_with("86403.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

/// Whose such a process is shows neither by its group nor by a mark, so the attempt waits until that is settled.
#[actix_rt::test]
async fn a02_an_attempt_is_not_over_while_a_daemon_without_environment_lives() {
    let bench = Bench::new().await;
    let line = "(setsid env -i sleep 86423.25 >/dev/null 2>&1 3>&1 </dev/null &) ; \
                until pgrep -f '^sleep 86423.25' >/dev/null; do :; done; echo done";
    for agent in 1..10 {
        assert_eq!(text(&bench.shell(agent, line).await), "done");
        assert_eq!(processes_with("86423.25"), Vec::<i32>::new());
    }
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_the_end_of_one_attempt_leaves_the_others_alone() {
    let bench = Bench::new().await;
    let waiting = "(setsid sh -c 'sleep 86404.25' >/dev/null 2>&1 3>&1 </dev/null &); echo up > up-1; \
                   while [ ! -e go ]; do sleep 0.01; done; pgrep -f '^sleep 86404.25' | wc -l";
    let task = shell(&bench.run, 1, bench.path(), waiting);
    bench.world.dispatch(&task);
    eventually("the first one runs", || bench.path().join("up-1").exists().then_some(())).await;
    eventually("its daemon runs", || (processes_with("sleep 86404.25").len() > 1).then_some(())).await;
    for agent in 2..10 {
        assert_eq!(text(&bench.shell(agent, "(setsid sleep 86405.25 >/dev/null 2>&1 3>&1 &); echo ok").await), "ok");
    }
    assert_eq!(processes_with("86405.25"), Vec::<i32>::new());
    std::fs::write(bench.path().join("go"), "").unwrap();
    assert_eq!(text(&bench.world.report(&task.attempt).await).trim(), "1");
    assert_eq!(processes_with("86404.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_many_programs_at_once_all_end() {
    let bench = Bench::new().await;
    for agent in 1..=200 {
        bench.world.dispatch(&shell(&bench.run, agent, bench.path(), "echo $SKEIN_AGENT"));
    }
    bench.world.when("200 reports", |state| (state.reports.len() == 200).then_some(())).await;
    for report in &bench.world.state.lock().unwrap().reports {
        assert_eq!(text(report), report.attempt.agent.to_string());
    }
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_what_runs_away_from_process_to_process_is_caught() {
    let bench = Bench::new().await;
    let hop = "#!/bin/sh\n# 86421.25\nsetsid sh ./hop.sh 86421.25 >/dev/null 2>&1 3>&1 </dev/null &\n";
    std::fs::write(bench.path().join("hop.sh"), hop).unwrap();
    let report = bench.shell(1, "sh ./hop.sh 86421.25; echo done").await;
    assert_eq!(text(&report), "done");
    assert_eq!(processes_with("86421.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}

#[actix_rt::test]
async fn a02_a_flood_of_daemons_ends_with_the_attempt() {
    let bench = Bench::new().await;
    let line = "(while :; do (setsid sleep 86422.25 >/dev/null 2>&1 3>&1 </dev/null &); done) & \
                while [ $(pgrep -fc '^sleep 86422.25') -lt 100 ]; do :; done; head -c 2000000 /dev/zero; wait";
    assert_eq!(failure(&bench.shell(1, line).await).0, Cause::OutputTooLarge);
    assert_eq!(processes_with("86422.25"), Vec::<i32>::new());
    bench.worker.stop().await;
}
