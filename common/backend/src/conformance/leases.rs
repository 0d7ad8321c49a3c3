//! Checks of the contract of `Leases`.

use super::world::{Checked, World, eventually};
use skein_common::ports::{Lease, LeaseError, Leases};

pub async fn while_a_lease_is_held_acquire_answers_held(world: &dyn World) -> Checked {
    let (process, other) = (world.process().await?, world.process().await?);
    let _lease = process.leases.acquire("run-1", "alice").await?;
    for leases in [&process.leases, &other.leases] {
        let answer = leases.acquire("run-1", "bob").await;
        let told =
            matches!(&answer, Err(LeaseError::Held { name, holder }) if name == "run-1" && holder.contains("alice"));
        assert!(told, "{answer:?}");
    }
    Ok(())
}

pub async fn of_many_that_acquire_at_once_one_succeeds(world: &dyn World) -> Checked {
    let mut acquiring = tokio::task::JoinSet::new();
    let mut processes = Vec::new();
    for n in 0..8 {
        let process = world.process().await?;
        processes.push(process.clone());
        acquiring.spawn(async move { process.leases.acquire("run-1", &format!("owner {n}")).await });
    }
    let answers = acquiring.join_all().await;
    let granted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(granted, 1, "{answers:?}");
    Ok(())
}

pub async fn each_acquisition_gets_a_higher_epoch(world: &dyn World) -> Checked {
    let (one, other) = (world.process().await?.leases, world.process().await?.leases);
    let mut newest = None;
    for leases in [&one, &one, &other, &one] {
        let lease = leases.acquire("run-1", "alice").await?;
        assert!(Some(lease.epoch) > newest, "{} after {newest:?}", lease.epoch);
        newest = Some(lease.epoch);
        leases.release(&lease).await?;
    }
    Ok(())
}

pub async fn epochs_grow_across_restarts(world: &dyn World) -> Checked {
    let dying = world.process().await?;
    let before = dying.leases.acquire("run-1", "alice").await?;
    drop(dying);
    let after = acquire_eventually(&*world.process().await?.leases, "run-1").await;
    assert!(after.epoch > before.epoch, "{} after {}", after.epoch, before.epoch);
    Ok(())
}

pub async fn a_lease_ends_when_it_is_released(world: &dyn World) -> Checked {
    let (process, other) = (world.process().await?, world.process().await?);
    let lease = process.leases.acquire("run-1", "alice").await?;
    process.leases.release(&lease).await?;
    assert_eq!(other.leases.holder("run-1").await?, None);
    other.leases.acquire("run-1", "bob").await?;
    Ok(())
}

pub async fn a_lease_ends_when_its_holders_process_dies(world: &dyn World) -> Checked {
    let (dying, other) = (world.process().await?, world.process().await?);
    dying.leases.acquire("run-1", "alice").await?;
    drop(dying);
    acquire_eventually(&*other.leases, "run-1").await;
    Ok(())
}

pub async fn a_lease_ends_when_it_is_not_renewed_within_its_time(world: &dyn World) -> Checked {
    let (process, other) = (world.process().await?, world.process().await?);
    let lease = process.leases.acquire("run-1", "alice").await?;
    if !world.let_expire(&lease).await? {
        return Ok(());
    }
    other.leases.acquire("run-1", "bob").await?;
    assert_lost(&*process.leases, &lease).await;
    Ok(())
}

pub async fn renew_keeps_a_lease_and_answers_lost_when_it_ended(world: &dyn World) -> Checked {
    let leases = world.process().await?.leases;
    let lease = leases.acquire("run-1", "alice").await?;
    leases.renew(&lease).await?;
    leases.renew(&lease).await?;
    leases.release(&lease).await?;
    assert_lost(&*leases, &lease).await;
    let newer = leases.acquire("run-1", "bob").await?;
    assert_lost(&*leases, &lease).await;
    leases.renew(&newer).await?;
    Ok(())
}

pub async fn releasing_what_ended_already_succeeds_and_takes_nothing(world: &dyn World) -> Checked {
    let (process, other) = (world.process().await?, world.process().await?);
    let ended = process.leases.acquire("run-1", "alice").await?;
    process.leases.release(&ended).await?;
    process.leases.release(&ended).await?;
    let newer = other.leases.acquire("run-1", "bob").await?;
    process.leases.release(&ended).await?;
    other.leases.release(&ended).await?;
    other.leases.renew(&newer).await?;
    Ok(())
}

pub async fn holder_tells_who_holds_it_without_disturbing(world: &dyn World) -> Checked {
    let (process, other) = (world.process().await?, world.process().await?);
    assert_eq!(other.leases.holder("run-1").await?, None);
    let lease = process.leases.acquire("run-1", "alice").await?;
    for leases in [&process.leases, &other.leases] {
        let holder = leases.holder("run-1").await?;
        assert!(holder.as_ref().is_some_and(|text| text.contains("alice")), "{holder:?}");
    }
    process.leases.renew(&lease).await?;
    process.leases.release(&lease).await?;

    // Whoever looks all the time does not keep anybody from acquiring.
    let looking = tokio::spawn(async move {
        while other.leases.holder("run-1").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..50 {
        let lease = process.leases.acquire("run-1", "alice").await?;
        process.leases.release(&lease).await?;
    }
    looking.abort();
    Ok(())
}

pub async fn holders_gives_the_held_names_of_a_prefix_in_order(world: &dyn World) -> Checked {
    let (one, other) = (world.process().await?.leases, world.process().await?.leases);
    assert_eq!(one.holders("part-").await?, []);
    one.acquire("part-2", "alice").await?;
    one.acquire("other-1", "alice").await?;
    let given_back = other.acquire("part-3", "bob").await?;
    other.acquire("part-1", "bob").await?;
    other.release(&given_back).await?;
    let holders = one.holders("part-").await?;
    assert_eq!(holders.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["part-1", "part-2"]);
    assert!(holders[0].1.contains("bob") && holders[1].1.contains("alice"), "{holders:?}");
    Ok(())
}

pub async fn leases_of_different_names_are_independent(world: &dyn World) -> Checked {
    let (process, other) = (world.process().await?, world.process().await?);
    let one = process.leases.acquire("run-1", "alice").await?;
    let two = other.leases.acquire("run-2", "bob").await?;
    process.leases.release(&one).await?;
    other.leases.renew(&two).await?;
    Ok(())
}

async fn acquire_eventually(leases: &dyn Leases, name: &str) -> Lease {
    eventually(async || leases.acquire(name, "successor").await.ok()).await
}

async fn assert_lost(leases: &dyn Leases, lease: &Lease) {
    let answer = leases.renew(lease).await;
    assert!(matches!(answer, Err(LeaseError::Lost { .. })), "{answer:?}");
}
