//! The `simulated` runner: no work. Everything is drawn from the prompt's hash, so a run can be repeated (A1).

use super::schema::Schema;
use super::{Ended, Runner, Stop, Work};
use async_trait::async_trait;
use skein_common::agent::{Cause, Simulation, Usage};
use skein_common::{Digest, Payload};
use std::time::Duration;

/// Invents answers.
#[derive(Debug)]
pub(crate) struct SimulatedRunner;

#[async_trait(?Send)]
impl Runner for SimulatedRunner {
    async fn run(&self, work: &Work, stop: &mut Stop) -> Ended {
        let simulation = &work.task.simulation;
        let draws = Draws::from(&work.prompt);
        let latency = draws.latency(simulation);
        if !latency.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(latency.min(work.timeout)) => {}
                () = stop.asked() => return Ended::lost(None, "stopped"),
            }
        }
        if latency > work.timeout {
            let message = format!("ran longer than {} ms", work.timeout.as_millis());
            return Ended::failed(Cause::TimedOut, None, message);
        }
        let mut ended = if draws.fails(simulation) {
            Ended::failed(Cause::Failed, Some("simulated"), "simulated failure")
        } else {
            invent(work, &draws)
        };
        ended.usage = draws.usage(simulation);
        ended
    }
}

fn invent(work: &Work, draws: &Draws) -> Ended {
    let Some(schema) = &work.schema else {
        let text = draws.text(work.task.simulation.text_bytes);
        return Ended::done(Payload::text(text), Usage::default());
    };
    match Schema::parse(schema).and_then(|schema| schema.smallest()) {
        Ok(value) => Ended::done(Payload::json(value.to_string()), Usage::default()),
        Err(error) => Ended::failed(Cause::Failed, Some("schema"), error.to_string()),
    }
}

/// Numbers drawn from the hash of a prompt.
struct Draws {
    hex: String,
}

impl Draws {
    fn from(prompt: &str) -> Draws {
        Draws { hex: Digest::of(prompt.as_bytes()).0 }
    }

    /// One of four independent numbers.
    fn number(&self, which: usize) -> u64 {
        self.hex.get(which * 16..which * 16 + 16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default()
    }

    fn latency(&self, simulation: &Simulation) -> Duration {
        let jitter_ms = match simulation.jitter_ms.checked_add(1) {
            Some(values) => self.number(1) % values,
            None => self.number(1),
        };
        Duration::from_millis(simulation.latency_ms.saturating_add(jitter_ms))
    }

    fn fails(&self, simulation: &Simulation) -> bool {
        const STEPS: u32 = 1_000_000;
        let draw = u32::try_from(self.number(2) % u64::from(STEPS)).unwrap_or_default();
        f64::from(draw) < simulation.fail * f64::from(STEPS)
    }

    /// A short sentence, or this many letters, drawn so that compressing them gains little.
    fn text(&self, bytes: Option<u64>) -> String {
        let Some(bytes) = bytes.and_then(|bytes| usize::try_from(bytes).ok()) else {
            return format!("simulated answer {}", &self.hex[..12]);
        };
        let mut state = self.number(0) | 1;
        let mut text = Vec::with_capacity(bytes.next_multiple_of(8));
        while text.len() < bytes {
            // Marsaglia's xorshift: the letters need to be varied, no more.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.extend_from_slice(&state.to_le_bytes().map(|byte| b'a' + (byte & 0x0f)));
        }
        text.truncate(bytes);
        String::from_utf8(text).unwrap_or_default()
    }

    /// Output is a tenth to three tenths of the whole.
    fn usage(&self, simulation: &Simulation) -> Usage {
        let percent = 10 + self.number(3) % 21;
        let output = simulation.tokens / 100 * percent + simulation.tokens % 100 * percent / 100;
        Usage { input: simulation.tokens - output, output, ..Usage::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a01_what_is_drawn_depends_on_the_prompt_only() {
        let simulation = Simulation { latency_ms: 5, jitter_ms: 10, fail: 0.5, ..Simulation::default() };
        let (one, same) = (Draws::from("count the errors"), Draws::from("count the errors"));
        assert_eq!(one.latency(&simulation), same.latency(&simulation));
        assert_eq!(one.fails(&simulation), same.fails(&simulation));
        assert_eq!(one.usage(&simulation), same.usage(&simulation));
        assert_eq!(one.usage(&simulation).total(), 110);
    }

    #[test]
    fn a01_the_share_that_fails_is_about_the_one_asked_for() {
        let failed = |fail| {
            let simulation = Simulation { fail, ..Simulation::default() };
            (0..2000).filter(|n| Draws::from(&format!("prompt {n}")).fails(&simulation)).count()
        };
        assert_eq!((failed(0.0), failed(1.0)), (0, 2000));
        assert!((400..600).contains(&failed(0.25)), "{}", failed(0.25));
    }

    #[test]
    fn a01_an_answer_has_the_length_asked_for() {
        let draws = Draws::from("x");
        assert_eq!(draws.text(Some(65_536)).len(), 65_536);
        assert!(draws.text(None).starts_with("simulated answer "));
    }

    #[test]
    fn a01_extreme_settings_do_not_overflow() {
        let simulation =
            Simulation { latency_ms: u64::MAX, jitter_ms: u64::MAX, fail: 1.0, tokens: u64::MAX, text_bytes: None };
        let draws = Draws::from("x");
        assert_eq!(draws.usage(&simulation).total(), u64::MAX);
        assert!(draws.latency(&simulation) >= Duration::from_millis(u64::MAX));
    }
}
