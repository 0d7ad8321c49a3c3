//! Finds definitions: beside the script, in the nearest project folder, at the user's.

use super::front_matter::{FILE_BYTES_MAX, parse};
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

/// Reads `agents/` beside the script, then `.claude/agents` of the nearest folder upward from `project_dir`, then the
/// one in `home`. The first definition of a name wins.
#[must_use]
pub fn discover(script_dir: &Path, project_dir: &Path, home: Option<&Path>) -> Discovered {
    let project = project_dir.ancestors().map(|folder| folder.join(".claude/agents")).find(|folder| folder.is_dir());
    let user = home.map(|home| home.join(".claude/agents"));
    let mut found = Discovered::default();
    let mut visited = BTreeSet::new();
    for folder in [Some(script_dir.join("agents")), project, user].into_iter().flatten() {
        let Ok(folder) = folder.canonicalize() else { continue };
        if visited.insert(folder.clone()) {
            read_folder(&folder, &mut found);
        }
    }
    found
}

fn read_folder(folder: &Path, found: &mut Discovered) {
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
        } else if !names_before.contains(&definition.name) {
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
}
