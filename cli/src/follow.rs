//! Following a run that another process executes, by asking it again and again.

use crate::args::Global;
use crate::client::{Client, refusal};
use crate::output::{self, printable};
use crate::progress::Progress;
use crate::session::{Concluded, place_flag};
use crate::signals::Signals;
use skein_common::RunId;
use skein_common::view::RunView;
use skein_coordinator::LogPage;
use std::time::{Duration, Instant};

/// The pause after an answer is so many times as long as the answer took, so that following costs the other side
/// little, however long a journal is.
const PAUSE_PER_ANSWER: u32 = 10;
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Shows the run until it ends. A signal ends the watching only: the run goes on.
///
/// # Errors
/// The process cannot be reached any more.
pub async fn to_its_end(global: &Global, client: &Client, run: &RunId) -> anyhow::Result<Concluded> {
    let mut signals = Signals::new()?;
    let mut progress = Progress::unwatched(global);
    let ended = tokio::select! {
        ended = watch(client, run, &mut progress) => ended.map(Ok),
        code = signals.next() => Ok(Err(code)),
    };
    progress.finish().await;
    match ended {
        Ok(Ok(view)) => Ok(Concluded::Ended(Box::new(view))),
        Ok(Err(code)) => {
            output::note(&format!("{run} goes on. {}", how_to_reach(global, run)));
            Ok(Concluded::Left(code))
        }
        Err(error) => {
            output::note(&format!("{run} was handed over. {}", how_to_reach(global, run)));
            Err(error)
        }
    }
}

async fn watch(client: &Client, run: &RunId, progress: &mut Progress) -> anyhow::Result<RunView> {
    let mut position = 0;
    loop {
        let asked_at = Instant::now();
        // The view first: with an end in it, the log that is read then is whole.
        let view: RunView = client.get(&format!("/runs/{run}")).await.map_err(refusal)?;
        loop {
            let page: LogPage = client.get(&format!("/runs/{run}/logs?after={position}")).await.map_err(refusal)?;
            position = page.position;
            page.lines.iter().filter(|line| !line.ours).for_each(|line| progress.line(&printable(&line.text)));
            if !page.more {
                break;
            }
        }
        progress.view(view.clone());
        if view.status.is_end() {
            return Ok(view);
        }
        let pause = (asked_at.elapsed() * PAUSE_PER_ANSWER).clamp(PAUSE_MIN, PAUSE_MAX);
        tokio::time::sleep(pause).await;
        progress.tick();
    }
}

fn how_to_reach(global: &Global, run: &RunId) -> String {
    let flag = place_flag(global);
    format!("Follow it with: skein logs {run} -f{flag}; stop it with: skein stop {run}{flag}")
}
