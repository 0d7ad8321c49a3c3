//! Results on the short way: straight to the owner of their run, who answers when its journal has them. What nobody
//! answers for goes into the queue of results, which lasts.

use super::backend::Bus;
use super::background::Background;
use super::bundle::{Answer, Bundler, parts_of};
use super::inbox::Inbox;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use skein_common::RunId;
use skein_common::ports::Shard;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An owner answers within some milliseconds. One that does not has died, or has so much to do that the queue should
/// hold what it cannot.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// For so long after no answer the owner of a shard is not asked again, at first and at most; doubled each time.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Between the id of the run and its result. No id has it.
const END_OF_RUN: u8 = b'\n';

/// Offers results to owners.
#[derive(Debug)]
pub(super) struct Direct {
    bus: Arc<Bus>,
    bundler: Bundler,
    /// Shards whose owners did not answer.
    paused: Mutex<BTreeMap<Shard, Pause>>,
}

#[derive(Debug, Clone, Copy)]
struct Pause {
    length: Duration,
    until: Instant,
}

impl Direct {
    pub fn new(bus: Arc<Bus>) -> Direct {
        let bundler = Bundler::start(&bus.connection);
        Direct { bus, bundler, paused: Mutex::default() }
    }

    fn paused(&self) -> MutexGuard<'_, BTreeMap<Shard, Pause>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_paused(&self, shard: Shard) -> bool {
        self.paused().get(&shard).is_some_and(|pause| Instant::now() < pause.until)
    }

    fn pause(&self, shard: Shard) {
        let (first, longest) = PAUSE;
        let mut paused = self.paused();
        let length = paused.get(&shard).map_or(first, |before| longest.min(before.length * 2));
        paused.insert(shard, Pause { length, until: Instant::now() + length });
    }

    /// Whether the owner has it in its journal, or says that nobody needs it. Else it may have it all the same.
    pub async fn offer(&self, run: &RunId, result: &Bytes) -> bool {
        let shard = self.bus.shard(run);
        if self.is_paused(shard) {
            return false;
        }
        let subject = self.bus.names.ends(shard);
        match self.bundler.ask(subject, addressed(run, result), ANSWER_WITHIN).await {
            Answer::Here(_) => {
                self.paused().remove(&shard);
                true
            }
            Answer::Lost => {
                self.pause(shard);
                false
            }
            Answer::Dropped | Answer::Nobody => false,
        }
    }
}

/// Takes what is offered for the runs of a shard into the inbox, as long as it lives.
///
/// # Errors
/// When the connection is closed.
pub(super) async fn listen(
    bus: &Bus,
    shard: Shard,
    inbox: Arc<Inbox>,
) -> Result<Background, async_nats::SubscribeError> {
    let client = bus.connection.client().clone();
    let mut offers = client.subscribe(bus.names.ends(shard)).await?;
    Ok(Background::start(async move {
        while let Some(message) = offers.next().await {
            for (offer, answer) in parts_of(&client, message) {
                // Who offers nonsense is told that nobody takes it.
                if let Some(offer) = read(&offer) {
                    inbox.put_offer(shard, offer, answer, ANSWER_WITHIN);
                }
            }
        }
    }))
}

fn addressed(run: &RunId, result: &Bytes) -> Bytes {
    let run = run.as_str();
    let mut offer = BytesMut::with_capacity(run.len() + 1 + result.len());
    offer.put_slice(run.as_bytes());
    offer.put_u8(END_OF_RUN);
    offer.put_slice(result);
    offer.freeze()
}

fn read(offer: &Bytes) -> Option<(RunId, Bytes)> {
    let end = offer.iter().position(|byte| *byte == END_OF_RUN)?;
    let run = std::str::from_utf8(&offer[..end]).ok()?.parse().ok()?;
    Some((run, offer.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_names_its_run() {
        let run: RunId = "wf_01kb3v9m5c7w8t3xq2r4y6z8a0".parse().expect("an id");
        let result = Bytes::from_static(b"a\nb");
        assert_eq!(read(&addressed(&run, &result)), Some((run, result)));
        for nonsense in ["", "no run", "no\nrun", "\n"] {
            assert_eq!(read(&Bytes::from(nonsense)), None, "{nonsense:?}");
        }
    }
}
