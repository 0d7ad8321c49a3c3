//! Clusters whose queues are looked at.

use crate::conformance::{eventually, new_run};
use crate::nats::NatsBackend;
use crate::nats::tests::world::{NatsWorld, SHARDS, new_cluster};
use bytes::Bytes;
use serde_json::{Value, json};
use skein_common::RunId;
use skein_common::ports::{BoxError, Shard, shard_of};

/// Longer than any test: what depends on this time passing never comes.
pub const NEVER_MS: u64 = 3_600_000;

/// A cluster where what is not marked done is delivered again after this time.
pub fn again_after(url: String, ack_wait_ms: u64) -> NatsWorld {
    let mut settings = new_cluster(url);
    settings.ack_wait_ms = ack_wait_ms;
    NatsWorld::with(settings)
}

/// A cluster where nothing is delivered again because time passes.
pub fn patient(url: String) -> NatsWorld {
    again_after(url, NEVER_MS)
}

/// A new run of this shard.
pub fn run_of(shard: Shard) -> RunId {
    std::iter::repeat_with(new_run).find(|run| shard_of(run, SHARDS) == shard).expect("a run of the shard")
}

/// What the server says of a stream or a consumer.
pub async fn info(process: &NatsBackend, what: &str) -> Result<Value, BoxError> {
    Ok(process.bus.connection.ask(what, &json!({})).await?)
}

/// Waits until the server says of a consumer that this number is as wanted.
pub async fn consumer_has(process: &NatsBackend, stream: &str, name: &str, field: &str, wanted: impl Fn(u64) -> bool) {
    eventually(async || {
        let info = info(process, &format!("CONSUMER.INFO.{stream}.{name}")).await.ok()?;
        wanted(info[field].as_u64()?).then_some(())
    })
    .await;
}

/// Waits until the stream holds so many messages.
pub async fn stream_holds(process: &NatsBackend, stream: &str, messages: u64) {
    eventually(async || {
        let info = info(process, &format!("STREAM.INFO.{stream}")).await.ok()?;
        (info["state"]["messages"].as_u64()? == messages).then_some(())
    })
    .await;
}

/// A text of its own for each number.
pub fn numbered(n: u32) -> Bytes {
    Bytes::from(format!("message {n:05}"))
}
