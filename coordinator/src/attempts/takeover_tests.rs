//! What a takeover does about attempts of an earlier owner, on hand-made clocks.

use super::*;
use skein_common::wire::{AttemptEnd, RunningAttempt, WorkerInfo};

const ROUND: u64 = 7;
const MARKER: u64 = 70;

fn attempt(agent: u32) -> AttemptRef {
    AttemptRef { run: RunId::from_uuid(uuid::Uuid::nil()), agent, attempt: 1 }
}

fn pool() -> Target {
    Target::Pool(String::from("default"))
}

fn info(node: &str, life: u32) -> WorkerInfo {
    WorkerInfo {
        id: WorkerId(format!("{node}.{life}")),
        node: node.to_owned(),
        pools: vec![String::from("default")],
        hosts: vec![String::from("nginx-01")],
        slots: 4,
        labels: BTreeMap::new(),
        draining: false,
        version: String::new(),
    }
}

fn beat(worker: &WorkerInfo, running: &[u32], rounds: &[u64]) -> Heartbeat {
    let token = |agent: u32| AttemptToken(u64::from(agent));
    let attempts = running.iter().map(|agent| RunningAttempt { attempt: attempt(*agent), token: token(*agent) });
    Heartbeat {
        worker: worker.id.clone(),
        attempts: attempts.collect(),
        info: Some(worker.clone()),
        rounds: rounds.to_vec(),
    }
}

fn report(agent: u32, token: u64) -> AttemptReport {
    AttemptReport {
        attempt: attempt(agent),
        token: AttemptToken(token),
        worker: info("one", 1).id,
        end: AttemptEnd::Cancelled,
        usage: skein_common::agent::Usage::default(),
        notes: Vec::new(),
        elapsed_ms: 0,
    }
}

fn claim_of(attempts: &mut Attempts, agent: u32, worker: &WorkerInfo, now: Instant) -> Option<ClaimAnswer> {
    attempts.claim(&Claim { attempt: attempt(agent), worker: worker.id.clone() }, AttemptToken(99), now)
}

/// A run with three running attempts whose journal has been read.
fn taken_over(workers: &[WorkerInfo], now: Instant) -> Attempts {
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 5);
    let running = [1, 2, 3].into_iter().map(|agent| (attempt(agent), pool()));
    let inheritance = Inheritance { run: attempt(1).run, attempts: running.collect() };
    attempts.know(&inheritance, now);
    assert!(attempts.markers(|| MARKER, now).is_empty(), "nobody knows yet who may have them");
    attempts.inherit(&[attempt(1).run], workers, ROUND, now);
    attempts
}

/// The marker is sent, when it is time for it, and comes back.
fn drain(attempts: &mut Attempts, now: Instant) -> Consequences {
    let run = attempt(1).run;
    match attempts.markers(|| MARKER, now).as_slice() {
        [] => Consequences::default(),
        sent => {
            assert_eq!(sent, [(run.clone(), MARKER)]);
            assert_eq!(attempts.drained(&run, MARKER + 1), Consequences::default(), "of an earlier owner");
            attempts.drained(&run, MARKER)
        }
    }
}

#[test]
fn before_the_journal_is_read_nobody_gets_an_answer() {
    let (now, worker) = (Instant::now(), info("one", 1));
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    assert_eq!(claim_of(&mut attempts, 1, &worker, now), None, "its owner may be another one");
    attempts.register(&attempt(1).run, 5);
    assert_eq!(claim_of(&mut attempts, 1, &worker, now), None);
    let (answer, ..) = attempts.hear(&beat(&worker, &[1], &[]), now);
    let extended = HeartbeatAnswer { extended: vec![attempt(1)], ..HeartbeatAnswer::default() };
    assert_eq!(answer, extended, "reading may take longer than a worker waits for a word");
    assert!(!attempts.accepts(&report(1, 1)) && attempts.is_reading(&attempt(1).run), "it comes again");
}

#[test]
fn r04_a_heartbeat_restores_a_claim_with_its_token() {
    let (now, worker) = (Instant::now(), info("one", 1));
    let mut attempts = taken_over(&[worker.clone(), info("two", 1)], now);
    let (answer, ..) = attempts.hear(&beat(&worker, &[1], &[ROUND]), now);
    assert_eq!((answer.extended, drain(&mut attempts, now)), (vec![attempt(1)], Consequences::default()));
    assert!(attempts.accepts(&report(1, 1)) && !attempts.accepts(&report(1, 8)), "one token has it");
    assert_eq!(claim_of(&mut attempts, 1, &info("two", 1), now), Some(ClaimAnswer::Gone));
}

#[test]
fn r04_what_nobody_named_is_dispatched_again_when_all_have_reported() {
    let now = Instant::now();
    let workers = [info("one", 1), info("two", 1)];
    let mut attempts = taken_over(&workers, now);
    attempts.hear(&beat(&workers[0], &[1], &[ROUND]), now);
    assert_eq!(claim_of(&mut attempts, 2, &workers[0], now), None, "the other one may have it");
    attempts.hear(&beat(&workers[1], &[], &[ROUND - 1]), now);
    assert_eq!(drain(&mut attempts, now).again, [], "a heartbeat that was sent before it was asked for says nothing");
    attempts.hear(&beat(&workers[1], &[], &[ROUND]), now);
    assert!(attempts.markers(|| MARKER, now) == [(attempt(1).run, MARKER)] && attempts.overdue(now).is_empty());
    assert!(attempts.accepts(&report(3, 3)), "its worker had reported it before it said that nothing runs");
    assert_eq!(drain(&mut attempts, now).again, [attempt(2)]);
    assert_eq!(attempts.overdue(now), [attempt(2)], "until its run has done so");
    attempts.expect(attempt(2), pool(), now);
    assert!(matches!(claim_of(&mut attempts, 2, &workers[0], now), Some(ClaimAnswer::Go { epoch: 5, .. })));
    assert_eq!(claim_of(&mut attempts, 2, &workers[1], now), Some(ClaimAnswer::Gone), "the older copy of the task");
}

#[test]
fn l01_what_was_claimed_before_it_is_dispatched_again_stays_with_its_worker() {
    let now = Instant::now();
    let workers = [info("one", 1), info("two", 1)];
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 5);
    attempts.know(&Inheritance { run: attempt(1).run, attempts: Vec::new() }, now);
    attempts.expect(attempt(1), pool(), now);
    // Its run is told that a worker came back, and that the task may have been in its hands.
    for worker in &workers {
        attempts.hear(&beat(worker, &[], &[]), now);
    }
    let (_, consequences, _) = attempts.hear(&beat(&info("one", 2), &[], &[]), now);
    assert_eq!(consequences.again, [attempt(1)]);
    let Some(ClaimAnswer::Go { token, deadline_ms, .. }) = claim_of(&mut attempts, 1, &workers[1], now) else {
        panic!("the task was with nobody")
    };
    attempts.expect(attempt(1), pool(), now);
    assert_eq!(claim_of(&mut attempts, 1, &info("one", 2), now), Some(ClaimAnswer::Gone));
    let running = vec![RunningAttempt { attempt: attempt(1), token }];
    let (answer, ..) = attempts.hear(&Heartbeat { attempts: running, ..beat(&workers[1], &[], &[]) }, now);
    assert_eq!((answer.extended, answer.gone), (vec![attempt(1)], vec![]));
    assert!(deadline_ms < CoordinatorSettings::default().attempt_deadline_ms, "it ends before others may begin");
}

#[test]
fn with_no_worker_known_nothing_is_waited_for() {
    let now = Instant::now();
    let mut attempts = taken_over(&[], now);
    assert_eq!(drain(&mut attempts, now).again, [attempt(1), attempt(2), attempt(3)]);
}

#[test]
fn a_result_of_an_inherited_attempt_is_accepted_once_from_one_worker() {
    let (now, worker) = (Instant::now(), info("one", 1));
    let mut attempts = taken_over(std::slice::from_ref(&worker), now);
    attempts.hear(&beat(&worker, &[], &[ROUND]), now);
    assert_eq!(attempts.markers(|| MARKER, now).len(), 1);
    assert!(attempts.accepts(&report(2, 42)));
    assert!(!attempts.accepts(&report(2, 43)));
    assert_eq!(attempts.stale_answers(), 1);
}

#[test]
fn l01_a_late_result_does_not_end_an_attempt_that_another_worker_carries_out() {
    let (now, workers) = (Instant::now(), [info("one", 1), info("two", 1)]);
    let mut attempts = taken_over(&workers, now);
    // It was cut off, and the earlier owner let another one begin.
    assert!(!attempts.accepts(&report(2, 42)) && attempts.may_accept_later(&attempt(2)));
    assert_eq!(attempts.stale_answers(), 0);
    attempts.hear(&beat(&workers[1], &[2], &[ROUND]), now);
    assert!(attempts.take_wanted_again().contains(&attempt(2).run), "it may have been its result");
    assert!(!attempts.accepts(&report(2, 42)) && !attempts.may_accept_later(&attempt(2)));
    assert!(attempts.accepts(&report(2, 2)));
}

#[test]
fn r04_a_worker_that_stays_silent_is_waited_for_until_its_deadline() {
    let begun = Instant::now();
    let mut attempts = taken_over(&[info("one", 1)], begun);
    let deadline = Duration::from_millis(CoordinatorSettings::default().attempt_deadline_ms);
    let (silent, consequences) = attempts.end_silence(begun + deadline / 2);
    assert_eq!((silent, consequences), (Vec::new(), Consequences::default()));
    assert_eq!(drain(&mut attempts, begun + deadline / 2), Consequences::default());
    let (silent, consequences) = attempts.end_silence(begun + deadline);
    assert_eq!((silent, consequences), (vec![info("one", 1)], Consequences::default()));
    assert_eq!(drain(&mut attempts, begun + deadline).again, [attempt(1), attempt(2), attempt(3)]);
}

#[test]
fn r04_an_earlier_owner_may_have_heard_of_a_worker_that_was_silent_here() {
    let (begun, worker) = (Instant::now(), info("one", 1));
    let deadline = Duration::from_millis(CoordinatorSettings::default().attempt_deadline_ms);
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.hear(&beat(&worker, &[], &[]), begun);
    attempts.register(&attempt(1).run, 5);
    let inheritance = Inheritance { run: attempt(1).run, attempts: vec![(attempt(1), pool())] };
    let taken_over_at = begun + deadline / 2;
    attempts.know(&inheritance, taken_over_at);
    attempts.inherit(&[attempt(1).run], std::slice::from_ref(&worker), ROUND, taken_over_at);
    assert_eq!(attempts.end_silence(begun + deadline).0, [worker], "it is struck off");
    assert_eq!(drain(&mut attempts, begun + deadline), Consequences::default(), "its attempt may be extended");
    assert_eq!(drain(&mut attempts, taken_over_at + deadline).again, [attempt(1)]);
}

#[test]
fn r04_runs_that_are_taken_over_all_the_time_do_not_keep_each_other_waiting() {
    let (begun, worker) = (Instant::now(), info("one", 1));
    let deadline = Duration::from_millis(CoordinatorSettings::default().attempt_deadline_ms);
    let mut attempts = taken_over(std::slice::from_ref(&worker), begun);
    for tenth in 1..10 {
        let other = RunId::from_uuid(uuid::Uuid::from_u128(tenth.into()));
        let now = begun + deadline * tenth / 10;
        attempts.register(&other, 5);
        let running = AttemptRef { run: other.clone(), ..attempt(1) };
        attempts.know(&Inheritance { run: other.clone(), attempts: vec![(running, pool())] }, now);
        attempts.inherit(&[other], std::slice::from_ref(&worker), ROUND, now);
    }
    assert_eq!(attempts.markers(|| MARKER, begun + deadline), [(attempt(1).run, MARKER)]);
}

#[test]
fn l01_a_second_copy_of_a_task_is_not_begun_when_its_result_is_here() {
    let (now, worker) = (Instant::now(), info("one", 1));
    let mut attempts = taken_over(&[], now);
    drain(&mut attempts, now);
    attempts.hear(&beat(&worker, &[], &[]), now);
    attempts.expect(attempt(1), pool(), now);
    let go = claim_of(&mut attempts, 1, &worker, now);
    assert_eq!(claim_of(&mut attempts, 1, &worker, now), go, "the answer was lost");
    assert!(attempts.accepts(&report(1, 99)));
    assert_eq!(claim_of(&mut attempts, 1, &worker, now), Some(ClaimAnswer::Gone));
}

#[test]
fn a_new_run_makes_nobody_report() {
    let now = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 5);
    attempts.know(&Inheritance { run: attempt(1).run, attempts: Vec::new() }, now);
    attempts.inherit(&[attempt(1).run], &[info("one", 1)], ROUND, now);
    assert!(attempts.rounds().is_empty() && attempts.markers(|| MARKER, now).is_empty());
}

#[test]
fn r04_a_late_report_counts_until_somebody_begins_its_attempt_anew() {
    let now = Instant::now();
    let mut attempts = taken_over(&[], now);
    drain(&mut attempts, now);
    attempts.hear(&beat(&info("two", 1), &[], &[]), now);
    for agent in [1, 2] {
        attempts.expect(attempt(agent), pool(), now);
    }
    assert!(attempts.accepts(&report(1, 1)), "dispatched again, claimed by nobody");
    assert_eq!(claim_of(&mut attempts, 1, &info("two", 1), now), Some(ClaimAnswer::Gone));
    assert!(matches!(claim_of(&mut attempts, 2, &info("two", 1), now), Some(ClaimAnswer::Go { .. })));
    assert!(!attempts.accepts(&report(2, 2)));
}

#[test]
fn r04_a_worker_that_comes_back_new_has_lost_what_it_had() {
    let now = Instant::now();
    let mut attempts = taken_over(&[info("one", 1)], now);
    attempts.hear(&beat(&info("one", 1), &[1], &[ROUND]), now);
    attempts.expect(attempt(2), pool(), now);
    attempts.expect(attempt(4), pool(), now);
    attempts.expect(attempt(5), Target::Pool(String::from("other")), now);
    attempts.expect(attempt(6), Target::Host(String::from("nginx-01")), now);
    let (_, consequences, news) = attempts.hear(&beat(&info("one", 2), &[], &[]), now);
    assert_eq!(news, News::Reborn(info("one", 1).id));
    assert_eq!(consequences.verdicts, [(attempt(1), lose(&attempt(1), false))]);
    let again = [attempt(4), attempt(6)];
    assert_eq!(consequences.again, again, "may have been in its hands; the second is there twice already");
}

#[test]
fn r04_a_worker_that_was_struck_off_is_heard_before_it_may_start_anything() {
    let (begun, worker) = (Instant::now(), info("one", 1));
    let deadline = Duration::from_millis(CoordinatorSettings::default().attempt_deadline_ms);
    let mut attempts = taken_over(std::slice::from_ref(&worker), begun);
    let silent_since = begun + deadline;
    assert_eq!(attempts.end_silence(silent_since).0, std::slice::from_ref(&worker));
    drain(&mut attempts, silent_since);
    attempts.expect(attempt(1), pool(), silent_since);
    assert_eq!(claim_of(&mut attempts, 1, &worker, silent_since), None, "a successor would not wait for it");
    let (.., news) = attempts.hear(&beat(&worker, &[], &[]), silent_since);
    assert_eq!(news, News::Changed, "the table gets it");
    assert!(matches!(claim_of(&mut attempts, 1, &worker, silent_since), Some(ClaimAnswer::Go { .. })));
}

#[test]
fn r04_a_late_heartbeat_of_an_earlier_life_takes_nothing_from_the_new_one() {
    let now = Instant::now();
    let mut attempts = taken_over(&[info("one", 1)], now);
    attempts.expect(attempt(2), pool(), now);
    let (_, _, news) = attempts.hear(&beat(&info("one", 2), &[], &[ROUND]), now);
    assert_eq!(news, News::Reborn(info("one", 1).id));
    assert!(matches!(claim_of(&mut attempts, 2, &info("one", 2), now), Some(ClaimAnswer::Go { .. })));
    let late = attempts.hear(&beat(&info("one", 1), &[1], &[]), now);
    let told_to_end = HeartbeatAnswer { superseded: true, ..HeartbeatAnswer::default() };
    assert_eq!(late, (told_to_end, Consequences::default(), News::Nothing));
    assert_eq!(drain(&mut attempts, now).again, [attempt(1), attempt(3)], "nobody has them");
    assert_eq!(claim_of(&mut attempts, 2, &info("two", 1), now), Some(ClaimAnswer::Gone), "it goes on");
}

#[test]
fn an_interrupted_attempt_of_an_earlier_owner_ends_with_its_worker_or_with_the_hearing() {
    let now = Instant::now();
    let workers = [info("one", 1)];
    let mut attempts = taken_over(&workers, now);
    assert_eq!(attempts.interrupt(&attempt(1), now), None, "a worker may have it");
    assert_eq!(attempts.interrupt(&attempt(2), now), None);
    let (answer, ..) = attempts.hear(&beat(&workers[0], &[1], &[ROUND]), now);
    assert_eq!(answer.interrupted, [attempt(1)]);
    let consequences = drain(&mut attempts, now);
    assert_eq!(consequences.again, [attempt(3)]);
    let over = (attempt(2), lose(&attempt(2), true));
    assert_eq!((consequences.verdicts, attempts.verdicts(now)), (vec![over.clone()], vec![over]), "nobody had it");
    assert_eq!(attempts.overdue(now), [attempt(3)]);
}

#[test]
fn tasks_that_nobody_claims_are_dispatched_again_ever_more_rarely() {
    let begun = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 1);
    attempts.hear(&beat(&info("one", 1), &[], &[]), begun);
    attempts.expect(attempt(1), pool(), begun);
    let wait = Duration::from_millis(CoordinatorSettings::default().claim_wait_ms);
    assert_eq!((attempts.overdue(begun + wait / 2), attempts.overdue(begun + wait)), (vec![], vec![attempt(1)]));
    attempts.expect(attempt(1), pool(), begun + wait);
    assert_eq!(attempts.overdue(begun + wait * 2), []);
    assert_eq!(attempts.overdue(begun + wait * 3), [attempt(1)]);
    assert_eq!(attempts.verdicts(begun + wait * 3), [], "a worker serves the pool");
}

#[test]
fn a_pool_or_host_that_nobody_serves_is_named() {
    let begun = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.know_pools([]);
    attempts.register(&attempt(1).run, 1);
    attempts.hear(&beat(&info("one", 1), &[], &[]), begun);
    attempts.expect(attempt(1), Target::Pool(String::from("gpu")), begun);
    attempts.expect(attempt(2), Target::Host(String::from("nginx-02")), begun);
    let wait = Duration::from_millis(CoordinatorSettings::default().claim_wait_ms);
    let messages: Vec<String> =
        attempts.verdicts(begun + wait).into_iter().map(|(_, told)| format!("{told:?}")).collect();
    assert!(messages[0].contains("no worker serves pool gpu"), "{messages:?}");
    assert!(messages[1].contains("no worker serves host nginx-02"), "{messages:?}");
}

/// A new owner whose attempt of this pool waits for longer than a claim takes, and no worker is there.
fn verdict_without_workers(target: Target, prepare: impl FnOnce(&mut Attempts)) -> Option<Command> {
    let begun = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 5);
    attempts.know(&Inheritance { run: attempt(1).run, attempts: Vec::new() }, begun);
    prepare(&mut attempts);
    attempts.expect(attempt(1), target, begun);
    let verdicts = attempts.verdicts(begun + Duration::from_secs(3600));
    verdicts.into_iter().next().map(|(_, command)| command)
}

#[test]
fn c21_a_pool_that_was_served_before_is_waited_for_by_a_new_owner() {
    let known = |attempts: &mut Attempts| attempts.know_pools([String::from("default")]);
    assert_eq!(verdict_without_workers(pool(), known), None);
    let other = Target::Pool(String::from("nowhere"));
    let refused = verdict_without_workers(other, known);
    assert!(matches!(&refused, Some(Command::Reject { detail, .. }) if detail == "no_worker"), "{refused:?}");
    assert_eq!(verdict_without_workers(pool(), |_| {}), None, "nobody knows yet who was served");
    let host = verdict_without_workers(Target::Host(String::from("nginx-01")), known);
    assert!(matches!(host, Some(Command::Reject { .. })), "hosts have a time of their own");
}

#[test]
fn a_pool_is_noted_once_and_waited_for_when_its_workers_drain() {
    let now = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.know_pools([]);
    let worker = WorkerInfo { draining: true, ..info("one", 1) };
    let strange = WorkerInfo { pools: vec!["x".repeat(5000)], ..info("two", 1) };
    attempts.hear(&beat(&worker, &[], &[]), now);
    attempts.hear(&beat(&strange, &[], &[]), now);
    assert_eq!(attempts.new_pools(), ["default"]);
    attempts.pool_is_noted("default");
    attempts.hear(&beat(&info("three", 1), &[], &[]), now);
    assert!(attempts.new_pools().is_empty());
    let drained = verdict_without_workers(pool(), |attempts| {
        attempts.know_pools([]);
        attempts.hear(&beat(&worker, &[], &[]), now);
    });
    assert_eq!(drained, None);
}

#[test]
fn of_two_workers_of_one_node_the_earlier_is_told_to_end_and_may_start_nothing() {
    let now = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 5);
    attempts.know(&Inheritance { run: attempt(1).run, attempts: Vec::new() }, now);
    attempts.expect(attempt(1), pool(), now);
    let (earlier, later) = (info("one", 1), info("one", 2));
    assert!(!attempts.hear(&beat(&earlier, &[], &[]), now).0.superseded);
    assert!(!attempts.hear(&beat(&later, &[], &[]), now).0.superseded);
    let (answer, consequences, news) = attempts.hear(&beat(&earlier, &[], &[]), now);
    assert_eq!((answer.superseded, consequences, news), (true, Consequences::default(), News::Nothing));
    assert_eq!(claim_of(&mut attempts, 1, &earlier, now), None);
    assert!(matches!(claim_of(&mut attempts, 1, &later, now), Some(ClaimAnswer::Go { .. })));
}
