//! Settings of this process, in layers: defaults, the system's file, the user's, the project's, `SKEIN_*`, flags.
//!
//! [`keys`] says what can be set and from where, [`layers`] reads it, [`project`] knows what of a project needs trust,
//! [`trust`] keeps which projects have it.

mod api;
mod keys;
mod layers;
mod paths;
mod project;
mod served;
pub mod trust;

pub use api::{ApiSettings, Secret};
pub use keys::{KEYS, Key};
pub use layers::{Origin, Problem, project_items_that_need_trust};
pub use paths::{config_files, home_dir, state_dir};
pub use project::{ProjectAgent, ProjectItems, trusted_definitions};
pub use served::{Served, pools_for, read_labels};

use crate::exit::usage;
use crate::remote::ApiUrl;
use serde::{Deserialize, Serialize};
use skein_common::agent::RunnerKind;
use skein_common::config::{CoordinatorSettings, NatsSettings, WorkerSettings};
use skein_common::run::{BudgetUnit, RunLimits};
use skein_script::HostLimits;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// What the parts of one process are set to, and who said so.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub worker: WorkerSettings,
    pub served: Served,
    pub coordinator: CoordinatorSettings,
    pub nats: NatsSettings,
    pub host_limits: HostLimits,
    pub runs: RunDefaults,
    pub retention: RetentionSettings,
    pub api: ApiSettings,
    pub metrics: MetricsSettings,
    node_dir: Option<PathBuf>,
    store: Option<PathBuf>,
    log: Option<String>,
    log_format: LogFormat,
    origins: BTreeMap<&'static str, Origin>,
    /// What was not used, and why; for the person.
    pub warnings: Vec<String>,
}

/// What a new run gets when its flags say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunDefaults {
    /// Since: 0.1.
    pub limits: RunLimits,
    /// Time the whole run may take. Since: 0.1.
    pub timeout_ms: Option<u64>,
    /// Tokens. Since: 0.1.
    pub budget: Option<u64>,
    /// Since: 0.1.
    pub budget_unit: BudgetUnit,
    /// Of agents that name none. Since: 0.1.
    pub model: Option<String>,
    /// Of agents whose type names none. Since: 0.1.
    pub runner: Option<RunnerKind>,
    /// The program of agents without a type. Since: 0.1.
    pub command: Option<Vec<String>>,
}

/// What metrics tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetricsSettings {
    /// Models with series of their own, beside the default one; all others are `other`. Since: 0.2.
    pub models: Vec<String>,
    /// Where `skein worker` serves its metrics; `None` is nowhere. Since: 0.2.
    pub worker_listen: Option<SocketAddr>,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people. Since: 0.2.
    #[default]
    Text,
    /// One object a line, with `run_id`, `agent` and `attempt` where a line is of one. Since: 0.2.
    Json,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Ended runs. Since: 0.1.
    pub days: u32,
}

impl Default for RetentionSettings {
    fn default() -> RetentionSettings {
        RetentionSettings { days: 30 }
    }
}

impl Settings {
    /// Reads all layers; the flags are what `--store` and `--url` said. What is wrong in them is named and does not
    /// count.
    #[must_use]
    pub fn load(store_flag: Option<&PathBuf>, url_flag: Option<&ApiUrl>) -> (Settings, Vec<Problem>) {
        let mut settings = Settings::default();
        let problems = layers::apply_all(&mut settings);
        if let Some(dir) = store_flag {
            settings.store = Some(dir.clone());
            settings.origins.insert(keys::STORE, Origin::Flag("--store"));
        }
        if let Some(url) = url_flag {
            settings.api.url = Some(url.clone());
            settings.origins.insert(keys::URL, Origin::Flag("--url"));
        }
        (settings, problems)
    }

    /// Sets what a flag of one command says; a file or variable would be refused in the same words.
    ///
    /// # Errors
    /// What should stand there.
    pub fn set_by_flag(&mut self, key: &str, flag: &'static str, value: &str) -> anyhow::Result<()> {
        let known = Key::find(key).ok_or_else(|| anyhow::anyhow!("{flag} sets no setting"))?;
        let value = serde_json::json!(value);
        known.set(self, &value).map_err(|reason| usage(format!("{flag}: {} {reason}", known.refused(&value))))?;
        self.origins.insert(known.name, Origin::Flag(flag));
        Ok(())
    }

    /// Who said what stands under this key.
    #[must_use]
    pub fn origin(&self, key: &Key) -> Origin {
        self.origins.get(key.name).cloned().unwrap_or(Origin::Default)
    }

    /// Whether anybody said what stands under this key.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// Whether a person named this for the command that runs now, not a file that is there for all of them.
    #[must_use]
    pub fn is_set_here(&self, key: &str) -> bool {
        matches!(self.origins.get(key), Some(Origin::Variable(_) | Origin::Flag(_)))
    }

    /// Where runs are kept: as set, else the platform's state directory.
    ///
    /// # Errors
    /// There is no home directory to find it in.
    pub fn store_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.store {
            Some(dir) => Ok(dir.clone()),
            None => state_dir().ok_or_else(|| anyhow::anyhow!("no home directory: name one with --store DIR")),
        }
    }

    /// Where this machine's own files of Skein are, such as the token of its API: as set, else in the platform's state
    /// directory.
    ///
    /// # Errors
    /// There is no home directory to find it in.
    pub fn node_dir(&self) -> anyhow::Result<PathBuf> {
        let found = self.node_dir.clone().or_else(paths::default_node_dir);
        found.ok_or_else(|| anyhow::anyhow!("no home directory: name a folder with SKEIN_NODE_DIR"))
    }

    /// Where commands ask instead of working on a store of this machine. A store that was typed is meant, whatever is
    /// set elsewhere.
    #[must_use]
    pub fn api_url(&self) -> Option<&ApiUrl> {
        self.api.url.as_ref().filter(|_| self.store_of_flag().is_none())
    }

    /// The URL, when a flag named it: the next command must name it, too.
    #[must_use]
    pub fn url_of_flag(&self) -> Option<&ApiUrl> {
        let is_flag = matches!(self.origins.get(keys::URL), Some(Origin::Flag(_)));
        self.api.url.as_ref().filter(|_| is_flag)
    }

    /// The store, when a flag named it: the next command must name it, too.
    #[must_use]
    pub fn store_of_flag(&self) -> Option<&PathBuf> {
        let is_flag = matches!(self.origins.get(keys::STORE), Some(Origin::Flag(_)));
        self.store.as_ref().filter(|_| is_flag)
    }
}

/// Logs go to standard error: warnings by default, more with `-v`, or as `log.filter` says.
pub fn start_logging(verbose: u8, settings: &Settings) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = settings
        .log
        .as_deref()
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        .unwrap_or_else(|| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match settings.log_format {
        LogFormat::Text => lines.init(),
        // Ids stand at the top, or in `span` where they are those of all that happens there.
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).init(),
    }
}
