//! Finds definitions: beside the script, in the nearest project folder, at the user's.

use super::front_matter::{FILE_BYTES_MAX, parse};
use super::owner::is_foreign;
use skein_common::agent::AgentDefinition;
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// One of each name: the first that was found.
    pub definitions: Vec<AgentDefinition>,
    /// Files that are no definitions, and what is odd about those that are.
    pub warnings: Vec<String>,
}

/// Where definitions are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    pub script_dir: &'a Path,
    /// The project that the script was looked up in by its name. `None`: the person named its file.
    pub script_project: Option<&'a Path>,
    pub project_dir: &'a Path,
    pub home: Option<&'a Path>,
}

/// A folder of definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    /// Whose files they are. `None`: the user's own, or those beside a script that the person named.
    pub project: Option<PathBuf>,
}

/// Reads `agents/` beside the script, then `.claude/agents` of the nearest folder upward from `project_dir`, then the
/// one in `home`. The first definition of a name wins.
#[must_use]
pub fn discover(script_dir: &Path, project_dir: &Path, home: Option<&Path>) -> Discovered {
    discover_where(&Places { script_dir, script_project: None, project_dir, home }, |_, _| true)
}

/// Like [`discover`], with those definitions only that may count: the others hide none.
#[must_use]
pub fn discover_where(places: &Places<'_>, may_count: impl FnMut(&Folder, &AgentDefinition) -> bool) -> Discovered {
    let mut warnings = Vec::new();
    let beside =
        Folder { path: places.script_dir.join("agents"), project: places.script_project.map(Path::to_path_buf) };
    let project = project_folder(places.project_dir, &mut warnings);
    let user = places.home.map(|home| Folder { path: home.join(".claude/agents"), project: None });
    let own = user.as_ref().and_then(|user| user.path.canonicalize().ok());
    let mut folders: Vec<Folder> = [Some(beside), project, user].into_iter().flatten().collect();
    // The user's own folder is the user's, also where it is reached through a project.
    folders.retain(|folder| folder.project.is_none() || own.is_none() || folder.path.canonicalize().ok() != own);
    let mut found = read_folders(&folders, may_count);
    warnings.append(&mut found.warnings);
    Discovered { warnings, ..found }
}

/// The nearest one upward; another user's is none.
fn project_folder(project_dir: &Path, warnings: &mut Vec<String>) -> Option<Folder> {
    for project in project_dir.ancestors() {
        let (config, path) = (project.join(".claude"), project.join(".claude/agents"));
        if !path.is_dir() {
            continue;
        }
        if [project, &config, &path].into_iter().any(is_foreign) {
            warnings.push(format!("{} is not read: it belongs to another user", path.display()));
            continue;
        }
        return Some(Folder { path, project: Some(project.to_path_buf()) });
    }
    None
}

/// Reads each folder once; the first definition of a name that may count wins.
#[must_use]
pub fn read_folders(folders: &[Folder], mut may_count: impl FnMut(&Folder, &AgentDefinition) -> bool) -> Discovered {
    let mut found = Discovered::default();
    let mut visited = BTreeSet::new();
    for folder in folders {
        let Ok(path) = folder.path.canonicalize() else { continue };
        if visited.insert(path.clone()) {
            read_folder(&path, &mut found, &mut |definition| may_count(folder, definition));
        }
    }
    found
}

fn read_folder(folder: &Path, found: &mut Discovered, may_count: &mut dyn FnMut(&AgentDefinition) -> bool) {
    let names_before: BTreeSet<String> = found.definitions.iter().map(|definition| definition.name.clone()).collect();
    let mut names_here: BTreeSet<String> = BTreeSet::new();
    for path in files(folder, &mut found.warnings) {
        let read = read_file(&path);
        let hint = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let parsed = read.and_then(|text| parse(&hint, &text, &path).map_err(|error| error.to_string()));
        let (definition, remarks) = match parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                found.warnings.push(format!("{} is skipped: {reason}", path.display()));
                continue;
            }
        };
        found.warnings.extend(remarks.into_iter().map(|remark| format!("{}: {remark}", path.display())));
        if !names_here.insert(definition.name.clone()) {
            let warning = format!("{} is skipped: this folder has another `{}`", path.display(), definition.name);
            found.warnings.push(warning);
        } else if !names_before.contains(&definition.name) && may_count(&definition) {
            found.definitions.push(definition);
        }
    }
}

/// Markdown files in order of their names. A `README.md` is for people.
fn files(folder: &Path, warnings: &mut Vec<String>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            warnings.push(format!("{} cannot be read: {error}", folder.display()));
            return Vec::new();
        }
    };
    let is_definition = |path: &PathBuf| {
        let markdown = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md"));
        let readme = path.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case("readme"));
        markdown && !readme && path.is_file()
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_definition).collect();
    paths.sort();
    paths
}

fn read_file(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("it cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().expect("has a folder")).expect("creates");
        std::fs::write(path, text).expect("writes");
    }

    fn described(text: &str) -> String {
        format!("---\ndescription: {text}\n---\n")
    }

    #[test]
    fn a01_the_script_beats_the_project_and_the_project_beats_the_user() {
        let root = tempfile::tempdir().expect("creates");
        let (script, project, home) = (root.path().join("s"), root.path().join("p"), root.path().join("h"));
        write(script.join("agents/one.md"), &described("script"));
        write(project.join(".claude/agents/one.md"), &described("project"));
        write(project.join(".claude/agents/two.md"), &described("project"));
        write(home.join(".claude/agents/two.md"), &described("user"));
        write(home.join(".claude/agents/three.md"), &described("user"));
        let deep = project.join("a/b");
        std::fs::create_dir_all(&deep).expect("creates");
        let found = discover(&script, &deep, Some(&home));
        let names: Vec<_> = found.definitions.iter().map(|it| (it.name.as_str(), it.description.as_str())).collect();
        assert_eq!(names, [("one", "script"), ("two", "project"), ("three", "user")]);
        assert_eq!(found.warnings, Vec::<String>::new());
    }

    #[test]
    fn a01_a_broken_file_is_a_warning_and_the_others_are_read() {
        let root = tempfile::tempdir().expect("creates");
        let agents = root.path().join("agents");
        write(agents.join("a.md"), "no front matter");
        write(agents.join("b.md"), &described("good"));
        write(agents.join("c.md"), "---\nname: b\n---\n");
        write(agents.join("d.txt"), "not looked at");
        write(agents.join("README.md"), "for people");
        std::fs::write(agents.join("e.md"), b"---\nname: \xff\n---\n").expect("writes");
        std::fs::create_dir(agents.join("folder.md")).expect("creates");
        let found = discover(root.path(), &root.path().join("nowhere"), None);
        assert_eq!(found.definitions.len(), 1);
        assert_eq!(found.warnings.len(), 3, "{:?}", found.warnings);
        assert!(found.warnings[0].contains("a.md is skipped: it has no front matter"), "{:?}", found.warnings);
    }

    #[test]
    fn a01_a_home_that_is_the_project_is_read_once() {
        let home = tempfile::tempdir().expect("creates");
        write(home.path().join(".claude/agents/one.md"), &described("x"));
        let found = discover(home.path(), home.path(), Some(home.path()));
        assert_eq!((found.definitions.len(), found.warnings.len()), (1, 0));
    }

    #[test]
    fn a01_one_that_may_not_count_hides_none_and_a_linked_folder_knows_its_project() {
        let root = tempfile::tempdir().expect("creates");
        let (project, home) = (root.path().join("p"), root.path().join("h"));
        write(root.path().join("shared/one.md"), &described("project"));
        write(home.join(".claude/agents/one.md"), &described("user"));
        std::fs::create_dir_all(project.join(".claude")).expect("creates");
        std::os::unix::fs::symlink(root.path().join("shared"), project.join(".claude/agents")).expect("links");
        let places = Places { script_dir: root.path(), script_project: None, project_dir: &project, home: Some(&home) };
        let mut projects = Vec::new();
        let found = discover_where(&places, |folder, _| {
            projects.push(folder.project.clone());
            folder.project.is_none()
        });
        assert_eq!(projects, [Some(project), None]);
        assert_eq!(found.definitions.iter().map(|one| one.description.as_str()).collect::<Vec<_>>(), ["user"]);
    }
}
