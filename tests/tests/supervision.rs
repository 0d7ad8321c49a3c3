//! What happens to a run when the journal misbehaves or its actor dies: wrappers around the Journal port stand in for a
//! bug, a broken connection and a full disk.
#![expect(clippy::panic, reason = "a planted bug")]

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{Journal, JournalError, Ports};
use skein_common::run::RunStatus;
use skein_coordinator::RunOutcome;
use skein_script::HostLimits;
use skein_tests::system::{System, spec};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the journal does instead, once, at the append of this number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mischief {
    /// The caller's actor dies.
    Panic,
    /// Stored, but the caller is not told.
    StoredUnknown,
    /// Not stored, and the caller is not told.
    LostUnknown,
    /// Certainly not stored.
    Refuse,
}

struct Mischievous {
    inner: Arc<dyn Journal>,
    mischief: Mischief,
    at: u32,
    appends: Arc<AtomicU32>,
}

#[async_trait]
impl Journal for Mischievous {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        let unknown = || JournalError::Unknown { source: "the connection broke".into() };
        if self.appends.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return self.inner.append(run, expected, records).await;
        }
        match self.mischief {
            Mischief::Panic => panic!("a planted bug"),
            Mischief::StoredUnknown => {
                self.inner.append(run, expected, records).await?;
                Err(unknown())
            }
            Mischief::LostUnknown => Err(unknown()),
            Mischief::Refuse => Err(JournalError::Refused { reason: String::from("disk full") }),
        }
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        self.inner.read(run, from).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.inner.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.inner.remove(run).await
    }

    fn durability(&self) -> String {
        self.inner.durability()
    }
}

const BODY: &str = "const all = []
    for (let round = 0; round < 10; round++)
        all.push(...await parallel([1, 2, 3, 4].map(i => () => agent(`round ${round} agent ${i}`))))
    return all.filter(text => typeof text === 'string').length";

/// Runs the body with one mischief at each of the first appends; gives the outcomes.
fn with_mischief(mischief: Mischief) -> Vec<RunOutcome> {
    actix::System::new().block_on(async {
        let mut outcomes = Vec::new();
        // The first append is the submission's own.
        for at in 2..10 {
            let appends = Arc::new(AtomicU32::new(0));
            let counted = appends.clone();
            let wrap = |ports: Ports| {
                let journal = Arc::new(Mischievous { inner: ports.journal.clone(), mischief, at, appends: counted });
                Ports { journal, ..ports }
            };
            let system = System::start_with(HostLimits::default(), wrap).await;
            outcomes.push(system.run_spec(spec(BODY)).await);
            assert!(appends.load(Ordering::SeqCst) >= at, "the mischief happened");
            system.stop().await;
        }
        outcomes
    })
}

fn assert_all_right(outcomes: Vec<RunOutcome>) {
    for (index, outcome) in outcomes.into_iter().enumerate() {
        let RunOutcome::Ended(view) = outcome else { unreachable!("case {index}: {outcome:?}") };
        assert_eq!(view.status, RunStatus::Completed, "case {index}: {:?}", view.error);
        assert_eq!(view.result.as_ref().map(|json| json.get()), Some("40"), "case {index}");
        assert_eq!((view.agents.started, view.agents.done), (40, 40), "case {index}");
    }
}

#[test]
fn a_run_whose_actor_panics_is_rebuilt_from_its_journal_and_completes() {
    assert_all_right(with_mischief(Mischief::Panic));
}

#[test]
fn an_append_of_unknown_outcome_that_was_stored_goes_on() {
    assert_all_right(with_mischief(Mischief::StoredUnknown));
}

#[test]
fn an_append_of_unknown_outcome_that_was_lost_is_rebuilt() {
    assert_all_right(with_mischief(Mischief::LostUnknown));
}

#[test]
fn a_refused_append_leaves_the_run_interrupted_with_the_reason() {
    for outcome in with_mischief(Mischief::Refuse) {
        let RunOutcome::Interrupted { reason } = outcome else { unreachable!("{outcome:?}") };
        assert!(reason.contains("disk full"), "{reason}");
    }
}
