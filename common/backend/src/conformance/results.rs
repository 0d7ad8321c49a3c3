//! Checks of the contract of `Results`.

use super::world::{Checked, World, new_run};
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{ResultDelivery, Results, ResultsError};
use std::collections::BTreeSet;

pub async fn a_published_result_is_delivered(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let run = new_run();
    results.publish(&run, Bytes::from_static(b"ended")).await?;
    let delivered = results.consume(1).await?.remove(0);
    assert_eq!((delivered.run, delivered.result), (run, Bytes::from_static(b"ended")));
    Ok(())
}

pub async fn results_of_one_publisher_are_delivered_in_order(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let runs = [new_run(), new_run()];
    for n in 0..50 {
        for run in &runs {
            results.publish(run, numbered(n)).await?;
        }
    }
    let delivered = consume_distinct(&*results, 100).await?;
    for run in &runs {
        let of_run: Vec<_> = delivered.iter().filter(|(of, _)| of == run).map(|(_, result)| result.clone()).collect();
        assert_eq!(of_run, (0..50).map(numbered).collect::<Vec<_>>());
    }
    Ok(())
}

pub async fn a_result_that_is_done_is_not_delivered_again(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let run = new_run();
    results.publish(&run, Bytes::from_static(b"first")).await?;
    let delivery = results.consume(1).await?.remove(0).delivery;
    results.done(delivery).await?;
    results.done(delivery).await?;
    results.publish(&run, Bytes::from_static(b"second")).await?;
    let next = results.consume(10).await?;
    assert!(next.iter().all(|delivery| delivery.result == "second"), "{next:?}");
    Ok(())
}

pub async fn what_was_consumed_and_is_not_done_comes_again_after_redeliver(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let (run, other) = (new_run(), new_run());
    for text in ["done", "lost", "waiting"] {
        results.publish(&run, Bytes::from_static(text.as_bytes())).await?;
    }
    let consumed = results.consume(2).await?;
    results.done(consumed[0].delivery).await?;
    results.redeliver(&other).await?;
    results.redeliver(&run).await?;
    let again = consume_distinct(&*results, 2).await?;
    let again: BTreeSet<_> = again.into_iter().map(|(_, result)| result).collect();
    assert_eq!(again, BTreeSet::from([Bytes::from_static(b"lost"), Bytes::from_static(b"waiting")]));
    Ok(())
}

pub async fn results_of_different_runs_do_not_wait_for_each_others_done(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let runs: Vec<RunId> = (0..10).map(|_| new_run()).collect();
    for run in &runs {
        results.publish(run, Bytes::from_static(b"ended")).await?;
    }
    let mut delivered = BTreeSet::new();
    while delivered.len() < runs.len() {
        delivered.extend(results.consume(1).await?.into_iter().map(|delivery| delivery.run)); // Never done.
    }
    Ok(())
}

pub async fn consume_answers_with_one_to_max_results(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let run = new_run();
    for n in 0..10 {
        results.publish(&run, numbered(n)).await?;
    }
    let mut delivered = BTreeSet::new();
    while delivered.len() < 10 {
        let some = results.consume(3).await?;
        assert!((1..=3).contains(&some.len()), "{}", some.len());
        delivered.extend(some.into_iter().map(|delivery| delivery.result));
    }
    Ok(())
}

pub async fn consume_waits_while_there_is_none(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let consumer = results.clone();
    let consuming = tokio::spawn(async move { consumer.consume(5).await });
    tokio::task::yield_now().await;
    results.publish(&new_run(), Bytes::from_static(b"late")).await?;
    assert_eq!(consuming.await??[0].result, "late");
    Ok(())
}

pub async fn dropping_a_consume_loses_nothing(world: &dyn World) -> Checked {
    let results = world.process().await?.results;
    let run = new_run();
    let mut delivered = BTreeSet::new();
    for n in 0..50 {
        let consumer = results.clone();
        let consuming = tokio::spawn(async move { consumer.consume(1).await });
        tokio::task::yield_now().await;
        let (published, ()) = tokio::join!(results.publish(&run, numbered(n)), async { consuming.abort() });
        published?;
        // The consume answered before it could be dropped, or it took nothing.
        if let Ok(answer) = consuming.await {
            delivered.extend(done(&*results, answer?).await?.into_iter().map(|(_, result)| result));
        }
    }
    let missing = 50 - delivered.len();
    delivered.extend(consume_distinct(&*results, missing).await?.into_iter().map(|(_, result)| result));
    assert_eq!(delivered.len(), 50);
    Ok(())
}

/// Consumes until so many different results have come, and marks them done.
async fn consume_distinct(results: &dyn Results, count: usize) -> Result<Vec<(RunId, Bytes)>, ResultsError> {
    let (mut seen, mut delivered) = (BTreeSet::new(), Vec::new());
    while delivered.len() < count {
        let some = results.consume(7).await?;
        delivered.extend(done(results, some).await?.into_iter().filter(|result| seen.insert(result.clone())));
    }
    Ok(delivered)
}

async fn done(results: &dyn Results, some: Vec<ResultDelivery>) -> Result<Vec<(RunId, Bytes)>, ResultsError> {
    let mut delivered = Vec::new();
    for delivery in some {
        results.done(delivery.delivery).await?;
        delivered.push((delivery.run, delivery.result));
    }
    Ok(delivered)
}

fn numbered(n: u32) -> Bytes {
    Bytes::from(format!("result {n:04}"))
}
