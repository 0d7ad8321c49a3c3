//! Takeover: the owner of a run of 3000 events is killed, and another coordinator goes on with it.

use super::observer::{Heard, drain};
use super::site::{Flushes, PREFIX, Site};
use crate::bench::figures::Sample;
use crate::bench::workloads::w1_spec;
use crate::system::spec;
use anyhow::Context as _;
use skein_common::config::NatsSettings;
use skein_common::ports::shard_of;
use skein_common::run::RunSpec;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const AGENTS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);
/// The journal has the last of the results by then.
const REST: Duration = Duration::from_millis(300);

/// All agents end but one of a pool that nobody serves, so that its task goes out again after the takeover.
pub async fn takeover(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let mut site = Site::start(dir, flushes, 2, 1).await?;
    let mut late = site.observer.listen(format!("{PREFIX}.t.late")).await?;
    let mut results = site.observer.listen_to_questions(format!("{PREFIX}.e.*")).await?;
    let body = format!(
        "return await parallel([() => agent('late', {{ pool: 'late' }}), ...Array.from({{length: {}}}, (_, i) => () => agent('a' + i))])",
        AGENTS - 1
    );
    let run = site.submit(0, &RunSpec { limits: w1_spec().limits, ..spec(&body) }).await?;
    next(&mut late).await?;
    for _ in 1..AGENTS {
        next(&mut results).await?;
    }
    let shard = shard_of(&run, NatsSettings::default().shards);
    let mut leases = site.observer.listen(format!("$KV.{PREFIX}_leases.*")).await?;
    tokio::time::sleep(REST).await;
    let lease = Duration::from_millis(NatsSettings::default().lease_ms);
    let of_shard = |heard: &Heard| is_of_shard(heard, shard);
    // A lease is renewed every second: the next renewal is the last that counts.
    let mut renewed = loop {
        let heard = next(&mut leases).await?;
        if of_shard(&heard) {
            break heard.at;
        }
    };
    let killed = Instant::now();
    if let Some(owner) = site.coordinators.first_mut() {
        owner.kill();
    }
    // One may have been on its way.
    let dead = Instant::now();
    let again = next(&mut late).await?;
    for heard in drain(&mut leases).iter().filter(|heard| of_shard(heard) && heard.at <= dead) {
        renewed = renewed.max(heard.at);
    }
    let lost = renewed + lease;
    let ms = |since: Instant| again.at.saturating_duration_since(since).as_secs_f64() * 1e3;
    let events = site.stored(&run).await?.events.len() as f64;
    Ok(Sample::from([
        (String::from("from_kill_ms"), ms(killed)),
        (String::from("from_lease_lost_ms"), ms(lost)),
        (String::from("events"), events),
    ]))
}

fn is_of_shard(heard: &Heard, shard: u16) -> bool {
    let name = heard.message.subject.rsplit('.').next().unwrap_or_default();
    name.strip_prefix("shard-").and_then(|number| number.parse().ok()) == Some(shard)
}

async fn next(heard: &mut mpsc::UnboundedReceiver<Heard>) -> anyhow::Result<Heard> {
    let heard = tokio::time::timeout(PATIENCE, heard.recv()).await;
    heard.context("it does not come so far")?.context("the observer is gone")
}
