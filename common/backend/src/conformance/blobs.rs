//! Checks of the contract of `Blobs`.

use super::world::{Checked, World, new_run};
use bytes::Bytes;
use skein_common::Digest;
use skein_common::ports::BlobError;

pub async fn what_was_put_is_read_back_after_the_process_died(world: &dyn World) -> Checked {
    let dying = world.process().await?;
    let (run, text) = (new_run(), Bytes::from("a large text ".repeat(5000)));
    let digest = dying.blobs.put(&run, text.clone()).await?;
    assert_eq!(digest, Digest::of(&text));
    assert_eq!(dying.blobs.get(&run, &digest).await?, text);
    drop(dying);
    assert_eq!(world.process().await?.blobs.get(&run, &digest).await?, text);
    Ok(())
}

pub async fn large_and_empty_blobs_are_read_byte_for_byte(world: &dyn World) -> Checked {
    let blobs = world.process().await?.blobs;
    let run = new_run();
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    for bytes in [Bytes::new(), Bytes::from_static(b"\0\xff"), Bytes::from(large)] {
        let digest = blobs.put(&run, bytes.clone()).await?;
        assert!(blobs.get(&run, &digest).await? == bytes, "the blob of {} bytes differs", bytes.len());
    }
    Ok(())
}

pub async fn putting_the_same_bytes_again_succeeds(world: &dyn World) -> Checked {
    let blobs = world.process().await?.blobs;
    let (run, text) = (new_run(), Bytes::from_static(b"twice"));
    let first = blobs.put(&run, text.clone()).await?;
    let again = blobs.put(&run, text.clone()).await?;
    assert_eq!(first, again);
    assert_eq!(blobs.get(&run, &again).await?, text);
    Ok(())
}

pub async fn what_was_never_put_is_missing(world: &dyn World) -> Checked {
    let blobs = world.process().await?.blobs;
    let (run, other) = (new_run(), new_run());
    let digest = blobs.put(&other, Bytes::from_static(b"of another run")).await?;
    for wanted in [digest, Digest::of(b"never put")] {
        let answer = blobs.get(&run, &wanted).await;
        let told = matches!(&answer, Err(BlobError::Missing { run: of, digest }) if *of == run && *digest == wanted);
        assert!(told, "{answer:?}");
    }
    Ok(())
}

pub async fn remove_run_removes_all_blobs_of_the_run_and_of_no_other(world: &dyn World) -> Checked {
    let blobs = world.process().await?.blobs;
    let (run, other) = (new_run(), new_run());
    let mut digests = Vec::new();
    for text in ["shared", "own"] {
        digests.push(blobs.put(&run, Bytes::from(text)).await?);
    }
    blobs.put(&other, Bytes::from("shared")).await?;
    blobs.remove_run(&run).await?;
    for digest in &digests {
        assert!(matches!(blobs.get(&run, digest).await, Err(BlobError::Missing { .. })));
    }
    assert_eq!(blobs.get(&other, &digests[0]).await?, "shared");
    blobs.remove_run(&run).await?;
    Ok(())
}
