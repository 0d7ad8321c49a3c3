//! The block a person watches: phases with their agents, tokens and elapsed time, redrawn in place.

use crate::output::{printable, short_count, short_time};
use skein_common::view::{PhaseView, RunView};
use std::io::Write as _;
use std::time::Instant;

const BAR_CELLS: u32 = 20;

/// A block of lines at the bottom of the terminal.
pub struct Block {
    view: Option<RunView>,
    seen_at: Instant,
    lines_drawn: usize,
    colour: bool,
}

impl Default for Block {
    fn default() -> Block {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Block { view: None, seen_at: Instant::now(), lines_drawn: 0, colour }
    }
}

impl Block {
    pub fn view(&mut self, view: RunView) {
        self.view = Some(view);
        self.seen_at = Instant::now();
        self.draw("");
    }

    /// A line that stays, above the block.
    pub fn line(&mut self, line: &str) {
        self.draw(&format!("{line}\n"));
    }

    /// Time went on.
    pub fn tick(&mut self) {
        self.draw("");
    }

    /// Takes the block off the screen.
    pub fn clear(&mut self) {
        self.view = None;
        self.draw("");
    }

    /// Goes back to the block's first line, clears from there, and writes anew, in one go against flicker.
    fn draw(&mut self, above: &str) {
        let mut frame = String::new();
        if self.lines_drawn > 0 {
            frame.push_str(&format!("\x1b[{}A", self.lines_drawn));
        }
        frame.push_str("\r\x1b[J");
        frame.push_str(above);
        let (width, height) = terminal_size();
        let mut lines = self.lines();
        lines.truncate(height.saturating_sub(1));
        self.lines_drawn = lines.len();
        for line in lines {
            frame.extend(line.chars().take(width.saturating_sub(1)));
            frame.push('\n');
        }
        if self.colour {
            frame = frame.replace('█', "\x1b[32m█\x1b[0m");
        }
        let mut stderr = std::io::stderr().lock();
        let _terminal_is_gone = stderr.write_all(frame.as_bytes()).and_then(|()| stderr.flush());
    }

    fn lines(&self) -> Vec<String> {
        let Some(view) = &self.view else { return Vec::new() };
        let since_ms = u64::try_from(self.seen_at.elapsed().as_millis()).unwrap_or(0);
        let census = &view.agents;
        let budget = view.tokens.budget.map(|budget| format!(" of {}", short_count(budget))).unwrap_or_default();
        let mut lines = vec![format!(
            "{} {}  {}  {} done, {} running, {} queued  {}{budget} tokens",
            printable(&view.workflow),
            view.status,
            short_time(view.elapsed_ms + since_ms),
            census.done + census.failed + census.refused,
            census.running,
            census.queued,
            short_count(view.tokens.total),
        )];
        lines.extend(view.phases.iter().map(phase_line));
        lines
    }
}

fn phase_line(phase: &PhaseView) -> String {
    let ended = phase.done + phase.failed;
    let filled = (ended * BAR_CELLS).checked_div(phase.agents).unwrap_or(0);
    let bar: String = (0..BAR_CELLS).map(|cell| if cell < filled { '█' } else { '░' }).collect();
    let mut line = format!("  {:<16} {bar} {:>4}/{:<4}", clip(&printable(&phase.title), 16), ended, phase.agents);
    for (count, word) in [(phase.running, "running"), (phase.queued, "queued"), (phase.failed, "failed")] {
        if count > 0 {
            line.push_str(&format!(" {count} {word}"));
        }
    }
    if phase.tokens > 0 {
        line.push_str(&format!("  {} tokens", short_count(phase.tokens)));
    }
    line
}

fn clip(text: &str, chars: usize) -> String {
    text.replace('\n', " ").chars().take(chars).collect()
}

/// Columns and rows of the terminal on standard error.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (80, 24),
    }
}
