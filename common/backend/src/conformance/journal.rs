//! Checks of the contract of `Journal`.

use super::world::{Checked, World, new_run};
use bytes::Bytes;
use skein_common::RunId;
use skein_common::ports::{BoxError, Journal, JournalError};

pub async fn an_append_succeeds_only_if_exactly_expected_records_are_stored(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    assert_eq!(append(&*journal, &run, 0, records(&["a"])).await?, 1);
    assert_eq!(append(&*journal, &run, 1, records(&["b", "c"])).await?, 3);
    for wrong in [0, 1, 2, 4, 1000] {
        let refusal = refusal(&*journal, &run, wrong, records(&["x"])).await?;
        let told = matches!(refusal, JournalError::Conflict { expected, actual: 3 } if expected == wrong);
        assert!(told, "expected {wrong}: {refusal}");
    }
    Ok(())
}

pub async fn two_writers_cannot_both_extend_a_run(world: &dyn World) -> Checked {
    let (one, other) = (world.process().await?.journal, world.process().await?.journal);
    let run = new_run();
    for expected in 0..20 {
        let (first, second) = tokio::join!(
            append(&*one, &run, expected, records(&["one"])),
            append(&*other, &run, expected, records(&["other"])),
        );
        assert!(first.is_ok() != second.is_ok(), "{first:?} and {second:?}");
    }
    assert_eq!(one.read(&run, 0).await?.len(), 20);
    Ok(())
}

pub async fn records_of_one_append_are_stored_in_order(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    let many: Vec<Bytes> = (0..100).map(|n| Bytes::from(format!("record {n}"))).collect();
    append(&*journal, &run, 0, many.clone()).await?;
    assert_eq!(journal.read(&run, 0).await?, many);
    Ok(())
}

pub async fn after_conflict_none_of_the_records_is_stored(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    append(&*journal, &run, 0, records(&["a"])).await?;
    for wrong in [0, 2] {
        refusal(&*journal, &run, wrong, records(&["x", "y"])).await?;
    }
    assert_eq!(journal.read(&run, 0).await?, records(&["a"]));
    Ok(())
}

pub async fn after_refused_none_of_the_records_is_stored(world: &dyn World) -> Checked {
    let Some(cramped) = world.cramped_process().await? else { return Ok(()) };
    let journal = cramped.journal;
    let run = new_run();
    append(&*journal, &run, 0, vec![incompressible(1024)]).await?;
    let too_much = (0..8).map(|_| incompressible(128 * 1024)).collect();
    let refusal = refusal(&*journal, &run, 1, too_much).await?;
    assert!(matches!(refusal, JournalError::Refused { .. }), "{refusal}");
    assert_eq!(journal.read(&run, 0).await?.len(), 1);
    assert_eq!(append(&*journal, &run, 1, records(&["small"])).await?, 2, "what fits is stored afterwards");
    Ok(())
}

pub async fn after_conflict_the_record_at_expected_tells_whether_the_append_succeeded(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    append(&*journal, &run, 0, records(&["mine"])).await?;
    // The acknowledgement was lost, so the caller appends again.
    refusal(&*journal, &run, 0, records(&["mine"])).await?;
    assert_eq!(journal.read(&run, 0).await?.first(), Some(&Bytes::from("mine")));
    Ok(())
}

pub async fn an_acknowledged_append_is_read_back_after_the_process_died(world: &dyn World) -> Checked {
    let run = new_run();
    let dying = world.process().await?;
    append(&*dying.journal, &run, 0, records(&["a", "b"])).await?;
    append(&*dying.journal, &run, 2, records(&["c"])).await?;
    drop(dying);
    assert_eq!(world.process().await?.journal.read(&run, 0).await?, records(&["a", "b", "c"]));
    Ok(())
}

pub async fn read_gives_the_records_from_a_position_on(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    append(&*journal, &run, 0, records(&["a", "b", "c"])).await?;
    assert_eq!(journal.read(&run, 1).await?, records(&["b", "c"]));
    assert_eq!(journal.read(&run, 2).await?, records(&["c"]));
    assert_eq!(journal.read(&run, 3).await?, records(&[]));
    assert_eq!(journal.read(&run, u64::MAX).await?, records(&[]));
    Ok(())
}

pub async fn who_reads_on_gets_what_came_since_also_when_others_begin_anew(world: &dyn World) -> Checked {
    let (writer, reader) = (world.process().await?.journal, world.process().await?.journal);
    let run = new_run();
    let all: Vec<Bytes> = (0..40).map(|n| Bytes::from(format!("record {n}"))).collect();
    let (mut written, mut read) = (0, 0);
    for appends in [1, 3, 0, 7, 1, 2] {
        for _ in 0..appends {
            let next = all[written..written + 2].to_vec();
            append(&*writer, &run, written as u64, next).await?;
            written += 2;
        }
        assert_eq!(reader.read(&run, read as u64).await?, all[read..written]);
        assert_eq!(reader.read(&run, (written / 2) as u64).await?, all[written / 2..written]);
        assert_eq!(reader.read(&run, 0).await?, all[..written]);
        read = written;
    }
    Ok(())
}

pub async fn records_are_read_byte_for_byte(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    let all_values: Vec<u8> = (0..=u8::MAX).collect();
    let odd = vec![
        Bytes::new(),
        Bytes::from_static(b"\0"),
        Bytes::from(all_values),
        Bytes::from(vec![0; 300_000]),
        incompressible(300_000),
        Bytes::from("agent ended ".repeat(700)),
    ];
    append(&*journal, &run, 0, odd.clone()).await?;
    assert!(journal.read(&run, 0).await? == odd, "the records differ");
    Ok(())
}

pub async fn a_run_without_records_reads_as_empty(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    assert_eq!(journal.read(&run, 0).await?, records(&[]));
    assert_eq!(append(&*journal, &run, 0, records(&[])).await?, 0, "an append of nothing adds nothing");
    assert!(!journal.list().await?.contains(&run));
    Ok(())
}

pub async fn remove_removes_all_records_of_the_run_and_no_other(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let (run, other) = (new_run(), new_run());
    append(&*journal, &run, 0, records(&["a", "b"])).await?;
    append(&*journal, &other, 0, records(&["o"])).await?;
    journal.remove(&run).await?;
    assert_eq!(journal.read(&run, 0).await?, records(&[]));
    assert_eq!(journal.read(&other, 0).await?, records(&["o"]));
    assert!(!journal.list().await?.contains(&run));
    Ok(())
}

pub async fn removing_nothing_succeeds(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let run = new_run();
    journal.remove(&run).await?;
    append(&*journal, &run, 0, records(&["a"])).await?;
    journal.remove(&run).await?;
    journal.remove(&run).await?;
    Ok(())
}

pub async fn list_gives_the_runs_that_have_records_oldest_first(world: &dyn World) -> Checked {
    let journal = world.process().await?.journal;
    let runs = [new_run(), new_run(), new_run()];
    for run in &runs {
        append(&*journal, run, 0, records(&["a"])).await?;
    }
    append(&*journal, &runs[0], 1, records(&["b"])).await?;
    let listed = world.process().await?.journal.list().await?;
    let ours: Vec<_> = listed.into_iter().filter(|run| runs.contains(run)).collect();
    assert_eq!(ours, runs);
    Ok(())
}

pub async fn the_durability_is_stated(world: &dyn World) -> Checked {
    assert!(!world.process().await?.journal.durability().is_empty());
    Ok(())
}

/// Appends as the contract tells callers to: after an unknown outcome it looks at what is there.
async fn append(journal: &dyn Journal, run: &RunId, expected: u64, records: Vec<Bytes>) -> Result<u64, BoxError> {
    let mut stored = 0;
    loop {
        match journal.append(run, expected + stored, records[as_index(stored)..].to_vec()).await {
            Ok(count) => return Ok(count),
            Err(JournalError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let there = journal.read(run, expected).await?;
        if !records.starts_with(&there) {
            return Err("another writer was first".into());
        }
        stored = there.len() as u64;
        if there.len() == records.len() {
            return Ok(expected + stored);
        }
    }
}

/// The error of an append that cannot succeed.
async fn refusal(
    journal: &dyn Journal,
    run: &RunId,
    expected: u64,
    records: Vec<Bytes>,
) -> Result<JournalError, BoxError> {
    loop {
        match journal.append(run, expected, records.clone()).await {
            Ok(_) => return Err(format!("an append at {expected} succeeded").into()),
            Err(JournalError::Unknown { .. }) => {}
            Err(error) => return Ok(error),
        }
    }
}

fn as_index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn records(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

/// Bytes that do not become fewer when compressed (xorshift, always the same).
fn incompressible(length: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}
