//! Checks of the contract of `Directory`.

use super::world::{Checked, World};
use bytes::Bytes;

pub async fn put_replaces_and_get_gives_the_newest(world: &dyn World) -> Checked {
    let (one, other) = (world.process().await?.directory, world.process().await?.directory);
    one.put("runs", "a", Bytes::from_static(b"old")).await?;
    other.put("runs", "a", Bytes::from_static(b"new")).await?;
    assert_eq!(one.get("runs", "a").await?, Some(Bytes::from_static(b"new")));
    one.put("runs", "a", Bytes::new()).await?;
    assert_eq!(other.get("runs", "a").await?, Some(Bytes::new()));
    Ok(())
}

pub async fn insert_stores_only_where_nothing_is(world: &dyn World) -> Checked {
    let (one, other) = (world.process().await?.directory, world.process().await?.directory);
    assert_eq!(one.insert("keys", "a", Bytes::from_static(b"first")).await?, None);
    assert_eq!(other.insert("keys", "a", Bytes::from_static(b"second")).await?, Some(Bytes::from_static(b"first")));
    assert_eq!(one.get("keys", "a").await?, Some(Bytes::from_static(b"first")));
    other.remove("keys", "a").await?;
    assert_eq!(one.insert("keys", "a", Bytes::from_static(b"third")).await?, None);
    Ok(())
}

pub async fn of_many_that_insert_at_once_one_stores(world: &dyn World) -> Checked {
    let mut inserting = tokio::task::JoinSet::new();
    for value in 0..8 {
        let directory = world.process().await?.directory;
        inserting.spawn(async move { directory.insert("keys", "a", Bytes::from(vec![value])).await });
    }
    let mut stored = 0;
    let mut answers = Vec::new();
    for answer in inserting.join_all().await {
        match answer? {
            None => stored += 1,
            Some(there) => answers.push(there),
        }
    }
    let there = world.process().await?.directory.get("keys", "a").await?;
    assert_eq!(stored, 1);
    assert!(answers.iter().all(|answer| Some(answer) == there.as_ref()), "{answers:?}");
    Ok(())
}

pub async fn list_gives_all_of_a_table_in_key_order(world: &dyn World) -> Checked {
    let directory = world.process().await?.directory;
    for key in ["b", "a", "c"] {
        directory.put("runs", key, Bytes::from(format!("value of {key}"))).await?;
    }
    directory.put("workers", "w", Bytes::new()).await?;
    let expected = ["a", "b", "c"].map(|key| (key.to_owned(), Bytes::from(format!("value of {key}"))));
    assert_eq!(directory.list("runs").await?, expected);
    Ok(())
}

pub async fn what_nobody_put_is_empty(world: &dyn World) -> Checked {
    let directory = world.process().await?.directory;
    assert_eq!(directory.get("runs", "a").await?, None);
    assert_eq!(directory.list("runs").await?, []);
    directory.put("workers", "a", Bytes::new()).await?;
    assert_eq!(directory.get("runs", "a").await?, None);
    Ok(())
}

pub async fn remove_removes_and_removing_nothing_succeeds(world: &dyn World) -> Checked {
    let directory = world.process().await?.directory;
    directory.remove("runs", "a").await?;
    directory.put("runs", "a", Bytes::from_static(b"1")).await?;
    directory.put("runs", "b", Bytes::from_static(b"2")).await?;
    directory.remove("runs", "a").await?;
    directory.remove("runs", "a").await?;
    assert_eq!(directory.list("runs").await?, [("b".to_owned(), Bytes::from_static(b"2"))]);
    Ok(())
}

pub async fn what_was_put_is_read_back_after_the_process_died(world: &dyn World) -> Checked {
    let dying = world.process().await?;
    dying.directory.put("runs", "a", Bytes::from_static(b"kept")).await?;
    drop(dying);
    assert_eq!(world.process().await?.directory.get("runs", "a").await?, Some(Bytes::from_static(b"kept")));
    Ok(())
}
