//! Prints what a cluster's journal costs on a server that is started for it: appends one after the other and in many
//! runs at once, beside a plain question and answer through the same server, and reading a run back.
//!
//! `cargo run --release -p skein-backend --features test-server --example nats_cost ["sync_interval: always"]`
#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use bytes::Bytes;
use futures::StreamExt as _;
use skein_backend::conformance::new_run;
use skein_backend::nats::server::{TestServer, Version};
use skein_backend::nats::{NatsBackend, NatsConfig};
use skein_common::RunId;
use skein_common::config::NatsSettings;
use skein_common::ports::{BoxError, Journal, JournalError};
use std::sync::Arc;
use std::time::{Duration, Instant};

const EVENT_BYTES: usize = 300;
const READ_EVENTS: u64 = 3_000;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let more = std::env::args().nth(1).unwrap_or_default();
    let lines = if more.is_empty() { more } else { format!("jetstream {{ store_dir: \"{{dir}}/store\", {more} }}") };
    let server = TestServer::start_with(Version::New, &lines).await?;
    let settings = NatsSettings { url: server.url(), ..NatsSettings::default() };
    let start = Instant::now();
    let backend = NatsBackend::connect(NatsConfig::new(settings.clone())).await?;
    println!("making a cluster: {:?}", start.elapsed());
    let start = Instant::now();
    NatsBackend::connect(NatsConfig::new(settings)).await?;
    println!("joining it: {:?}", start.elapsed());
    let journal = backend.ports().journal;
    print_latencies("question and answer", ask(&server).await?);
    for events in [1, 50] {
        print_latencies(&format!("append of {events}"), append(&*journal, &new_run(), 2_000, events).await?);
    }
    at_once(&journal).await?;
    for events in [1, 50] {
        read(&*journal, events).await?;
    }
    Ok(())
}

async fn ask(server: &TestServer) -> Result<Vec<Duration>, BoxError> {
    let (asker, answerer) = (async_nats::connect(server.url()).await?, async_nats::connect(server.url()).await?);
    let mut questions = answerer.subscribe("question").await?;
    answerer.flush().await?;
    let answering = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let Some(reply) = question.reply else { continue };
            answerer.publish(reply, question.payload).await?;
        }
        Ok::<_, async_nats::PublishError>(())
    });
    let mut latencies = Vec::new();
    for _ in 0..2_000 {
        let start = Instant::now();
        asker.request("question", event(1)).await?;
        latencies.push(start.elapsed());
    }
    answering.abort();
    Ok(latencies)
}

async fn append(journal: &dyn Journal, run: &RunId, times: u64, events: u64) -> Result<Vec<Duration>, JournalError> {
    let mut latencies = Vec::new();
    for batch in 0..times {
        let records = (0..events).map(event).collect();
        let start = Instant::now();
        journal.append(run, batch * events, records).await?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

async fn at_once(journal: &Arc<dyn Journal>) -> Result<(), BoxError> {
    let start = Instant::now();
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let journal = journal.clone();
        appending.spawn(async move { append(&*journal, &new_run(), 200, 1).await });
    }
    for appended in appending.join_all().await {
        appended?;
    }
    println!("64 runs at once: {:.0} appends a second", 64.0 * 200.0 / start.elapsed().as_secs_f64());
    Ok(())
}

async fn read(journal: &dyn Journal, events: u64) -> Result<(), BoxError> {
    let run = new_run();
    append(journal, &run, READ_EVENTS / events, events).await?;
    let mut latencies = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let read = journal.read(&run, 0).await?;
        latencies.push(start.elapsed());
        if read.len() as u64 != READ_EVENTS {
            return Err(format!("{} events were read", read.len()).into());
        }
    }
    print_latencies(&format!("reading {READ_EVENTS} events, {events} in a message"), latencies);
    Ok(())
}

fn event(number: u64) -> Bytes {
    let text = format!("type\u{4}task_ended agent {number} attempt 1 outcome completed usage input_tokens 0 ");
    Bytes::from(text.repeat(EVENT_BYTES / text.len() + 1))
}

fn print_latencies(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort();
    let mean = latencies.iter().sum::<Duration>() / u32::try_from(latencies.len()).unwrap_or(1);
    let at = |share: usize| latencies[latencies.len() * share / 100];
    println!("{what}: mean {mean:?}, p50 {:?}, p99 {:?}", at(50), at(99));
}
