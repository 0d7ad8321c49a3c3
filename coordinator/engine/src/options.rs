//! Options: what the second argument of `agent()` may say (C23 to C26).

use crate::agent::{AgentSpec, PRIORITY_DEFAULT, RETRIES_DEFAULT};
use crate::schema::Accepted;
use serde_json::{Map, Value};
use skein_common::Payload;
use skein_common::agent::{AgentDefinition, Isolation, RetryRule, RunnerKind};
use skein_common::config::parse_duration_ms;
use skein_common::run::RunSpec;

/// Every option there is, in the order in which messages list them.
const KNOWN: [&str; 17] = [
    "label",
    "phase",
    "schema",
    "model",
    "effort",
    "agentType",
    "isolation",
    "stallMs",
    "host",
    "pool",
    "timeout",
    "retries",
    "tools",
    "disallowedTools",
    "maxTurns",
    "runner",
    "priority",
];
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
/// Names that people read are cut here, names that must match something are refused beyond it: they stand in events.
const NAME_CHARS_MAX: usize = 200;
/// A label is kept as it was given, as far as an event can hold it (C24).
const LABEL_CHARS_MAX: usize = 2_000;
/// Lists of tools, as JSON.
const TOOLS_BYTES_MAX: usize = 32 * 1024;
/// The default label: so many characters of the prompt (C24).
const LABEL_CHARS: usize = 60;
const RETRIES_MAX: u64 = 10;
const PRIORITY_MAX: u64 = 9;

/// Why a call throws instead of starting an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRefusal {
    pub name: &'static str,
    pub message: String,
}

fn type_error(message: impl Into<String>) -> CallRefusal {
    CallRefusal { name: "TypeError", message: message.into() }
}

/// A call as the script wrote it.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    pub prompt: &'a str,
    pub options: Option<&'a str>,
    /// The current `phase()` at the call.
    pub phase: Option<&'a str>,
    /// Of a child workflow: beats every phase.
    pub group: Option<&'a str>,
}

/// Fills a spec in from a call's options and the run's defaults; warnings are for the run record. The prompt itself is
/// left to the caller, who knows where it is stored.
pub fn read_options(
    run: &RunSpec,
    written: Written<'_>,
    accepted: &mut Accepted,
) -> Result<(AgentSpec, Vec<String>), CallRefusal> {
    let Written { prompt, options, phase, group } = written;
    let options = parse(options)?;
    let mut reader = Reader { options: &options, warnings: Vec::new(), strict: run.strict };
    reader.refuse_unknown_keys()?;
    let definition = reader.definition(run)?;
    let runner = reader.runner(run, definition)?;
    let spec = AgentSpec {
        label: reader
            .text("label")
            .map_or_else(|| default_label(prompt), |label| label.chars().take(LABEL_CHARS_MAX).collect()),
        phase: group.map(str::to_owned).or_else(|| {
            let title = reader.text("phase").or(phase.map(str::to_owned));
            title.map(|title| clip_name(&title))
        }),
        runner,
        schema: reader.schema(accepted)?,
        model: reader.model(run, definition)?,
        effort: reader.effort()?,
        agent_type: definition.map(|definition| definition.name.clone()),
        stall_ms: reader.whole("stallMs", u64::MAX)?,
        host: reader.name("host")?,
        pool: reader.name("pool")?,
        timeout_ms: reader.timeout()?,
        retries: narrow(reader.whole("retries", RETRIES_MAX)?, RETRIES_DEFAULT),
        retry: definition.map_or(RetryRule::Asked, |definition| definition.retry),
        priority: u8::try_from(narrow(reader.whole("priority", PRIORITY_MAX)?, u32::from(PRIORITY_DEFAULT)))
            .unwrap_or(PRIORITY_DEFAULT),
        max_turns: reader.whole("maxTurns", u64::from(u32::MAX))?.and_then(|turns| u32::try_from(turns).ok()),
        tools: reader.texts("tools")?,
        disallowed_tools: reader.texts("disallowedTools")?,
        isolation: reader.isolation()?,
        prompt: Payload::text(String::new()),
    };
    Ok((spec, reader.warnings))
}

fn parse(options: Option<&str>) -> Result<Map<String, Value>, CallRefusal> {
    match options.map(serde_json::from_str) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(map))) => Ok(map),
        Some(_) => Err(type_error("agent(): options cannot be read")),
    }
}

fn narrow(value: Option<u64>, default: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default)
}

/// The first characters of the prompt, line breaks as blanks (C24).
fn default_label(prompt: &str) -> String {
    prompt.chars().take(LABEL_CHARS).map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c }).collect()
}

struct Reader<'a> {
    options: &'a Map<String, Value>,
    warnings: Vec<String>,
    strict: bool,
}

impl Reader<'_> {
    /// The option's value; null counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.options.get(key).filter(|value| !value.is_null())
    }

    /// The option as text, coerced like a label.
    fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    }

    /// The option as a name that has to match one elsewhere.
    fn name(&self, key: &str) -> Result<Option<String>, CallRefusal> {
        let name = self.text(key);
        if name.as_ref().is_some_and(|name| name.is_empty() || name.chars().count() > NAME_CHARS_MAX) {
            return Err(type_error(format!("agent(): {key} must have 1 to {NAME_CHARS_MAX} characters")));
        }
        Ok(name)
    }

    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, CallRefusal> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let bad = || type_error(format!("agent(): {key} must be an array of strings"));
        let items = value.as_array().ok_or_else(bad)?;
        if value.to_string().len() > TOOLS_BYTES_MAX {
            return Err(type_error(format!("agent(): {key} is larger than {TOOLS_BYTES_MAX} bytes")));
        }
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(bad)).collect::<Result<_, _>>().map(Some)
    }

    fn whole(&self, key: &str, max: u64) -> Result<Option<u64>, CallRefusal> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| *number <= max).map(Some).ok_or_else(|| {
            let range = if max == u64::MAX { String::from("of 0 or more") } else { format!("from 0 to {max}") };
            type_error(format!("agent(): {key} must be a whole number {range}, not {value}"))
        })
    }

    fn refuse_unknown_keys(&mut self) -> Result<(), CallRefusal> {
        let unknown: Vec<&String> = self.options.keys().filter(|key| !KNOWN.contains(&key.as_str())).collect();
        for key in unknown {
            let text = format!("agent(): unknown option `{}`; known are {}", clip(key), KNOWN.join(", "));
            if self.strict {
                return Err(type_error(text));
            }
            self.warnings.push(text);
        }
        Ok(())
    }

    /// An agent must never run less isolated than asked, so what cannot be given always throws (C23).
    fn isolation(&self) -> Result<Option<Isolation>, CallRefusal> {
        match self.get("isolation") {
            None => Ok(None),
            Some(Value::String(mode)) if mode == "worktree" => Ok(Some(Isolation::Worktree)),
            Some(mode) => Err(type_error(format!("agent(): unknown isolation {mode}; known is 'worktree'"))),
        }
    }

    fn definition<'run>(&self, run: &'run RunSpec) -> Result<Option<&'run AgentDefinition>, CallRefusal> {
        let Some(name) = self.text("agentType") else { return Ok(None) };
        let found = run.definitions.iter().find(|definition| definition.name == name);
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = run.definitions.iter().map(|definition| definition.name.as_str()).collect();
            let known = if known.is_empty() { String::from("none") } else { known.join(", ") };
            CallRefusal {
                name: "Error",
                message: format!(
                    "agent({{agentType}}): agent type '{}' not found. Available agents: {known}",
                    clip(&name)
                ),
            }
        })
    }

    /// Option, then definition, then run, then `llm` (A1).
    fn runner(&self, run: &RunSpec, definition: Option<&AgentDefinition>) -> Result<RunnerKind, CallRefusal> {
        if run.dry_run {
            return Ok(RunnerKind::Simulated);
        }
        if let Some(name) = self.text("runner") {
            return RunnerKind::from_name(&name).ok_or_else(|| {
                let known = RunnerKind::ALL.map(RunnerKind::name).join(", ");
                type_error(format!("agent(): unknown runner '{}'; known are {known}", clip(&name)))
            });
        }
        let defined = definition.and_then(|definition| definition.runner);
        Ok(defined.or(run.runner).unwrap_or(RunnerKind::Llm))
    }

    fn model(&self, run: &RunSpec, definition: Option<&AgentDefinition>) -> Result<Option<String>, CallRefusal> {
        match self.get("model") {
            Some(Value::String(_)) => self.name("model"),
            Some(other) => Err(type_error(format!("agent(): model must be a string, not {other}"))),
            None => Ok(definition.and_then(|definition| definition.model.clone()).or_else(|| run.model.clone())),
        }
    }

    fn effort(&mut self) -> Result<Option<String>, CallRefusal> {
        let Some(effort) = self.text("effort") else { return Ok(None) };
        if EFFORTS.contains(&effort.as_str()) {
            return Ok(Some(effort));
        }
        let text = format!("agent(): unknown effort '{}'; known are {}", clip(&effort), EFFORTS.join(", "));
        if self.strict {
            return Err(type_error(text));
        }
        self.warnings.push(text);
        Ok(None)
    }

    /// null and false mean no schema; an object or true is one.
    fn schema(&self, accepted: &mut Accepted) -> Result<Option<Payload>, CallRefusal> {
        match self.get("schema") {
            None | Some(Value::Bool(false)) => Ok(None),
            Some(schema @ Value::Object(_)) => match accepted.check(schema) {
                Ok(text) => Ok(Some(Payload::json(text))),
                Err(reason) => Err(type_error(format!("agent({{schema}}) received an invalid JSON Schema: {reason}"))),
            },
            Some(other) => {
                let kind = match other {
                    Value::Array(_) => "an array",
                    Value::String(_) => "a string",
                    Value::Number(_) => "a number",
                    _ => "a boolean",
                };
                Err(type_error(format!("agent({{schema}}): schema must be a JSON Schema object, got {kind}")))
            }
        }
    }

    fn timeout(&self) -> Result<Option<u64>, CallRefusal> {
        let Some(value) = self.get("timeout") else { return Ok(None) };
        let ms = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => parse_duration_ms(text),
            _ => None,
        };
        ms.filter(|ms| *ms > 0).map(Some).ok_or_else(|| {
            type_error(format!("agent(): timeout must be such as \"90s\", \"5m\" or milliseconds, not {value}"))
        })
    }
}

/// A name for people, cut where it would fill an event.
pub fn clip_name(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// Keeps hostile text in messages short.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}
