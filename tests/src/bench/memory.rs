//! Memory: of a process that waits, and of one that did W1 to W4.

use super::figures::Sample;
use super::measure::memory_mb;
use super::rig::Rig;
use super::workloads::{do_w1, do_w2, do_w3, do_w4};
use std::path::Path;
use std::time::Duration;

/// Hosts that were killed are gone then.
const REST: Duration = Duration::from_millis(300);

pub async fn memory(store: &Path) -> anyhow::Result<Sample> {
    let rig = Rig::start(store).await?;
    tokio::time::sleep(REST).await;
    let idle_mb = memory_mb();
    do_w1(&rig).await?;
    do_w2(&rig).await?;
    do_w3(&rig).await?;
    do_w4(&rig).await?;
    tokio::time::sleep(REST).await;
    let after_mb = memory_mb();
    rig.stop().await;
    Ok(Sample::from([(String::from("idle_mb"), idle_mb), (String::from("after_w1_to_w4_mb"), after_mb)]))
}
