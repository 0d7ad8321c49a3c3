//! The model workflows. Whatever the order in which their agents end, each comes to one result.

use super::script::{Globals, Returned, all};
use skein_common::agent::Cause;
use skein_common::script::Outcome;
use skein_common::wire::AttemptEnd;
use skein_common::{AttemptNumber, Digest, Payload};
use std::pin::Pin;

/// The names of all models.
pub const MODELS: [&str; 12] = [
    "fan-out",
    "pipeline",
    "staggered",
    "until-dry",
    "timers",
    "refused",
    "unawaited",
    "throws",
    "failing",
    "large",
    "budget",
    "overtime",
];

/// Output tokens of every simulated agent.
pub const AGENT_TOKENS: u64 = 10;
/// What the model of that name may spend: as many agents as this lets finish are fewer than it asks for.
const BUDGET_AGENTS: u64 = 9;
/// Long enough for what comes before, whatever goes wrong.
const TIMEOUT_MS: u64 = 30 * 60 * 1000;

/// The budget of a run of this model.
#[must_use]
pub fn budget(model: &str) -> Option<u64> {
    (model == "budget").then_some(BUDGET_AGENTS * AGENT_TOKENS)
}

/// The time that a run of this model may take.
#[must_use]
pub fn timeout_ms(model: &str) -> Option<u64> {
    (model == "overtime").then_some(TIMEOUT_MS)
}

/// Accepted calls of a run's life in the simulation.
pub const AGENTS_MAX: u32 = 16;
/// Longer than what stays inside an event.
const LARGE: usize = 70_000;

type Step<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The body of the model of this name.
pub fn body(name: &str, globals: Globals) -> Option<Step<Returned>> {
    Some(match name {
        "fan-out" => Box::pin(fan_out(globals)),
        "pipeline" => Box::pin(pipeline(globals)),
        "staggered" => Box::pin(staggered(globals)),
        "until-dry" => Box::pin(until_dry(globals)),
        "timers" => Box::pin(timers(globals)),
        "refused" => Box::pin(refused(globals)),
        "unawaited" => Box::pin(unawaited(globals)),
        "throws" => Box::pin(throws(globals)),
        "failing" => Box::pin(failing(globals)),
        "large" => Box::pin(large(globals)),
        "budget" => Box::pin(spends(globals)),
        "overtime" => Box::pin(overtime(globals)),
        _ => return None,
    })
}

/// What a simulated agent answers to a prompt; `None` when it fails for good.
#[must_use]
pub fn answer(prompt: &str) -> Option<String> {
    if prompt.contains("hopeless") {
        return None;
    }
    let digest = Digest::of(prompt.as_bytes()).0;
    if prompt.contains("much") {
        return Some(digest.repeat(LARGE / digest.len() + 1));
    }
    Some(digest.chars().take(8).collect())
}

/// Whether the first attempt fails and asks to come back.
#[must_use]
pub fn is_flaky(prompt: &str) -> bool {
    prompt.contains("flaky")
}

/// How an attempt of a simulated agent ends that nothing befalls.
#[must_use]
pub fn end_of(prompt: &str, attempt: AttemptNumber) -> AttemptEnd {
    let failed = |retryable| AttemptEnd::Failed {
        cause: Cause::Failed,
        detail: None,
        message: String::from("as the model wants"),
        retryable,
        unfit: None,
    };
    if is_flaky(prompt) && attempt == 1 {
        return failed(true);
    }
    answer(prompt).map_or(failed(false), |text| AttemptEnd::Done { value: Payload::text(text) })
}

fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Text { text } => text,
        Outcome::Json { json } => json,
        Outcome::Null => String::from("null"),
        Outcome::Fired => String::from("fired"),
        Outcome::Error { name, .. } => name,
    }
}

fn json(values: &[String]) -> Returned {
    serde_json::to_string(values).map_err(|error| error.to_string())
}

fn agent(globals: &Globals, prompt: String) -> Step<String> {
    let asked = globals.agent(&prompt, None);
    Box::pin(async move { text(asked.await) })
}

async fn fan_out(globals: Globals) -> Returned {
    globals.phase("look");
    let values =
        all((0..9).map(|n| agent(&globals, format!("look at {n} {}", if n == 4 { "flaky" } else { "" }))).collect());
    let values = values.await;
    globals.log("all there");
    globals.phase("sum up");
    let sum = agent(&globals, values.join(" ")).await;
    json(&[values, vec![sum]].concat())
}

async fn pipeline(globals: Globals) -> Returned {
    let item = |n: u32| -> Step<String> {
        let globals = globals.clone();
        Box::pin(async move {
            let found = agent(&globals, format!("find {n}")).await;
            globals.log(&format!("found {n}"));
            let judged = agent(&globals, format!("judge {found}")).await;
            agent(&globals, format!("write {judged} flaky")).await
        })
    };
    json(&all((0..5).map(item).collect()).await)
}

async fn staggered(globals: Globals) -> Returned {
    let chain = |n: u32| -> Step<String> {
        let globals = globals.clone();
        Box::pin(async move {
            globals.timer(u64::from(n) * 700).1.await;
            let mut value = format!("chain {n}");
            for step in 0..=n {
                value = agent(&globals, format!("{value} step {step}")).await;
            }
            value
        })
    };
    json(&all((0..5).map(chain).collect()).await)
}

async fn until_dry(globals: Globals) -> Returned {
    let mut found: Vec<String> = Vec::new();
    let mut dry = 0;
    for round in 0..4 {
        let values = all((0..3).map(|n| agent(&globals, format!("round {round} finder {n}"))).collect()).await;
        let new: Vec<String> = values.into_iter().filter(|value| value.starts_with(['0', '1', '2', '3'])).collect();
        dry = if new.is_empty() { dry + 1 } else { 0 };
        found.extend(new);
        if dry == 2 {
            break;
        }
    }
    json(&found)
}

async fn timers(globals: Globals) -> Returned {
    let (forgotten, _never) = globals.timer(60_000);
    let first = agent(&globals, String::from("before")).await;
    let waits: Vec<Step<Outcome>> =
        vec![Box::pin(globals.timer(1500).1), Box::pin(globals.timer(0).1), Box::pin(globals.timer(20).1)];
    let fired = all(waits).await.len();
    globals.clear(forgotten);
    let second = agent(&globals, format!("after {first}")).await;
    let both = all(vec![agent(&globals, format!("{second} a")), {
        let (_, wait) = globals.timer(300);
        Box::pin(async move { text(wait.await) })
    }]);
    json(&[vec![first, fired.to_string()], both.await].concat())
}

async fn refused(globals: Globals) -> Returned {
    let wrong = text(globals.agent("wrong", Some(r#"{"retries":-1}"#)).await);
    let values = all((0..AGENTS_MAX + 5).map(|n| agent(&globals, format!("many {n}"))).collect()).await;
    json(&[vec![wrong], values].concat())
}

async fn unawaited(globals: Globals) -> Returned {
    let first = agent(&globals, String::from("awaited"));
    for n in 0..6 {
        drop(agent(&globals, format!("never awaited {n}")));
    }
    json(&[first.await])
}

async fn throws(globals: Globals) -> Returned {
    let others: Vec<Step<String>> = (0..4).map(|n| agent(&globals, format!("left behind {n}"))).collect();
    let value = agent(&globals, String::from("the last straw")).await;
    drop(others);
    Err(format!("no use: {value}"))
}

async fn failing(globals: Globals) -> Returned {
    let prompts = ["hopeless", "fine", "flaky", "hopeless too", "flaky as well"];
    let values = all(prompts.iter().map(|prompt| agent(&globals, (*prompt).to_owned())).collect()).await;
    let last = agent(&globals, values.join(" ")).await;
    json(&[values, vec![last]].concat())
}

async fn large(globals: Globals) -> Returned {
    let much = agent(&globals, String::from("say much")).await;
    let values = vec![agent(&globals, format!("read {much}")), agent(&globals, String::from("say much more"))];
    let values: Vec<String> = all(values).await.iter().map(|value| Digest::of(value.as_bytes()).0).collect();
    json(&values)
}

/// Which agents are refused depends on who ended first; how many does not.
async fn spends(globals: Globals) -> Returned {
    let values = all((0..14).map(|n| agent(&globals, format!("spend {n}"))).collect()).await;
    let answered = values.iter().filter(|value| *value != "Error").count();
    let late = agent(&globals, String::from("too late")).await;
    json(&[answered.to_string(), late])
}

/// Never returns: the run ends by its timeout.
async fn overtime(globals: Globals) -> Returned {
    let values = all((0..3).map(|n| agent(&globals, format!("hurry {n}"))).collect()).await;
    globals.timer(2 * TIMEOUT_MS).1.await;
    json(&values)
}
