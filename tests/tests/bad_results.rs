//! Results that name a text which nobody has: the attempt counts as failed, and its run goes on.

use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{BlobError, Blobs, Ports, ResultDelivery, Results, ResultsError};
use skein_common::wire::{AttemptEnd, AttemptReport, decode, encode};
use skein_common::{Digest, Payload, RunId};
use skein_coordinator::RunOutcome;
use skein_script::HostLimits;
use skein_tests::system::System;
use std::sync::Arc;

/// What a worker that is wrong, or hostile, names as the result of an agent.
#[derive(Debug, Clone, Copy)]
enum Named {
    NeverPut,
    NoText,
    NoDigest,
    /// It is all there.
    Text,
}

const ALL: [Named; 4] = [Named::NeverPut, Named::NoText, Named::NoDigest, Named::Text];

/// Replaces the result of each agent by what its number says, in so many attempts.
struct Wrong {
    ports: Ports,
    attempts: u32,
}

impl Wrong {
    async fn replaced(&self, run: &RunId, mut report: AttemptReport) -> AttemptReport {
        let named = ALL[(report.attempt.agent - 1) as usize % ALL.len()];
        let digest = match named {
            Named::NeverPut => Digest::of(b"never put"),
            Named::NoText => self.put(run, b"\xff\xfe").await,
            Named::NoDigest => Digest(String::from("> *")),
            Named::Text => self.put(run, b"a text").await,
        };
        report.end = AttemptEnd::Done { value: Payload::TextBlob { digest, bytes: 2 } };
        report
    }

    async fn put(&self, run: &RunId, bytes: &'static [u8]) -> Digest {
        self.ports.blobs.put(run, Bytes::from_static(bytes)).await.unwrap_or_else(|error| unreachable!("{error}"))
    }
}

#[async_trait]
impl Results for Wrong {
    async fn publish(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        let report: AttemptReport = decode(&result).unwrap_or_else(|error| unreachable!("no report: {error}"));
        if report.attempt.attempt > self.attempts {
            return self.ports.results.publish(run, result).await;
        }
        let report = self.replaced(run, report).await;
        let result = encode(&report).unwrap_or_else(|error| unreachable!("not written: {error}"));
        self.ports.results.publish(run, result).await
    }

    async fn queue(&self, run: &RunId, result: Bytes) -> Result<(), ResultsError> {
        self.ports.results.queue(run, result).await
    }

    async fn consume(&self, max: usize) -> Result<Vec<ResultDelivery>, ResultsError> {
        self.ports.results.consume(max).await
    }

    async fn redeliver(&self, run: &RunId) -> Result<(), ResultsError> {
        self.ports.results.redeliver(run).await
    }

    async fn done(&self, delivery: u64) -> Result<(), ResultsError> {
        self.ports.results.done(delivery).await
    }
}

/// Blobs that do not answer.
struct Away(Arc<dyn Blobs>);

#[async_trait]
impl Blobs for Away {
    async fn put(&self, run: &RunId, bytes: Bytes) -> Result<Digest, BlobError> {
        self.0.put(run, bytes).await
    }

    async fn get(&self, _: &RunId, _: &Digest) -> Result<Bytes, BlobError> {
        Err(BlobError::Unavailable { source: "nobody answers".into() })
    }

    async fn remove_run(&self, run: &RunId) -> Result<(), BlobError> {
        self.0.remove_run(run).await
    }
}

fn wrong(attempts: u32) -> impl FnOnce(Ports) -> Ports {
    move |ports| Ports { results: Arc::new(Wrong { ports: ports.clone(), attempts }), ..ports }
}

const BODY: &str = "return await parallel(Array.from({ length: 4 }, (_, i) => () => agent('agent ' + i)))";

#[test]
fn c23_a_result_that_nobody_has_is_a_failed_attempt_and_the_next_one_counts() {
    actix::System::new().block_on(async {
        let system = System::start_with_both(HostLimits::default(), |ports| ports, wrong(1)).await;
        let view = system.run(BODY).await;
        assert_eq!((view.agents.done, view.agents.failed), (4, 0), "{:?}", view.failures);
        let result = view.result.map(|json| json.get().to_owned()).unwrap_or_default();
        assert!(result.ends_with(r#","a text"]"#) && !result.contains("null"), "{result}");
        system.stop().await;
    });
}

#[test]
fn c23_results_that_nobody_ever_has_end_in_null() {
    actix::System::new().block_on(async {
        let system = System::start_with_both(HostLimits::default(), |ports| ports, wrong(u32::MAX)).await;
        let view = system.run(BODY).await;
        let result = view.result.map(|json| json.get().to_owned());
        assert_eq!(result.as_deref(), Some(r#"[null,null,null,"a text"]"#));
        assert_eq!((view.agents.done, view.agents.failed), (1, 3), "{:?}", view.failures);
        let why = |part: &str| view.failures.iter().any(|failure| format!("{failure:?}").contains(part));
        assert!(why("is missing") && why("is not text") && why("a digest that is none"), "{:?}", view.failures);
        system.stop().await;
    });
}

#[test]
fn a_store_that_does_not_answer_is_no_failure_of_an_attempt() {
    actix::System::new().block_on(async {
        let away = |ports: Ports| Ports { blobs: Arc::new(Away(ports.blobs.clone())), ..ports };
        let system = System::start_with_both(HostLimits::default(), away, wrong(u32::MAX)).await;
        let outcome = system.run_spec(skein_tests::system::spec(BODY)).await;
        let RunOutcome::Interrupted { reason } = outcome else { unreachable!("the run waits: {outcome:?}") };
        assert!(reason.contains("nobody answers"), "{reason}");
        system.stop().await;
    });
}
