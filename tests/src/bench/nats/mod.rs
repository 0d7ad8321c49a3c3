//! The benchmark on a cluster: server, coordinator and worker are processes, and a client submits over HTTP.

mod observer;
mod process;
mod round_trip;
mod scan;
mod site;
mod takeover;
mod w5;
mod workloads;

use super::Workload;
use super::figures::Sample;
use site::Flushes;
use std::path::Path;

/// Measures once.
pub async fn measure(workload: Workload, dir: &Path, unflushed: bool) -> anyhow::Result<Sample> {
    let flushes = if unflushed { Flushes::Sometimes } else { Flushes::Always };
    match workload {
        Workload::W1 => workloads::w1(dir, flushes).await,
        Workload::W2 => workloads::w2(dir, flushes).await,
        Workload::W3 => workloads::w3(dir, flushes).await,
        Workload::W4 => workloads::w4(dir, flushes).await,
        Workload::W5 => w5::kill_each(dir, flushes).await,
        Workload::Memory => workloads::memory(dir, flushes).await,
        Workload::RoundTrip => round_trip::round_trip(dir).await,
        Workload::Takeover => takeover::takeover(dir, flushes).await,
        Workload::Scan => scan::scan(dir, flushes).await,
        Workload::Replay | Workload::Hostile | Workload::Many | Workload::All => {
            anyhow::bail!("measured with the embedded backend only")
        }
    }
}
