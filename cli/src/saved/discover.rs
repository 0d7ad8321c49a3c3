//! Finds saved workflows: in the project's folders upward, then at the user's. The first of a name is meant.

use super::{COMMANDS_DIR, CONFIG_DIR, EXTENSION, WORKFLOWS_DIR};
use serde::Serialize;
use skein_common::Payload;
use skein_common::workflow::{KnownWorkflow, WorkflowRef, is_workflow_name};
use skein_worker::definition::is_foreign;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A script may be so large (C10).
const SCRIPT_BYTES_MAX: u64 = 512 * 1024;

/// Whose a saved workflow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Project,
    User,
}

impl Level {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Project => "project",
            Level::User => "user",
        }
    }
}

/// One saved workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub name: String,
    pub level: Level,
    pub path: PathBuf,
    /// Byte for byte.
    pub source: String,
}

impl Saved {
    /// The folder whose `.claude` it is in, when that is a project's.
    #[must_use]
    pub fn project(&self) -> Option<&Path> {
        // <project>/.claude/commands/<name>.js, none of them a link.
        self.path.ancestors().nth(3).filter(|_| self.level == Level::Project)
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// One of each name, in the order of names: the one that the name means.
    pub workflows: Vec<Saved>,
    /// Those of the same names that the others hide.
    pub hidden: Vec<Saved>,
    /// Files that are not read, and why.
    pub warnings: Vec<String>,
}

impl Found {
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Saved> {
        self.workflows.iter().find(|saved| saved.name == name)
    }

    /// The one of this name and level, hidden or not.
    #[must_use]
    pub fn named_at(&self, name: &str, level: Level) -> Option<&Saved> {
        self.workflows.iter().chain(&self.hidden).find(|saved| saved.name == name && saved.level == level)
    }

    /// `Known: a, b`, or that there is none.
    #[must_use]
    pub fn known(&self) -> String {
        let names: Vec<&str> = self.workflows.iter().map(|saved| saved.name.as_str()).collect();
        if names.is_empty() { "none is saved here".to_owned() } else { format!("saved are: {}", names.join(", ")) }
    }

    /// As they travel with a run (R2a).
    #[must_use]
    pub fn for_run(&self) -> Vec<KnownWorkflow> {
        let known = |saved: &Saved| KnownWorkflow {
            target: WorkflowRef::Name { name: saved.name.clone() },
            source: Payload::text(saved.source.clone()),
        };
        self.workflows.iter().map(known).collect()
    }
}

/// Reads `.claude/commands` and `.claude/workflows` of every folder upward from `project_dir`, then those in `home`.
/// A folder or file that is a link is not read: it may lead anywhere. Nor is another user's.
#[must_use]
pub fn discover(project_dir: &Path, home: Option<&Path>) -> Found {
    let mut found = Found::default();
    for folder in project_dir.ancestors().filter(|folder| Some(*folder) != home) {
        read_config(folder, Level::Project, &mut found);
    }
    if let Some(home) = home {
        read_config(home, Level::User, &mut found);
    }
    found.workflows.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The nearest folder upward that is a project: it has a `.claude` or a `.git`. Without one, the folder itself.
#[must_use]
pub fn project_root(project_dir: &Path, home: Option<&Path>) -> PathBuf {
    let mut folders = project_dir.ancestors().filter(|folder| Some(*folder) != home);
    let is_project = |folder: &&Path| folder.join(CONFIG_DIR).is_dir() || folder.join(".git").exists();
    folders.find(is_project).unwrap_or(project_dir).to_path_buf()
}

/// Below which folders `workflow({scriptPath})` may read: where the run was started, its project, beside its script.
#[must_use]
pub fn script_roots(project_dir: &Path, script_dir: &Path, home: Option<&Path>) -> Vec<String> {
    let mut roots: Vec<String> = Vec::new();
    for root in [project_dir.to_path_buf(), project_root(project_dir, home), script_dir.to_path_buf()] {
        let root = root.to_string_lossy().into_owned();
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots
}

fn read_config(folder: &Path, level: Level, found: &mut Found) {
    let config = folder.join(CONFIG_DIR);
    if !is_plain_folder(&config, &mut found.warnings) {
        return;
    }
    for name in [COMMANDS_DIR, WORKFLOWS_DIR] {
        let saved = config.join(name);
        if !is_plain_folder(&saved, &mut found.warnings) {
            continue;
        }
        if level == Level::Project && [folder, &config, &saved].into_iter().any(is_foreign) {
            found.warnings.push(format!("{} is not read: it belongs to another user", saved.display()));
        } else {
            read_folder(&saved, level, found);
        }
    }
}

fn is_plain_folder(folder: &Path, warnings: &mut Vec<String>) -> bool {
    match std::fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_symlink() => {
            warnings.push(format!("{} is a link: workflows in it are not read", folder.display()));
            false
        }
        Ok(metadata) => metadata.is_dir(),
        Err(_) => false,
    }
}

fn read_folder(folder: &Path, level: Level, found: &mut Found) {
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return found.warnings.push(format!("{} cannot be read: {error}", folder.display())),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    paths.sort();
    for path in paths {
        match read_file(&path) {
            Ok((name, source)) => {
                let is_hidden = found.named(&name).is_some();
                let saved = Saved { name, level, path, source };
                if is_hidden { found.hidden.push(saved) } else { found.workflows.push(saved) }
            }
            Err(reason) => found.warnings.push(format!("{} is not read: {reason}", path.display())),
        }
    }
}

fn read_file(path: &Path) -> Result<(String, String), String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if !is_workflow_name(&name) {
        return Err(format!("`{name}` is no name of a workflow: {}", super::write::NAME_RULE));
    }
    let metadata = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_symlink() {
        return Err("it is a link".to_owned());
    }
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(SCRIPT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SCRIPT_BYTES_MAX {
        return Err(format!("it is larger than {SCRIPT_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map(|source| (name, source)).map_err(|_| "it is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
        std::fs::write(path, text).expect("writes");
    }

    fn texts(found: &Found) -> Vec<(&str, &str, Level)> {
        found.workflows.iter().map(|saved| (saved.name.as_str(), saved.source.as_str(), saved.level)).collect()
    }

    #[test]
    fn u04_the_nearest_project_folder_wins_and_the_project_beats_the_user() {
        let root = tempfile::tempdir().expect("creates");
        let (outer, home) = (root.path().join("outer"), root.path().join("home"));
        let inner = outer.join("inner");
        write(inner.join(".claude/commands/a.js"), "inner");
        write(inner.join(".claude/workflows/a.js"), "inner, the other folder");
        write(outer.join(".claude/commands/a.js"), "outer");
        write(outer.join(".claude/workflows/b.js"), "outer");
        write(home.join(".claude/commands/b.js"), "home");
        write(home.join(".claude/workflows/c.js"), "home");
        let below = inner.join("src/deep");
        std::fs::create_dir_all(&below).expect("creates");
        let found = discover(&below, Some(&home));
        let (project, user) = (Level::Project, Level::User);
        assert_eq!(texts(&found), [("a", "inner", project), ("b", "outer", project), ("c", "home", user)]);
        assert_eq!(found.hidden.len(), 3);
        assert_eq!(found.named_at("b", user).map(|saved| saved.source.as_str()), Some("home"));
        assert_eq!(found.warnings, Vec::<String>::new());
    }

    #[test]
    fn u04_a_home_above_the_project_is_the_users_and_no_project() {
        let home = tempfile::tempdir().expect("creates");
        write(home.path().join(".claude/commands/a.js"), "home");
        let project = home.path().join("project");
        std::fs::create_dir(&project).expect("creates");
        assert_eq!(texts(&discover(&project, Some(home.path()))), [("a", "home", Level::User)]);
        assert_eq!(project_root(&project, Some(home.path())), project);
        assert_eq!(script_roots(&project, &project, Some(home.path())).len(), 1);
    }

    #[test]
    fn u04_links_odd_names_and_other_files_are_not_read() {
        let root = tempfile::tempdir().expect("creates");
        let commands = root.path().join(".claude/commands");
        write(commands.join("good.js"), "good");
        write(commands.join("Bad_Name.js"), "x");
        write(commands.join("notes.md"), "for people");
        write(root.path().join("elsewhere/x.js"), "x");
        std::os::unix::fs::symlink(root.path().join("elsewhere/x.js"), commands.join("link.js")).expect("links");
        std::os::unix::fs::symlink(root.path().join("elsewhere"), root.path().join(".claude/workflows"))
            .expect("links");
        std::fs::create_dir(commands.join("folder.js")).expect("creates");
        std::fs::write(commands.join("bytes.js"), [0xff]).expect("writes");
        let found = discover(root.path(), None);
        assert_eq!(texts(&found), [("good", "good", Level::Project)]);
        assert_eq!(found.warnings.len(), 5, "{:#?}", found.warnings);
    }
}
