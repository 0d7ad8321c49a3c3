//! What of a project counts only once it is trusted, and which definitions a run gets.

use super::keys::FromProject;
use super::layers::Entry;
use super::{project_items_that_need_trust, trust};
use serde::Serialize;
use serde_json::{Value, json};
use skein_common::Digest;
use skein_common::agent::{AgentDefinition, CommandLine, RunnerKind};
use skein_worker::definition::{Discovered, Folder, Places, discover_where, read_folders};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a project may keep its agent types; two of them are beside its saved workflows.
const AGENT_FOLDERS: [&str; 3] = [".claude/agents", ".claude/commands/agents", ".claude/workflows/agents"];

/// What of a project counts only once it is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectItems {
    /// Settings that name programs.
    pub settings: BTreeMap<String, Value>,
    /// Agent types that run programs, or say with what or where programs run.
    pub agents: Vec<ProjectAgent>,
}

/// An agent type that counts only once its project is trusted, and what it would run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectAgent {
    pub name: String,
    /// Where it is, with links followed.
    pub path: String,
    /// Of its file.
    pub digest: String,
    pub runner: Option<RunnerKind>,
    pub command: Option<CommandLine>,
    pub env: Vec<String>,
    pub cwd: Option<String>,
}

impl ProjectItems {
    /// Reads the agent types in `dir`; the settings are those of its file.
    pub(super) fn of(dir: &Path, entries: &[Entry]) -> ProjectItems {
        let needs = |entry: &&Entry| entry.key.from_project == FromProject::WhenTrusted;
        let settings = entries.iter().filter(needs).map(|entry| (entry.key.name.to_owned(), entry.value.clone()));
        let agents = AGENT_FOLDERS.iter().flat_map(|folder| {
            let folder = Folder { path: dir.join(folder), project: Some(dir.to_path_buf()) };
            read_folders(&[folder], |_, definition| needs_trust(definition)).definitions
        });
        ProjectItems { settings: settings.collect(), agents: agents.map(ProjectAgent::from).collect() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.agents.is_empty()
    }

    /// Changes with anything that is trusted, and with nothing else.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let agents: Vec<(&str, &str)> =
            self.agents.iter().map(|agent| (agent.path.as_str(), agent.digest.as_str())).collect();
        Digest::of(json!([self.settings, agents]).to_string().as_bytes())
    }

    /// Whether this very text of the definition is one of the items.
    fn contains(&self, definition: &AgentDefinition) -> bool {
        self.agents.iter().any(|agent| agent.path == definition.path && agent.digest == definition.digest)
    }
}

impl From<AgentDefinition> for ProjectAgent {
    fn from(definition: AgentDefinition) -> ProjectAgent {
        let AgentDefinition { name, path, digest, runner, command, env, cwd, .. } = definition;
        ProjectAgent { name, path, digest, runner, command, env, cwd }
    }
}

/// The definitions of a run. Those of a project that is not trusted are left out where they run programs or say how
/// programs run, with a warning, and hide no others. Those beside a script that the person named and those of the user
/// need no trust.
#[must_use]
pub fn trusted_definitions(places: &Places<'_>) -> Discovered {
    let mut known: BTreeMap<PathBuf, ProjectItems> = BTreeMap::new();
    let mut ignored: Vec<String> = Vec::new();
    let mut found = discover_where(places, |folder, definition| {
        let Some(project) = folder.project.as_ref().filter(|_| needs_trust(definition)) else { return true };
        let trusted = known.entry(project.clone()).or_insert_with(|| trusted_items(project));
        if trusted.contains(definition) {
            return true;
        }
        let (path, why, command) = (&definition.path, why(definition), trust::command_for(project));
        ignored.push(format!("{path} is ignored, since it {why}; trust the project with `{command}`"));
        false
    });
    found.warnings.append(&mut ignored);
    found
}

/// None as long as the project is not trusted as it is now.
fn trusted_items(project: &Path) -> ProjectItems {
    let items = project_items_that_need_trust(project).ok();
    items.filter(|items| trust::is_trusted(project, items)).unwrap_or_default()
}

/// An environment or a folder decides which program a name means, also where the person named the program.
fn needs_trust(definition: &AgentDefinition) -> bool {
    runs_program(definition) || !definition.env.is_empty() || definition.cwd.is_some()
}

fn why(definition: &AgentDefinition) -> &'static str {
    if runs_program(definition) { "runs a program" } else { "sets the environment or the folder of programs" }
}

fn runs_program(definition: &AgentDefinition) -> bool {
    definition.command.is_some() || matches!(definition.runner, Some(RunnerKind::Command | RunnerKind::Cli))
}
