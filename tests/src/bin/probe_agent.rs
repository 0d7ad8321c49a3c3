//! An agent that sees for itself how many agents run: it takes the first free of the slots 0, 1, 2, … by a file lock,
//! which the system gives back however it dies, so the 17th agent at a time would have to take slot 16.
//!
//! `probe-agent DIR PROMPT [MS]` appends `PROMPT SLOT` to `DIR/lines`, works for so many milliseconds and prints the
//! prompt. `DIR/events` tells when each began and ended, for people who look for a seventeenth.

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Long enough that agents overlap, short enough for a thousand.
const WORK: Duration = Duration::from_millis(5);

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().context("no folder")?);
    let prompt = args.next().context("no prompt")?;
    let work = args.next().map_or(Ok(WORK), |text| text.parse().map(Duration::from_millis))?;
    let (slot, _held) = take_slot(&dir)?;
    let mut lines = OpenOptions::new().create(true).append(true).open(dir.join("lines"))?;
    lines.write_all(format!("{prompt} {slot}\n").as_bytes())?;
    event(&dir, "begins", &prompt, slot)?;
    std::thread::park_timeout(work);
    event(&dir, "ends", &prompt, slot)?;
    std::io::stdout().write_all(prompt.as_bytes())?;
    Ok(())
}

fn event(dir: &Path, what: &str, prompt: &str, slot: u32) -> anyhow::Result<()> {
    let at_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let of = |variable: &str| std::env::var(variable).unwrap_or_default();
    let attempt = format!("{} {}-{}", of("SKEIN_RUN"), of("SKEIN_AGENT"), of("SKEIN_ATTEMPT"));
    let keeper = std::os::unix::process::parent_id();
    let line = format!("{at_ms} {what} {prompt} slot {slot} {attempt} of {keeper}\n");
    let mut events = OpenOptions::new().create(true).append(true).open(dir.join("events"))?;
    Ok(events.write_all(line.as_bytes())?)
}

fn take_slot(dir: &Path) -> anyhow::Result<(u32, File)> {
    for slot in 0..1000 {
        let file = File::create(dir.join(format!("slot-{slot}")))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok((slot, file));
        }
    }
    anyhow::bail!("a thousand agents at once")
}
