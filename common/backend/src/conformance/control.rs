//! Checks of the contract of `Control`.

use super::world::{Checked, World, eventually, new_run};
use bytes::Bytes;
use skein_common::ports::{Control, ControlError, ControlServer, FeedItem, FeedSubscription};
use std::sync::Arc;

pub async fn a_request_reaches_the_server_and_its_reply_the_asker(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let server = control.serve().await?;
    tokio::spawn(answer_all(server, "answer to "));
    let asking: Vec<_> = (0..20).map(|n| ask(&control, format!("question {n}"))).collect();
    for (n, answer) in asking.into_iter().enumerate() {
        assert_eq!(answer.await??, format!("answer to question {n}"));
    }
    Ok(())
}

pub async fn with_nobody_serving_request_answers_no_answer(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    assert_no_answer(ask(&control, "anybody?".to_owned()).await?);
    Ok(())
}

pub async fn a_server_that_drops_the_request_gives_no_answer(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let mut server = control.serve().await?;
    let asking = ask(&control, "you?".to_owned());
    drop(server.next().await);
    assert_no_answer(asking.await?);
    Ok(())
}

pub async fn a_server_that_is_gone_gives_no_answer(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    drop(control.serve().await?);
    assert_no_answer(ask(&control, "still there?".to_owned()).await?);
    Ok(())
}

pub async fn a_question_to_all_owners_is_answered_by_those_that_serve(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let mut answers = control.ask_owners(Bytes::from_static(b"anybody?")).await?;
    assert_eq!(answers.next().await, None, "nobody serves");
    tokio::spawn(answer_all(control.serve().await?, "answer to "));
    for n in 0..20 {
        let mut answers = control.ask_owners(Bytes::from(format!("question {n}"))).await?;
        let answer = answers.next().await;
        assert!(answer.is_none_or(|answer| answer == format!("answer to question {n}")), "its own or a lost one");
    }
    let answered = eventually(async || control.ask_owners(Bytes::from_static(b"now?")).await.ok()?.next().await).await;
    assert_eq!(answered, "answer to now?");
    Ok(())
}

pub async fn a_later_server_replaces_the_earlier(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let mut earlier = control.serve().await?;
    let later = control.serve().await?;
    assert!(earlier.next().await.is_none());
    tokio::spawn(answer_all(later, "the later to "));
    assert_eq!(ask(&control, "who?".to_owned()).await??, "the later to who?");
    Ok(())
}

pub async fn a_broadcast_reaches_every_subscriber_in_order(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let mut subscribers = [control.subscribe().await?, control.subscribe().await?];
    for n in 0..100 {
        control.broadcast(numbered(n)).await?;
    }
    for subscriber in &mut subscribers {
        assert_grows_to(&mut **subscriber, 99).await;
    }
    Ok(())
}

pub async fn a_broadcast_reaches_no_later_subscriber(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let mut early = control.subscribe().await?;
    control.broadcast(numbered(0)).await?;
    assert_grows_to(&mut *early, 0).await;
    let mut late = control.subscribe().await?;
    control.broadcast(numbered(1)).await?;
    assert_eq!(late.next().await, Some(FeedItem::Item(numbered(1))));
    Ok(())
}

pub async fn a_broadcast_never_blocks(world: &dyn World) -> Checked {
    let control = world.process().await?.control;
    let mut idle = control.subscribe().await?;
    for n in 0..20_000 {
        control.broadcast(numbered(n)).await?;
    }
    assert_grows_to(&mut *idle, 19_999).await;
    Ok(())
}

/// Reads until the item of this number, which a backend that loses nothing at the end delivers.
async fn assert_grows_to(subscriber: &mut dyn FeedSubscription, last: u32) {
    let mut newest = None;
    while newest != Some(numbered(last)) {
        match subscriber.next().await {
            Some(FeedItem::Item(item)) => {
                assert!(Some(&item) > newest.as_ref(), "{item:?} after {newest:?}");
                newest = Some(item);
            }
            Some(FeedItem::Missed(_)) => {}
            None => assert_eq!(newest, Some(numbered(last)), "the subscription ended"),
        }
    }
}

async fn answer_all(mut server: Box<dyn ControlServer>, prefix: &'static str) {
    while let Some(asked) = server.next().await {
        let answer = [prefix.as_bytes(), &asked.request].concat();
        asked.reply.send(Bytes::from(answer));
    }
}

fn ask(control: &Arc<dyn Control>, question: String) -> tokio::task::JoinHandle<Result<Bytes, ControlError>> {
    let control = control.clone();
    tokio::spawn(async move { control.request(&new_run(), Bytes::from(question)).await })
}

fn assert_no_answer(answer: Result<Bytes, ControlError>) {
    assert!(matches!(answer, Err(ControlError::NoAnswer)), "{answer:?}");
}

fn numbered(n: u32) -> Bytes {
    Bytes::from(format!("message {n:05}"))
}
