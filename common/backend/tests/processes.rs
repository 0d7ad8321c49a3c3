//! An embedded store between processes: shared, killed, without room, without the right to write.
//!
//! Each test starts this test binary again as its other process: `role` says what that does.
#![expect(clippy::print_stdout, reason = "the other process tells by its output what it did")]

use bytes::Bytes;
use skein_backend::conformance::{eventually, new_run, within_deadline};
use skein_backend::embedded::{OpenError, Store};
use skein_common::RunId;
use skein_common::ports::{BoxError, JournalError, LeaseError};
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

type Tested = Result<(), BoxError>;

const ROLE: &str = "SKEIN_TEST_ROLE";
const DIR: &str = "SKEIN_TEST_DIR";
const NOBODY: u32 = 65534;

#[tokio::test]
async fn two_processes_append_to_different_runs_at_once() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut other = start("append_40", dir.path())?;
    let (journal, run) = (Store::open(dir.path())?.ports().journal, new_run());
    for expected in 0..40 {
        journal.append(&run, expected, vec![record(&run, expected)]).await?;
    }
    let acknowledged = acknowledged(&mut other)?;
    assert!(other.wait()?.success());
    assert_eq!(acknowledged.len(), 40 * RUNS_OF_CHILD);
    assert_stored(dir.path(), &acknowledged).await?;
    assert_eq!(journal.read(&run, 0).await?.len(), 40);
    Ok(())
}

#[tokio::test]
async fn a_process_that_writes_all_the_time_does_not_keep_another_from_writing() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut busy = start("append_forever", dir.path())?;
    let mut lines = BufReader::new(busy.stdout.take().ok_or("no stdout")?).lines();
    while parse(&lines.next().ok_or("the child ended")??).is_none() {}
    let reading = std::thread::spawn(move || lines.count());
    let (journal, run) = (Store::open(dir.path())?.ports().journal, new_run());
    for expected in 0..100 {
        journal.append(&run, expected, vec![record(&run, expected)]).await?;
    }
    busy.kill()?;
    busy.wait()?;
    assert!(reading.join().is_ok());
    Ok(())
}

#[tokio::test]
async fn a_process_killed_in_the_middle_of_appends_loses_nothing_that_was_acknowledged() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut all = Vec::new();
    for round in 1..=5 {
        let mut child = start("append_forever", dir.path())?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let mut seen = 0;
        while seen < 20 * round {
            let line = lines.next().ok_or("the child ended")??;
            if let Some(acknowledgement) = parse(&line) {
                all.push(acknowledgement);
                seen += 1;
            }
        }
        child.kill()?;
        all.extend(lines.map_while(Result::ok).filter_map(|line| parse(&line)));
        child.wait()?;
        assert_stored(dir.path(), &all).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_dies_with_its_process_though_a_child_of_it_lives_on() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut child = start("hold_lease", dir.path())?;
    let grandchilds_input = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    let epoch: u64 = loop {
        let line = lines.next().ok_or("the child ended")??;
        if let Some(epoch) = line.strip_prefix("epoch ") {
            break epoch.parse()?;
        }
    };
    let leases = Store::open(dir.path())?.ports().leases;
    let holder = format!("child (process {})", child.id());
    let answer = leases.acquire("run-1", "parent").await;
    assert!(matches!(&answer, Err(LeaseError::Held { holder: told, .. }) if *told == holder), "{answer:?}");
    assert_eq!(leases.holder("run-1").await?, Some(holder));
    child.kill()?;
    child.wait()?;
    // The child may have died when the grandchild was about to close what it inherited, so not at once but soon.
    within_deadline(async {
        let lease = eventually(async || leases.acquire("run-1", "parent").await.ok()).await;
        assert!(lease.epoch > epoch);
        Ok(())
    })
    .await?;
    drop(grandchilds_input); // Its end of input ends the grandchild.
    Ok(())
}

#[tokio::test]
async fn a_store_that_may_only_be_read_is_read_and_says_so() -> Tested {
    let dir = tempfile::tempdir()?;
    let run = new_run();
    Store::open(dir.path())?.ports().journal.append(&run, 0, vec![record(&run, 0)]).await?;
    for entry in fs::read_dir(dir.path())? {
        let entry = entry?;
        let mode = if entry.file_type()?.is_dir() { 0o555 } else { 0o444 };
        fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
    }
    assert!(unprivileged("read_only_store", dir.path())?, "see the output of the child");
    Ok(())
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_for_a_new_store() -> Tested {
    let dir = tempfile::tempdir()?;
    assert!(unprivileged("read_only_directory", dir.path())?, "see the output of the child");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_what_was_acknowledged() -> Tested {
    let Some(disk) = SmallDisk::mount()? else {
        println!("not checked: only root can mount a small disk");
        return Ok(());
    };
    let (journal, run) = (Store::open(&disk.dir())?.ports().journal, new_run());
    let mut stored = 0;
    let refusal = loop {
        match journal.append(&run, stored, vec![incompressible(stored)]).await {
            Ok(count) => stored = count,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refusal, JournalError::Refused { reason } if reason == "disk full"), "{refusal}");
    assert!(stored > 0);
    drop(journal);
    let journal = Store::open(&disk.dir())?.ports().journal;
    assert_eq!(journal.read(&run, 0).await?, (0..stored).map(incompressible).collect::<Vec<_>>());
    let refusal = Store::open(&disk.dir().join("another")).expect_err("no room for another store");
    assert!(matches!(refusal, OpenError::DiskFull { .. }), "{refusal}");
    Ok(())
}

/// What this binary does as the other process of a test.
#[tokio::test]
#[ignore = "not a test: the other process of the tests above"]
async fn role() -> Tested {
    let (role, dir) = (std::env::var(ROLE)?, PathBuf::from(std::env::var(DIR)?));
    match role.as_str() {
        "append_40" => append(&dir, 40).await,
        "append_forever" => append(&dir, u64::MAX).await,
        "hold_lease" => hold_lease(&dir).await,
        "read_only_store" => read_only_store(&dir).await,
        "read_only_directory" => {
            let refusal = Store::open(&dir.join("store")).expect_err("read-only");
            assert!(matches!(refusal, OpenError::ReadOnly { .. }), "{refusal}");
            Ok(())
        }
        _ => Err("no such role".into()),
    }
}

const RUNS_OF_CHILD: usize = 4;

async fn append(dir: &Path, count: u64) -> Tested {
    let store = Store::open(dir)?;
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..RUNS_OF_CHILD {
        let (journal, run) = (store.ports().journal, new_run());
        appending.spawn(async move {
            for expected in 0..count {
                journal.append(&run, expected, vec![record(&run, expected)]).await?;
                println!("\nstored {run} {expected}");
            }
            Ok::<_, JournalError>(())
        });
    }
    for ended in appending.join_all().await {
        ended?;
    }
    Ok(())
}

async fn hold_lease(dir: &Path) -> Tested {
    let leases = Store::open(dir)?.ports().leases;
    let lease = leases.acquire("run-1", "child").await?;
    let mut grandchild = Command::new("cat").stdout(Stdio::null()).spawn()?; // Reads our input, whose end never comes.
    println!("\nepoch {}", lease.epoch);
    grandchild.wait()?;
    Ok(())
}

async fn read_only_store(dir: &Path) -> Tested {
    let refusal = Store::open(dir).err();
    assert!(matches!(refusal, Some(OpenError::ReadOnly { .. })), "{refusal:?}");
    let ports = Store::open_existing(dir)?.ports();
    let runs = ports.journal.list().await?;
    assert_eq!(ports.journal.read(&runs[0], 0).await?, [record(&runs[0], 0)]);
    let answer = ports.journal.append(&runs[0], 1, vec![Bytes::new()]).await;
    assert!(matches!(&answer, Err(JournalError::Refused { reason }) if reason == "store is read-only"), "{answer:?}");
    assert_eq!(ports.leases.holder("run-1").await?, None);
    assert!(ports.leases.acquire("run-1", "reader").await.is_err());
    Ok(())
}

fn start(role: &str, dir: &Path) -> std::io::Result<Child> {
    command(role, dir)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

fn command(role: &str, dir: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--ignored", "--exact", "role", "--nocapture"]).env(ROLE, role).env(DIR, dir);
    Ok(command)
}

/// Carries out the role as a user who may read but not write the directory; whether it succeeded.
fn unprivileged(role: &str, dir: &Path) -> std::io::Result<bool> {
    fs::set_permissions(dir, Permissions::from_mode(0o555))?;
    let mut command = command(role, dir)?;
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let succeeded = command.status()?.success();
    fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    Ok(succeeded)
}

fn acknowledged(child: &mut Child) -> Result<Vec<(RunId, u64)>, BoxError> {
    let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
    Ok(lines.map_while(Result::ok).filter_map(|line| parse(&line)).collect())
}

fn parse(line: &str) -> Option<(RunId, u64)> {
    let (run, position) = line.strip_prefix("stored ")?.split_once(' ')?;
    Some((run.parse().ok()?, position.parse().ok()?))
}

async fn assert_stored(dir: &Path, acknowledged: &[(RunId, u64)]) -> Tested {
    let journal = Store::open_existing(dir)?.ports().journal;
    for (run, position) in acknowledged {
        assert_eq!(journal.read(run, *position).await?.first(), Some(&record(run, *position)), "{run} {position}");
    }
    Ok(())
}

fn record(run: &RunId, position: u64) -> Bytes {
    Bytes::from(format!("record {position} of {run}"))
}

fn incompressible(seed: u64) -> Bytes {
    let digests = (0..500).map(|n| skein_common::Digest::of(format!("{seed} {n}").as_bytes()).0);
    digests.collect::<String>().into()
}

/// A file system of 2 MiB.
struct SmallDisk {
    mount_point: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> std::io::Result<Option<SmallDisk>> {
        let mount_point = tempfile::tempdir()?;
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(mount_point.path()).output();
        let mounted = mount.is_ok_and(|output| output.status.success());
        Ok(mounted.then_some(SmallDisk { mount_point }))
    }

    fn dir(&self) -> PathBuf {
        self.mount_point.path().join("store")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.mount_point.path()).status();
    }
}
