//! Checks of the contract of `Tasks`.

use super::world::{Checked, World, eventually};
use bytes::Bytes;
use skein_common::ports::{Target, Tasks, TasksError};
use std::collections::BTreeSet;
use std::sync::Arc;

pub async fn first_dispatched_is_first_delivered(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let sent = numbered(0..50);
    for task in &sent {
        tasks.dispatch(&pool(), task.clone()).await?;
    }
    assert_eq!(pull_distinct(&*tasks, &pool(), sent.len()).await?, sent);
    Ok(())
}

pub async fn a_task_is_delivered_to_one_puller_of_its_target(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let pullers: Vec<_> = (0..4)
        .map(|_| {
            let tasks = tasks.clone();
            tokio::spawn(async move { tasks.pull(&pool(), 1).await })
        })
        .collect();
    let sent = numbered(0..4);
    for task in &sent {
        tasks.dispatch(&Target::Pool("other".to_owned()), Bytes::from_static(b"not theirs")).await?;
        tasks.dispatch(&pool(), task.clone()).await?;
    }
    let mut pulled = Vec::new();
    for puller in pullers {
        pulled.extend(puller.await??.into_iter().map(|delivery| delivery.task));
    }
    pulled.sort();
    assert_eq!(pulled, sent);
    Ok(())
}

pub async fn a_pull_answers_with_one_to_max_tasks(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    for task in numbered(0..10) {
        tasks.dispatch(&pool(), task).await?;
    }
    let mut pulled = BTreeSet::new();
    while pulled.len() < 10 {
        let some = tasks.pull(&pool(), 3).await?;
        assert!((1..=3).contains(&some.len()), "{}", some.len());
        pulled.extend(some.into_iter().map(|delivery| delivery.task));
    }
    Ok(())
}

pub async fn a_pull_waits_while_there_is_none(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let puller = tasks.clone();
    let pulling = tokio::spawn(async move { puller.pull(&pool(), 5).await });
    tokio::task::yield_now().await;
    tasks.dispatch(&pool(), Bytes::from_static(b"late")).await?;
    assert_eq!(pulling.await??[0].task, "late");
    Ok(())
}

pub async fn dropping_a_pull_loses_no_task(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let (target, sent) = (pool(), numbered(0..50));
    let mut pulled = Vec::new();
    for task in &sent {
        let puller = tasks.clone();
        let pulling = tokio::spawn(async move { puller.pull(&pool(), 1).await });
        tokio::task::yield_now().await;
        let (dispatched, ()) = tokio::join!(tasks.dispatch(&target, task.clone()), async { pulling.abort() });
        dispatched?;
        // The pull answered before it could be dropped, or it took nothing.
        if let Ok(answer) = pulling.await {
            pulled.extend(answer?.into_iter().map(|delivery| delivery.task));
        }
    }
    let missing = sent.iter().filter(|task| !pulled.contains(task)).count();
    pulled.extend(pull_distinct(&*tasks, &pool(), missing).await?);
    assert_eq!(pulled.into_iter().collect::<BTreeSet<_>>(), sent.into_iter().collect());
    Ok(())
}

pub async fn a_task_that_is_done_is_not_delivered_again(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    tasks.dispatch(&pool(), Bytes::from_static(b"first")).await?;
    let delivery = tasks.pull(&pool(), 1).await?.remove(0);
    tasks.done(delivery.delivery).await?;
    tasks.done(delivery.delivery).await?;
    tasks.dispatch(&pool(), Bytes::from_static(b"second")).await?;
    let next = tasks.pull(&pool(), 10).await?;
    assert!(next.iter().all(|delivery| delivery.task == "second"), "{next:?}");
    Ok(())
}

pub async fn dispatch_to_a_host_that_no_worker_serves_answers_nobody_serves_and_stores_nothing(
    world: &dyn World,
) -> Checked {
    let tasks = world.process().await?.tasks;
    let answer = tasks.dispatch(&host(), Bytes::from_static(b"lost")).await;
    assert!(matches!(&answer, Err(TasksError::NobodyServes { host }) if host == "nginx-01"), "{answer:?}");
    let pulling = serve_host(&tasks);
    dispatch_to_served(&*tasks, Bytes::from_static(b"kept")).await;
    assert_eq!(pulling.await??[0].task, "kept");
    Ok(())
}

pub async fn a_host_that_a_worker_serves_gets_its_tasks(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let pulling = serve_host(&tasks);
    dispatch_to_served(&*tasks, Bytes::from_static(b"for the host")).await;
    assert_eq!(pulling.await??[0].task, "for the host");
    let elsewhere = tasks.dispatch(&Target::Host("nginx-02".to_owned()), Bytes::new()).await;
    assert!(matches!(elsewhere, Err(TasksError::NobodyServes { .. })), "{elsewhere:?}");
    Ok(())
}

pub async fn a_host_that_its_worker_left_is_served_by_nobody_until_it_pulls_again(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let pulling = serve_host(&tasks);
    dispatch_to_served(&*tasks, Bytes::from_static(b"before")).await;
    assert_eq!(pulling.await??[0].task, "before");
    tasks.leave(&host()).await;
    tasks.leave(&Target::Pool("nobody pulls from it".to_owned())).await;
    eventually(async || {
        let answer = tasks.dispatch(&host(), Bytes::from_static(b"lost")).await;
        matches!(answer, Err(TasksError::NobodyServes { .. })).then_some(())
    })
    .await;
    let pulling = serve_host(&tasks);
    dispatch_to_served(&*tasks, Bytes::from_static(b"after")).await;
    assert_eq!(pulling.await??[0].task, "after");
    Ok(())
}

pub async fn beyond_the_bound_dispatch_answers_full_and_stores_nothing(world: &dyn World) -> Checked {
    let tasks = world.process().await?.tasks;
    let mut stored = 0;
    let bound = loop {
        match tasks.dispatch(&pool(), Bytes::from(format!("{stored}"))).await {
            Ok(()) => stored += 1,
            Err(TasksError::Full { bound }) => break bound,
            Err(error) => return Err(error.into()),
        }
    };
    assert_eq!(stored, bound);
    assert!(matches!(tasks.dispatch(&pool(), Bytes::new()).await, Err(TasksError::Full { .. })));
    let all = pull_distinct(&*tasks, &pool(), stored).await?;
    assert_eq!(all.len(), stored, "what was refused is not there");
    tasks.dispatch(&pool(), Bytes::from_static(b"there is room again")).await?;
    Ok(())
}

/// Pulls until so many different tasks have come, and marks them done.
async fn pull_distinct(tasks: &dyn Tasks, target: &Target, count: usize) -> Result<Vec<Bytes>, TasksError> {
    let (mut seen, mut pulled) = (BTreeSet::new(), Vec::new());
    while pulled.len() < count {
        for delivery in tasks.pull(target, 100).await? {
            tasks.done(delivery.delivery).await?;
            if seen.insert(delivery.task.clone()) {
                pulled.push(delivery.task);
            }
        }
    }
    Ok(pulled)
}

type Pulling = tokio::task::JoinHandle<Result<Vec<skein_common::ports::TaskDelivery>, TasksError>>;

fn serve_host(tasks: &Arc<dyn Tasks>) -> Pulling {
    let tasks = tasks.clone();
    tokio::spawn(async move { tasks.pull(&host(), 1).await })
}

async fn dispatch_to_served(tasks: &dyn Tasks, task: Bytes) {
    eventually(async || tasks.dispatch(&host(), task.clone()).await.ok()).await;
}

fn pool() -> Target {
    Target::Pool("default".to_owned())
}

fn host() -> Target {
    Target::Host("nginx-01".to_owned())
}

fn numbered(numbers: std::ops::Range<u32>) -> Vec<Bytes> {
    numbers.map(|n| Bytes::from(format!("task {n:04}"))).collect()
}
