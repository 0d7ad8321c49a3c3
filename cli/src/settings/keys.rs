//! Keys: everything that can be set, with its variable, its kind and who may set it.

use super::{LogFormat, Secret, Settings};
use crate::launch::parse_tokens;
use crate::remote::{ApiUrl, BadUrl};
use serde_json::{Value, json};
use skein_common::agent::RunnerKind;
use skein_common::config::parse_duration_ms;
use skein_common::metrics::AllowedNames;
use skein_common::run::{BudgetUnit, RunLimits};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The store has a flag of its own.
pub const STORE: &str = "store.dir";
/// And so has where to ask.
pub const URL: &str = "api.url";
/// A hundred years.
const RETENTION_DAYS_MAX: u32 = 36_500;
/// Each is a lease that somebody renews every second and a consumer on the NATS server, which ten thousand make slow.
const SHARDS_MAX: u16 = 1_024;

/// Whether a file that comes with a project may set it. Who runs a workflow did not write that file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromProject {
    Yes,
    /// It names a program: only once the person trusts the project.
    WhenTrusted,
    Never,
}

/// One thing that can be set.
#[derive(Debug)]
pub struct Key {
    /// Table and name in the files.
    pub name: &'static str,
    pub variable: &'static str,
    pub from_project: FromProject,
    /// Shown as `***`.
    pub secret: bool,
    set: fn(&mut Settings, &Value) -> Result<(), String>,
    get: fn(&Settings) -> Value,
}

impl Key {
    /// Sets it from a file or a variable.
    ///
    /// # Errors
    /// What should stand there.
    pub fn set(&self, settings: &mut Settings, value: &Value) -> Result<(), String> {
        (self.set)(settings, value)
    }

    /// What it is set to, for people: times as `2s`, secrets hidden.
    #[must_use]
    pub fn shown(&self, settings: &Settings) -> Value {
        match (self.get)(settings) {
            Value::Null => Value::Null,
            _ if self.secret => json!("***"),
            value => value,
        }
    }

    /// A value that was refused, for people; one that may hold a password is not shown.
    #[must_use]
    pub fn refused(&self, value: &Value) -> String {
        let may_tell = self.secret || value.as_str().is_some_and(|text| text.contains('@'));
        if may_tell { String::from("the value") } else { value.to_string() }
    }

    /// The key of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }
}

macro_rules! key {
    ($name:literal, $variable:literal, $from_project:ident, $read:expr, $show:expr, $($field:ident).+) => {
        key!($name, $variable, $from_project, $read, $show, $($field).+, secret: false)
    };
    (
        $name:literal, $variable:literal, $from_project:ident, $read:expr, $show:expr, $($field:ident).+,
        secret: $secret:literal
    ) => {
        Key {
            name: $name,
            variable: $variable,
            from_project: FromProject::$from_project,
            secret: $secret,
            set: |settings, value| {
                settings.$($field).+ = $read(value)?;
                Ok(())
            },
            get: |settings| $show(&settings.$($field).+),
        }
    };
}

/// Everything that can be set, in the order in which people see it.
pub static KEYS: &[Key] = &[
    key!("store.dir", "SKEIN_STORE", Never, folder, shown_store, store),
    key!("log.filter", "SKEIN_LOG", Never, some_text, to_json, log),
    key!("log.format", "SKEIN_LOG_FORMAT", Never, log_format, to_json, log_format),
    key!("retention.days", "SKEIN_RETENTION_DAYS", Never, days, to_json, retention.days),
    key!("node.dir", "SKEIN_NODE_DIR", Never, folder, shown_node, node_dir),
    key!("api.url", "SKEIN_URL", Never, url, shown_url, api.url),
    key!("api.token", "SKEIN_TOKEN", Never, secret, shown_secret, api.token, secret: true),
    key!("api.token_file", "SKEIN_TOKEN_FILE", Never, folder, to_json, api.token_file),
    key!("api.listen", "SKEIN_LISTEN", Never, address, to_json, api.listen),
    key!("api.hosts", "SKEIN_API_HOSTS", Never, names, to_json, api.hosts),
    key!("api.metrics_open", "SKEIN_METRICS_OPEN", Never, yes_or_no, to_json, api.metrics_open),
    key!("api.watchers", "SKEIN_API_WATCHERS", Never, watchers, to_json, api.watchers_max),
    key!("metrics.models", "SKEIN_METRICS_MODELS", Never, models, to_json, metrics.models),
    key!("limits.concurrency", "SKEIN_CONCURRENCY", Yes, concurrency, to_json, runs.limits.concurrency),
    key!("limits.agents", "SKEIN_MAX_AGENTS", Yes, agents, to_json, runs.limits.agents_max),
    key!("limits.timeout", "SKEIN_TIMEOUT", Yes, some_time, shown_some_time, runs.timeout_ms),
    key!("budget.tokens", "SKEIN_BUDGET", Yes, tokens, to_json, runs.budget),
    key!("budget.unit", "SKEIN_BUDGET_UNIT", Yes, unit, to_json, runs.budget_unit),
    key!("model.default", "SKEIN_DEFAULT_MODEL", Yes, some_text, to_json, runs.model),
    key!("run.runner", "SKEIN_RUNNER", WhenTrusted, runner, to_json, runs.runner),
    key!("run.command", "SKEIN_COMMAND", WhenTrusted, words, to_json, runs.command),
    key!("worker.hosts", "SKEIN_HOSTS", Yes, names, to_json, served.hosts),
    key!("worker.pools", "SKEIN_POOLS", Yes, names, to_json, served.pools),
    key!("worker.root", "SKEIN_ROOT", Never, folder, to_json, served.root),
    key!("worker.labels", "SKEIN_WORKER_LABELS", Yes, names, to_json, served.labels),
    key!("worker.slots", "SKEIN_SLOTS", Never, slots, to_json, worker.slots),
    key!("worker.output_bytes", "SKEIN_OUTPUT_BYTES", Never, bytes, to_json, worker.output_bytes_max),
    key!("worker.attempt_timeout", "SKEIN_ATTEMPT_TIMEOUT", Never, time, shown_time, worker.attempt_timeout_ms),
    key!("worker.stall", "SKEIN_STALL", Never, time, shown_time, worker.stall_ms),
    key!("worker.heartbeat", "SKEIN_HEARTBEAT", Never, time, shown_time, worker.heartbeat_ms),
    key!("worker.kill_grace", "SKEIN_KILL_GRACE", Never, time, shown_time, worker.kill_grace_ms),
    key!("worker.metrics_listen", "SKEIN_WORKER_METRICS", Never, address, to_json, metrics.worker_listen),
    key!(
        "worker.attempts_lock_wait",
        "SKEIN_ATTEMPTS_LOCK_WAIT",
        Never,
        time,
        shown_time,
        worker.attempts_lock_wait_ms
    ),
    key!(
        "coordinator.attempt_deadline",
        "SKEIN_ATTEMPT_DEADLINE",
        Never,
        time,
        shown_time,
        coordinator.attempt_deadline_ms
    ),
    key!("coordinator.claim_wait", "SKEIN_CLAIM_WAIT", Never, time, shown_time, coordinator.claim_wait_ms),
    key!("coordinator.host_wait", "SKEIN_HOST_WAIT", Never, time, shown_time, coordinator.host_wait_ms),
    key!("coordinator.grace", "SKEIN_GRACE", Never, time, shown_time, coordinator.grace_ms),
    key!(
        "coordinator.hibernate_after",
        "SKEIN_HIBERNATE_AFTER",
        Never,
        time,
        shown_time,
        coordinator.hibernate_after_ms
    ),
    key!("coordinator.hosts_max", "SKEIN_HOSTS_MAX", Never, hosts_max, to_json, coordinator.hosts_max),
    key!("nats.url", "SKEIN_NATS_URL", Never, nats_url, to_json, nats.url),
    key!("nats.prefix", "SKEIN_NATS_PREFIX", Never, plain_text, to_json, nats.prefix),
    key!("nats.creds_file", "SKEIN_NATS_CREDS_FILE", Never, folder, to_json, nats.creds_file),
    key!("nats.nkey_file", "SKEIN_NATS_NKEY_FILE", Never, folder, to_json, nats.nkey_file),
    key!("nats.user", "SKEIN_NATS_USER", Never, some_text, to_json, nats.user),
    key!("nats.password_file", "SKEIN_NATS_PASSWORD_FILE", Never, folder, to_json, nats.password_file),
    key!("nats.tls_ca", "SKEIN_NATS_TLS_CA", Never, folder, to_json, nats.tls_ca),
    key!("nats.tls_cert", "SKEIN_NATS_TLS_CERT", Never, folder, to_json, nats.tls_cert),
    key!("nats.tls_key", "SKEIN_NATS_TLS_KEY", Never, folder, to_json, nats.tls_key),
    key!("nats.shards", "SKEIN_NATS_SHARDS", Never, shards, to_json, nats.shards),
    key!("nats.replicas", "SKEIN_NATS_REPLICAS", Never, replicas, to_json, nats.replicas),
    key!("nats.lease", "SKEIN_NATS_LEASE", Never, lease, shown_time, nats.lease_ms),
    key!("nats.ack_wait", "SKEIN_NATS_ACK_WAIT", Never, ack_wait, shown_time, nats.ack_wait_ms),
    key!("script.turn", "SKEIN_SCRIPT_TURN", Never, time, shown_time, host_limits.turn_ms),
    key!("script.memory_bytes", "SKEIN_SCRIPT_MEMORY_BYTES", Never, bytes, to_json, host_limits.memory_bytes),
];

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().filter(|text| !text.trim().is_empty()).ok_or_else(|| String::from("is no text"))
}

fn some_text(value: &Value) -> Result<Option<String>, String> {
    text(value).map(|text| Some(text.to_owned()))
}

fn plain_text(value: &Value) -> Result<String, String> {
    text(value).map(|text| text.trim().to_owned())
}

/// Settings are shown to whoever asks, so that names and passwords stand elsewhere.
fn nats_url(value: &Value) -> Result<String, String> {
    match plain_text(value)? {
        url if url.contains('@') => {
            Err(String::from("has a name or a password in it; use nats.user and nats.password_file"))
        }
        url => Ok(url),
    }
}

fn folder(value: &Value) -> Result<Option<PathBuf>, String> {
    text(value).map(|text| Some(PathBuf::from(text)))
}

fn url(value: &Value) -> Result<Option<ApiUrl>, String> {
    text(value)?.parse().map(Some).map_err(|error: BadUrl| error.to_string())
}

/// The text itself is not told again.
fn secret(value: &Value) -> Result<Option<Secret>, String> {
    text(value).map(|text| Some(Secret::new(text.trim().to_owned())))
}

fn address(value: &Value) -> Result<Option<SocketAddr>, String> {
    let parsed = text(value)?.trim().parse();
    parsed.map(Some).map_err(|_| String::from("is no address such as \"127.0.0.1:7717\""))
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

fn number_from<T: TryFrom<u64>>(value: &Value, least: u64, what: &str) -> Result<T, String> {
    let number = number(value).filter(|number| *number >= least).and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("is no {what}"))
}

fn bytes(value: &Value) -> Result<u64, String> {
    number_from(value, 1, "number of bytes")
}

fn slots(value: &Value) -> Result<usize, String> {
    number_from(value, 1, "number of slots")
}

fn watchers(value: &Value) -> Result<usize, String> {
    number_from(value, 1, "number of watchers")
}

fn hosts_max(value: &Value) -> Result<usize, String> {
    number_from(value, 0, "number of script hosts")
}

fn shards(value: &Value) -> Result<u16, String> {
    let shards: u16 = number_from(value, 1, "number of shards")?;
    if shards > SHARDS_MAX { Err(format!("is more than {SHARDS_MAX} shards")) } else { Ok(shards) }
}

/// What NATS keeps of a stream: one copy, or a majority of three or five.
fn replicas(value: &Value) -> Result<u8, String> {
    match number(value) {
        Some(1) => Ok(1),
        Some(3) => Ok(3),
        Some(5) => Ok(5),
        _ => Err(String::from("is neither 1 nor 3 nor 5")),
    }
}

fn days(value: &Value) -> Result<u32, String> {
    let days: u32 = number_from(value, 1, "number of days")?;
    if days > RETENTION_DAYS_MAX { Err(format!("is more than {RETENTION_DAYS_MAX} days")) } else { Ok(days) }
}

fn concurrency(value: &Value) -> Result<u32, String> {
    let concurrency = number_from(value, 0, "number of agents")?;
    RunLimits { concurrency, ..RunLimits::default() }.check().map(|()| concurrency)
}

fn agents(value: &Value) -> Result<u32, String> {
    let agents_max = number_from(value, 0, "number of agents")?;
    RunLimits { agents_max, ..RunLimits::default() }.check().map(|()| agents_max)
}

fn time(value: &Value) -> Result<u64, String> {
    let parsed = value.as_u64().or_else(|| parse_duration_ms(value.as_str()?));
    parsed.ok_or_else(|| String::from("is no time; write such as \"2s\" or \"500ms\""))
}

/// NATS counts whole seconds here, and a coordinator renews every second.
fn lease(value: &Value) -> Result<u64, String> {
    time(value)
        .ok()
        .filter(|ms| *ms >= 2_000 && ms.is_multiple_of(1_000))
        .ok_or_else(|| String::from("is no time of whole seconds, at least \"2s\""))
}

fn ack_wait(value: &Value) -> Result<u64, String> {
    time(value).ok().filter(|ms| *ms >= 1_000).ok_or_else(|| String::from("is no time of at least \"1s\""))
}

fn some_time(value: &Value) -> Result<Option<u64>, String> {
    match time(value)? {
        0 => Err(String::from("is no time that a run can end in")),
        ms => Ok(Some(ms)),
    }
}

fn tokens(value: &Value) -> Result<Option<u64>, String> {
    let parsed = value.as_u64().filter(|tokens| *tokens > 0).or_else(|| parse_tokens(value.as_str()?).ok());
    parsed.map(Some).ok_or_else(|| String::from("is no number of tokens; write such as 500000, \"230k\" or \"1.5m\""))
}

fn unit(value: &Value) -> Result<BudgetUnit, String> {
    serde_json::from_value(value.clone()).map_err(|_| String::from("is neither \"total\" nor \"output\""))
}

fn runner(value: &Value) -> Result<Option<RunnerKind>, String> {
    let runner = serde_json::from_value(value.clone());
    runner.map(Some).map_err(|_| String::from("is none of \"llm\", \"cli\", \"command\", \"simulated\""))
}

fn yes_or_no(value: &Value) -> Result<bool, String> {
    let parsed = value.as_bool().or_else(|| value.as_str()?.trim().parse().ok());
    parsed.ok_or_else(|| String::from("is neither true nor false"))
}

fn log_format(value: &Value) -> Result<LogFormat, String> {
    serde_json::from_value(value.clone()).map_err(|_| String::from("is neither \"text\" nor \"json\""))
}

/// Each is a series of several metrics.
fn models(value: &Value) -> Result<Vec<String>, String> {
    let models = names(value)?;
    if models.len() >= AllowedNames::MAX {
        return Err(format!("has {} models; {} can have series of their own", models.len(), AllowedNames::MAX - 1));
    }
    Ok(models)
}

/// A list, or in a variable the names with commas between them.
fn names(value: &Value) -> Result<Vec<String>, String> {
    let names: Vec<String> = match value {
        Value::String(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        list => serde_json::from_value(list.clone()).unwrap_or_default(),
    };
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(String::from("is no list of names"));
    }
    Ok(names)
}

/// A list of program and arguments, or a text that is split as a shell would.
fn words(value: &Value) -> Result<Option<Vec<String>>, String> {
    let words: Vec<String> = match value {
        Value::String(text) => shell_words::split(text).unwrap_or_default(),
        list => serde_json::from_value(list.clone()).unwrap_or_default(),
    };
    if words.is_empty() { Err(String::from("is no program with its arguments")) } else { Ok(Some(words)) }
}

fn to_json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn shown_store(dir: &Option<PathBuf>) -> Value {
    let shown = dir.clone().or_else(super::state_dir);
    shown.map_or(Value::Null, |dir| json!(dir.to_string_lossy()))
}

fn shown_node(dir: &Option<PathBuf>) -> Value {
    let shown = dir.clone().or_else(super::paths::default_node_dir);
    shown.map_or(Value::Null, |dir| json!(dir.to_string_lossy()))
}

fn shown_url(url: &Option<ApiUrl>) -> Value {
    url.as_ref().map_or(Value::Null, |url| json!(url.to_string()))
}

/// Whether there is one; `Key::shown` says no more.
fn shown_secret(secret: &Option<Secret>) -> Value {
    secret.as_ref().map_or(Value::Null, |_| json!("***"))
}

fn shown_time(ms: &u64) -> Value {
    let unit = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(unit, _)| *ms > 0 && ms.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => json!(format!("{}{name}", ms / unit)),
        None => json!(format!("{ms}ms")),
    }
}

fn shown_some_time(ms: &Option<u64>) -> Value {
    ms.as_ref().map_or(Value::Null, shown_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_has_a_name_and_a_variable_of_its_own() {
        let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
        let variables: BTreeSet<&str> = KEYS.iter().map(|key| key.variable).collect();
        assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
        // What the agents of a run find in their environment must not set up a run that an agent starts.
        for of_agents in ["RUN", "AGENT", "ATTEMPT", "LABEL", "PHASE", "HOST", "MODEL"] {
            assert!(!variables.contains(format!("SKEIN_{of_agents}").as_str()), "{of_agents}");
        }
    }

    #[test]
    fn what_is_shown_can_be_set_again() {
        let defaults = Settings::default();
        for key in KEYS {
            let shown = key.shown(&defaults);
            let is_unset = shown.is_null() || shown == json!([]);
            let mut settings = Settings::default();
            assert!(is_unset || key.set(&mut settings, &shown) == Ok(()), "{}: {shown}", key.name);
            assert_eq!(key.shown(&settings), shown, "{}", key.name);
        }
    }

    #[test]
    fn no_key_takes_what_it_cannot_be() {
        for key in KEYS {
            let mut settings = Settings::default();
            let is_yes_or_no = key.shown(&settings).is_boolean();
            for bad in [json!(true), json!(-1), json!({}), json!(""), json!([])] {
                assert!(
                    is_yes_or_no && bad.is_boolean() || key.set(&mut settings, &bad).is_err(),
                    "{} took {bad}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn a_secret_is_shown_as_stars_and_nothing_when_it_is_not_set() {
        let secret = |get| Key {
            name: "a.secret",
            variable: "SKEIN_A_SECRET",
            from_project: FromProject::Never,
            secret: true,
            set: |_, _| Ok(()),
            get,
        };
        assert_eq!(secret(|_| json!("hunter2")).shown(&Settings::default()), json!("***"));
        assert_eq!(secret(|_| Value::Null).shown(&Settings::default()), Value::Null);
    }
}
