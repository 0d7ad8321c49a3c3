//! Progress of a run while it runs: a block that redraws itself on a terminal, plain lines elsewhere.

mod lines;
mod terminal;

use crate::args::Global;
use crate::output;
use lines::Lines;
use skein_common::view::RunView;
use skein_coordinator::{WatchItem, Watcher};
use std::time::Duration;
use terminal::Block;

/// The clock of the block ticks this often even when nothing happens.
const TICK: Duration = Duration::from_millis(500);

/// Shows one run.
pub struct Progress {
    watcher: Option<Watcher>,
    screen: Screen,
}

enum Screen {
    Nothing,
    Block(Box<Block>),
    Lines(Lines),
}

impl Progress {
    /// Chooses the way to show it: nothing when quiet, a block for a person, lines for a file.
    pub fn start(global: &Global, watcher: Watcher) -> Progress {
        Progress { watcher: Some(watcher), ..Progress::unwatched(global) }
    }

    /// The same for a run of which views and lines come from elsewhere.
    pub fn unwatched(global: &Global) -> Progress {
        let screen = if global.quiet {
            Screen::Nothing
        } else if output::stderr_is_terminal() {
            Screen::Block(Box::default())
        } else {
            Screen::Lines(Lines::default())
        };
        Progress { watcher: None, screen }
    }

    /// Waits for something to show and shows it. Never ends the caller's loop by itself.
    pub async fn show_next(&mut self) {
        let Some(watcher) = &mut self.watcher else { return std::future::pending().await };
        match tokio::time::timeout(TICK, watcher.next()).await {
            Ok(Some(item)) => self.show(item),
            Ok(None) => self.watcher = None,
            Err(_quiet) => self.tick(),
        }
    }

    /// Time went on.
    pub fn tick(&mut self) {
        if let Screen::Block(block) = &mut self.screen {
            block.tick();
        }
    }

    fn show(&mut self, item: WatchItem) {
        match item {
            WatchItem::View { json } => {
                if let Ok(view) = serde_json::from_str::<RunView>(&json) {
                    self.view(view);
                }
            }
            WatchItem::Event { event, .. } => {
                if let Some(line) = crate::commands::logs::line_of(&event) {
                    self.line(&line);
                }
            }
            WatchItem::Missed { items } => {
                self.line(&format!("{items} updates were too fast to show; `skein logs RUN` has every line"));
            }
        }
    }

    /// Shows how the run stands now.
    pub fn view(&mut self, view: RunView) {
        match &mut self.screen {
            Screen::Nothing => {}
            Screen::Block(block) => block.view(view),
            Screen::Lines(lines) => lines.view(&view),
        }
    }

    /// Shows a line that is safe for a terminal.
    pub fn line(&mut self, line: &str) {
        match &mut self.screen {
            Screen::Nothing => {}
            Screen::Block(block) => block.line(line),
            Screen::Lines(_) => output::note(line),
        }
    }

    /// Shows what was on its way when the run ended, and leaves the screen as the report wants it.
    pub async fn finish(&mut self) {
        while let Some(watcher) = &mut self.watcher {
            // What is there is taken, nothing is waited for.
            match tokio::time::timeout(Duration::ZERO, watcher.next()).await {
                Ok(Some(item)) => self.show(item),
                _ => self.watcher = None,
            }
        }
        if let Screen::Block(block) = &mut self.screen {
            block.clear();
        }
    }
}
