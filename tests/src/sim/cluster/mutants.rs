//! Planted bugs of a cluster, as wrappers around the product and the workers: the simulation must find each of them.

use super::coordinator::pool;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Journal, JournalError};
use skein_common::wire::{Claim, ClaimAnswer};
use skein_common::{AttemptToken, RunId};
use skein_coordinator::attempts::Attempts;
use std::sync::Arc;
use std::time::Instant;

/// What is wrong with a simulated cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterMutant {
    /// A successor answers claims of attempts that it inherited at once.
    HastySuccessor,
    /// A heartbeat that was sent before an owner asked for it counts as the answer.
    HastyRound,
    /// What the earlier life of a worker had is not lost, and goes on to be extended.
    ImmortalWorker,
    /// A second worker may claim what another one has.
    SecondClaim,
    /// An owner answers workers although its lease has ended.
    DeposedAnswers,
    /// The journal takes records of whoever writes, wherever it ends.
    OpenJournal,
}

impl ClusterMutant {
    pub const ALL: [ClusterMutant; 6] = [
        ClusterMutant::HastySuccessor,
        ClusterMutant::HastyRound,
        ClusterMutant::ImmortalWorker,
        ClusterMutant::SecondClaim,
        ClusterMutant::DeposedAnswers,
        ClusterMutant::OpenJournal,
    ];

    /// The answer to a claim, and what is wrong about it.
    pub(super) fn claim(
        self,
        attempts: &mut Attempts,
        claim: &Claim,
        token: AttemptToken,
        now: Instant,
    ) -> Option<ClaimAnswer> {
        let answer = attempts.claim(claim, token, now);
        let is_wrong = match self {
            ClusterMutant::HastySuccessor => answer.is_none() && !attempts.is_reading(&claim.attempt.run),
            ClusterMutant::SecondClaim => answer == Some(ClaimAnswer::Gone),
            _ => false,
        };
        if is_wrong {
            attempts.forget(&claim.attempt, now);
            attempts.expect(claim.attempt.clone(), pool(), now);
            return attempts.claim(claim, token, now);
        }
        answer
    }
}

/// Stores what comes.
pub(super) struct OpenJournal(pub Arc<dyn Journal>);

#[async_trait]
impl Journal for OpenJournal {
    async fn append(&self, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, JournalError> {
        match self.0.append(run, expected, records.clone()).await {
            Err(JournalError::Conflict { actual, .. }) => self.0.append(run, actual, records).await,
            stored => stored,
        }
    }

    async fn read(&self, run: &RunId, from: u64) -> Result<Vec<Bytes>, JournalError> {
        self.0.read(run, from).await
    }

    async fn list(&self) -> Result<Vec<RunId>, JournalError> {
        self.0.list().await
    }

    async fn remove(&self, run: &RunId) -> Result<(), JournalError> {
        self.0.remove(run).await
    }

    fn durability(&self) -> String {
        self.0.durability()
    }
}
