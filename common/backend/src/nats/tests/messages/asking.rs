//! Questions to owners: who is asked, and what an asker is told who gets no answer.

use super::cluster::numbered;
use crate::conformance::{Checked, new_run, within_deadline};
use crate::nats::server::Version;
use crate::nats::tests::world::{NatsWorld, new_cluster, shared};
use bytes::Bytes;
use skein_common::ports::{Control as _, ControlError, ControlServer};
use std::collections::BTreeSet;

const BOTH: [Version; 2] = [Version::New, Version::Old];

async fn answer_all(mut server: Box<dyn ControlServer>, answer: &'static str) {
    while let Some(asked) = server.next().await {
        asked.reply.send(Bytes::from_static(answer.as_bytes()));
    }
}

async fn drop_all(mut server: Box<dyn ControlServer>) {
    while let Some(asked) = server.next().await {
        drop(asked);
    }
}

#[tokio::test]
async fn workers_and_owners_ask_on_subjects_of_their_own() -> Checked {
    within_deadline(async {
        let cluster = NatsWorld::with(new_cluster(shared(Version::New).await?));
        let (owner, asker, run) = (cluster.owner().await?, cluster.backend().await?, new_run());
        tokio::spawn(answer_all(owner.messaging.control.serve().await?, "to a worker"));
        let unserved = asker.messaging.steering.request(&run, Bytes::new()).await;
        assert!(matches!(unserved, Err(ControlError::NoAnswer)), "{unserved:?}");
        tokio::spawn(answer_all(owner.messaging.steering.serve().await?, "to an owner"));
        assert_eq!(asker.messaging.control.request(&run, Bytes::new()).await?, "to a worker");
        assert_eq!(asker.messaging.steering.request(&run, Bytes::new()).await?, "to an owner");
        let mut answers = asker.messaging.steering.ask_owners(Bytes::new()).await?;
        assert_eq!(answers.next().await.as_deref(), Some(&b"to an owner"[..]));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_question_to_all_owners_is_answered_by_each_that_does_not_drop_it() -> Checked {
    within_deadline(async {
        for version in BOTH {
            let cluster = NatsWorld::with(new_cluster(shared(version).await?));
            let owners = [cluster.backend().await?, cluster.backend().await?, cluster.backend().await?];
            tokio::spawn(drop_all(owners[0].messaging.control.serve().await?));
            tokio::spawn(answer_all(owners[1].messaging.control.serve().await?, "one"));
            tokio::spawn(answer_all(owners[2].messaging.control.serve().await?, "two"));
            let worker = cluster.backend().await?;
            let mut answers = worker.messaging.control.ask_owners(Bytes::new()).await?;
            let heard = BTreeSet::from([answers.next().await, answers.next().await]);
            let expected = ["one", "two"].map(|answer| Some(Bytes::from_static(answer.as_bytes())));
            assert_eq!(heard, BTreeSet::from(expected));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn questions_that_nobody_read_are_answered_when_their_server_ends() -> Checked {
    within_deadline(async {
        let cluster = NatsWorld::with(new_cluster(shared(Version::New).await?));
        let (owner, asker) = (cluster.owner().await?, cluster.backend().await?);
        let mut server = owner.messaging.control.serve().await?;
        let asking: Vec<_> = (0..10)
            .map(|n| {
                let control = asker.messaging.control.clone();
                tokio::spawn(async move { control.request(&new_run(), numbered(n)).await })
            })
            .collect();
        let read = server.next().await.expect("a question");
        drop(server);
        drop(read);
        for answer in asking {
            let answer = answer.await?;
            assert!(matches!(answer, Err(ControlError::NoAnswer)), "{answer:?}");
        }
        Ok(())
    })
    .await
}
