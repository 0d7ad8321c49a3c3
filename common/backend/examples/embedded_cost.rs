//! Prints what an embedded store costs: the journal of a run of 1000 agents (130 appends of about 6 KiB, one after the
//! other), many runs at once, and the way of a task to a worker and back.
//!
//! `cargo run --release -p skein-backend --example embedded_cost [DIR]`; without DIR a fresh directory under `.`.
#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use bytes::Bytes;
use skein_backend::conformance::new_run;
use skein_backend::embedded::Store;
use skein_common::ports::{BoxError, JournalError, Target};
use std::path::Path;
use std::time::{Duration, Instant};

const APPENDS: u64 = 130;
const EVENTS_PER_APPEND: u64 = 31;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let scratch = tempfile::tempdir_in(".")?;
    let dir = std::env::args().nth(1).map_or(scratch.path().to_owned(), Into::into);
    let store = Store::open(&dir)?;
    for (kind, make) in [("events", events as fn(u64) -> Bytes), ("random bytes", random)] {
        let before = io_counters()?;
        let (latencies, bytes) = append_run(&store, make).await?;
        let after = io_counters()?;
        print_latencies(kind, bytes, latencies);
        println!("  given to write(): {} KiB, pages dirtied: {} KiB", after.0 - before.0, after.1 - before.1);
    }
    append_at_once(&store).await?;
    hop(&store).await?;
    let before = io_counters()?;
    drop(store);
    checkpoint(&dir)?;
    let after = io_counters()?;
    println!("checkpoint of both: write() {} KiB, pages {} KiB", after.0 - before.0, after.1 - before.1);
    Ok(())
}

async fn append_run(store: &Store, make: fn(u64) -> Bytes) -> Result<(Vec<Duration>, usize), BoxError> {
    let (journal, run) = (store.ports().journal, new_run());
    let (mut latencies, mut bytes) = (Vec::new(), 0);
    for expected in 0..APPENDS {
        let record = make(expected);
        bytes += record.len();
        let start = Instant::now();
        journal.append(&run, expected, vec![record]).await?;
        latencies.push(start.elapsed());
    }
    Ok((latencies, bytes))
}

async fn append_at_once(store: &Store) -> Result<(), BoxError> {
    let start = Instant::now();
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (journal, run) = (store.ports().journal, new_run());
        appending.spawn(async move {
            for expected in 0..10 {
                journal.append(&run, expected, vec![events(expected)]).await?;
            }
            Ok::<_, JournalError>(())
        });
    }
    for ended in appending.join_all().await {
        ended?;
    }
    println!("100 runs at once, 10 appends each: {:?}", start.elapsed());
    Ok(())
}

/// A task to a worker and its result back, one at a time.
async fn hop(store: &Store) -> Result<(), BoxError> {
    const HOPS: u32 = 20_000;
    let (ports, target, run) = (store.ports(), Target::Pool("default".to_owned()), new_run());
    let worker = store.ports();
    let (workers_target, workers_run) = (target.clone(), run.clone());
    let working = tokio::spawn(async move {
        for _ in 0..HOPS {
            for delivery in worker.tasks.pull(&workers_target, 1).await? {
                worker.results.publish(&workers_run, delivery.task).await?;
                worker.tasks.done(delivery.delivery).await?;
            }
        }
        Ok::<_, BoxError>(())
    });
    let start = Instant::now();
    for _ in 0..HOPS {
        ports.tasks.dispatch(&target, Bytes::from_static(b"task")).await?;
        for delivery in ports.results.consume(1).await? {
            ports.results.done(delivery.delivery).await?;
        }
    }
    println!("task out and result back between two threads: {:?}", start.elapsed() / HOPS);
    working.await?
}

/// Stands for MessagePack with named fields: names and constants repeat, ids and times differ.
fn events(batch: u64) -> Bytes {
    let mut text = String::new();
    for event in 0..EVENTS_PER_APPEND {
        let n = batch * EVENTS_PER_APPEND + event;
        let noise = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        text += &format!(
            "type\u{4}task_ended agent {n} attempt 1 outcome completed token {noise:016x} usage input_tokens 0 \
             output_tokens 0 cost 0 at_ms {} duration_ms {} result json \"answer of agent {n}\" worker node-0 ",
            1_780_000_000_000 + n * 3,
            noise % 9000
        );
    }
    Bytes::from(text)
}

fn random(batch: u64) -> Bytes {
    let mut state = batch | 1;
    let words = (0..768).flat_map(|_| {
        state = (state ^ (state << 13)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        state ^= state >> 7;
        state.to_le_bytes()
    });
    words.collect::<Vec<u8>>().into()
}

fn print_latencies(kind: &str, bytes: usize, mut latencies: Vec<Duration>) {
    latencies.sort();
    let mean = latencies.iter().sum::<Duration>() / u32::try_from(latencies.len()).unwrap_or(1);
    let at = |share: usize| latencies[latencies.len() * share / 100];
    println!("{APPENDS} appends of {kind}, {} KiB: mean {mean:?}, p50 {:?}, p99 {:?}", bytes / 1024, at(50), at(99));
}

/// KiB given to `write()`, and KiB of pages that it made dirty, which is what a disk gets.
fn io_counters() -> Result<(u64, u64), BoxError> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let counter = |name: &str| -> Result<u64, BoxError> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such counter")?;
        Ok(line.trim().parse::<u64>()? / 1024)
    };
    Ok((counter("wchar:")?, counter("write_bytes:")?))
}

fn checkpoint(dir: &Path) -> Result<(), BoxError> {
    let connection = rusqlite::Connection::open(dir.join("skein.db"))?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(())
}
