//! Round trip: one agent after the other, beside plain requests and answers over the same server.

use super::site::{Flushes, Site};
use super::workloads::do_w2;
use crate::bench::figures::{Sample, quantile};
use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use std::path::Path;
use std::time::Instant;
use tokio::sync::oneshot;

const REQUESTS: usize = 2000;
const SUBJECT: &str = "bench.echo";
/// As large as a task.
const BODY: Bytes = Bytes::from_static(&[b'x'; 512]);

pub async fn round_trip(dir: &Path) -> anyhow::Result<Sample> {
    let mut figures = Sample::new();
    for (flushes, prefix) in [(Flushes::Sometimes, ""), (Flushes::Always, "flushed_")] {
        let mut site = Site::start_warm(&dir.join(format!("{prefix}site")), flushes).await?;
        let before_ms = raw(&site.server.url()).await?;
        let (_, steps_ms) = do_w2(&mut site).await?;
        let after_ms = raw(&site.server.url()).await?;
        let (raw_ms, agent_ms) = ((before_ms + after_ms) / 2.0, quantile(&steps_ms, 0.5));
        figures.insert(format!("{prefix}raw_ms"), raw_ms);
        figures.insert(format!("{prefix}agent_ms"), agent_ms);
        figures.insert(format!("{prefix}ratio"), agent_ms / raw_ms);
    }
    Ok(figures)
}

/// The median time of a request, whose answer comes from another connection of another thread.
async fn raw(url: &str) -> anyhow::Result<f64> {
    let (stop, stopped) = oneshot::channel();
    let (told, ready) = oneshot::channel();
    let address = url.to_owned();
    let echo = std::thread::spawn(move || echo(&address, told, stopped));
    ready.await.context("nobody echoes")?;
    let client = async_nats::connect(url).await?;
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        client.request(SUBJECT, BODY).await?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    drop(stop);
    echo.join().map_err(|_| anyhow::anyhow!("the echo died"))??;
    times.sort_by(f64::total_cmp);
    Ok(quantile(&times, 0.5))
}

/// Sends back what comes until nobody needs it.
fn echo(url: &str, ready: oneshot::Sender<()>, stopped: oneshot::Receiver<()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = async_nats::connect(url).await?;
        let mut requests = client.subscribe(SUBJECT).await?;
        client.flush().await?;
        let _nobody_waits = ready.send(());
        let echoing = async {
            while let Some(request) = requests.next().await {
                let Some(reply) = request.reply else { continue };
                if client.publish(reply, request.payload).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = echoing => {}
            _ = stopped => {}
        }
        Ok(())
    })
}
