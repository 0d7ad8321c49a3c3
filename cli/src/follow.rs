//! Following a run that another process executes, by its events.

use crate::args::Global;
use crate::client::{Client, refusal};
use crate::live::{Live, LiveRun};
use crate::output::{self, printable};
use crate::progress::Progress;
use crate::session::{Concluded, place_flag};
use crate::signals::Signals;
use skein_common::RunId;
use skein_common::view::RunView;
use std::time::Duration;

/// The clock of what is shown ticks this often even when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// Shows the run until it ends, and prints its events when they are wanted. A signal ends the watching only: the run
/// goes on.
///
/// # Errors
/// The process cannot be reached any more.
pub async fn to_its_end(
    global: &Global,
    client: &Client,
    run: &RunId,
    prints_events: bool,
) -> anyhow::Result<Concluded> {
    let mut signals = Signals::new()?;
    let mut progress = Progress::unwatched(global);
    let ended = tokio::select! {
        ended = watch(client, run, &mut progress, prints_events) => ended.map(Ok),
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

async fn watch(client: &Client, run: &RunId, progress: &mut Progress, prints_events: bool) -> anyhow::Result<RunView> {
    let mut live = LiveRun::new(client, run);
    loop {
        match next(&mut live, progress).await? {
            Live::Event(event) => {
                if prints_events {
                    output::json(&event)?;
                }
                if let Some(line) = event.line.as_ref().filter(|_| !event.ours) {
                    progress.line(&printable(line));
                }
            }
            Live::View(view) => progress.view(*view),
            Live::End => break,
        }
    }
    // With its result.
    let view: RunView = client.get(&format!("/runs/{run}")).await.map_err(refusal)?;
    progress.view(view.clone());
    Ok(view)
}

async fn next(live: &mut LiveRun<'_>, progress: &mut Progress) -> anyhow::Result<Live> {
    let mut next = std::pin::pin!(live.next());
    loop {
        tokio::select! {
            happened = &mut next => return happened,
            () = tokio::time::sleep(TICK) => progress.tick(),
        }
    }
}

fn how_to_reach(global: &Global, run: &RunId) -> String {
    let flag = place_flag(global);
    format!("Follow it with: skein logs {run} -f{flag}; stop it with: skein stop {run}{flag}")
}
