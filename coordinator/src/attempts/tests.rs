//! Attempts of one process, and what every coordinator decides alike.

use super::*;

fn attempt(agent: u32) -> AttemptRef {
    AttemptRef { run: RunId::from_uuid(uuid::Uuid::nil()), agent, attempt: 1 }
}

fn pool() -> Target {
    Target::Pool(String::from("default"))
}

fn claim(attempts: &mut Attempts, agent: u32, now: Instant) -> ClaimAnswer {
    let claim = Claim { attempt: attempt(agent), worker: WorkerId(String::from("worker")) };
    attempts.claim(&claim, AttemptToken(u64::from(agent)), now).expect("an answer")
}

fn two_expected(now: Instant) -> Attempts {
    let mut attempts = Attempts::new(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 1);
    for agent in [1, 2] {
        attempts.expect(attempt(agent), pool(), now);
    }
    attempts
}

#[test]
fn the_newest_attempt_whose_claim_was_lost_does_not_wait_for_ever() {
    let begun = Instant::now();
    let wait = Duration::from_millis(CoordinatorSettings::default().claim_wait_ms);
    let mut attempts = two_expected(begun);
    assert!(matches!(claim(&mut attempts, 1, begun), ClaimAnswer::Go { .. }));
    let over = begun + wait * 3;
    attempts.forget(&attempt(1), over);
    assert_eq!(attempts.verdicts(over), [], "a worker has a slot for it from now on");
    let lost = Command::Lose { agent: 2, attempt: 1, ours: true };
    assert_eq!(attempts.verdicts(over + wait), [(attempt(2), lost)]);
}

#[test]
fn what_waits_in_a_queue_that_died_is_dispatched_again_once() {
    let now = Instant::now();
    let mut attempts = Attempts::of_cluster(CoordinatorSettings::default());
    attempts.register(&attempt(1).run, 1);
    let host = Target::Host(String::from("nginx-01"));
    for (agent, target) in [(1, pool()), (2, host)] {
        attempts.expect(attempt(agent), target, now);
    }
    assert_eq!(attempts.overdue(now), []);
    attempts.doubt_queues();
    assert_eq!(attempts.overdue(now), [attempt(1)], "tasks of hosts are in no queue");
    assert_eq!(attempts.expect(attempt(1), pool(), now), Some(false));
    assert_eq!(attempts.overdue(now), []);
}

#[test]
fn an_attempt_that_waits_for_a_slot_is_not_lost() {
    let begun = Instant::now();
    let mut attempts = two_expected(begun);
    claim(&mut attempts, 1, begun);
    let mut now = begun;
    for _ in 0..100 {
        now += Duration::from_secs(5);
        let running = vec![skein_common::wire::RunningAttempt { attempt: attempt(1), token: AttemptToken(1) }];
        attempts.heartbeat(
            &Heartbeat { worker: WorkerId(String::from("worker")), attempts: running, info: None, rounds: Vec::new() },
            now,
        );
        assert_eq!(attempts.verdicts(now), []);
    }
}

fn beat(attempts: &mut Attempts, agent: u32, now: Instant) -> HeartbeatAnswer {
    let token = AttemptToken(u64::from(agent));
    let running = vec![skein_common::wire::RunningAttempt { attempt: attempt(agent), token }];
    attempts.heartbeat(
        &Heartbeat { worker: WorkerId(String::from("worker")), attempts: running, info: None, rounds: Vec::new() },
        now,
    )
}

#[test]
fn a_worker_hears_of_an_interruption_with_every_heartbeat_until_it_reports() {
    let now = Instant::now();
    let mut attempts = two_expected(now);
    claim(&mut attempts, 1, now);
    assert_eq!(attempts.interrupt(&attempt(1), now), None);
    for _ in 0..2 {
        let answer = beat(&mut attempts, 1, now);
        assert_eq!((answer.extended, answer.interrupted), (vec![attempt(1)], vec![attempt(1)]));
    }
    attempts.forget(&attempt(1), now);
    assert_eq!(beat(&mut attempts, 1, now).gone, [attempt(1)]);
}

#[test]
fn an_interrupted_attempt_that_no_worker_has_is_over_at_once_and_cannot_be_claimed() {
    let now = Instant::now();
    let mut attempts = two_expected(now);
    let over = Command::Lose { agent: 1, attempt: 1, ours: true };
    assert_eq!(attempts.interrupt(&attempt(1), now), Some(over));
    assert!(matches!(claim(&mut attempts, 1, now), ClaimAnswer::Gone));
}

#[test]
fn an_interrupted_attempt_whose_worker_falls_silent_is_lost() {
    let now = Instant::now();
    let mut attempts = two_expected(now);
    claim(&mut attempts, 1, now);
    attempts.interrupt(&attempt(1), now);
    let silent = now + Duration::from_millis(CoordinatorSettings::default().attempt_deadline_ms);
    let lost = Command::Lose { agent: 1, attempt: 1, ours: false };
    assert_eq!(attempts.verdicts(silent).first(), Some(&(attempt(1), lost)));
}
