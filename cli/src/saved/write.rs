//! Writes and removes saved workflows. Never through a link, and never half a file.

use super::{COMMANDS_DIR, CONFIG_DIR, EXTENSION, Level, Saved};
use crate::exit::usage;
use anyhow::Context as _;
use skein_common::workflow::is_workflow_name;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// For a person who chose another name.
pub(super) const NAME_RULE: &str = "lower-case letters, digits and hyphens, a letter first";

/// As other files of a project; the person's umask narrows it.
const FILE_MODE: u32 = 0o666;

/// What saving changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    New,
    /// Another text stood there.
    Replaced,
    /// The same text stood there.
    Unchanged,
}

/// Saves a script byte for byte as `.claude/commands/<name>.js` below `root`.
///
/// # Errors
/// The name is none, another text stands there and `force` is off, or something on the way is a link.
pub fn save(root: &Path, name: &str, source: &str, force: bool) -> anyhow::Result<(PathBuf, Written)> {
    if !is_workflow_name(name) {
        return Err(usage(format!("`{name}` is no name of a workflow ({NAME_RULE}); give one with --name")));
    }
    let config = root.join(CONFIG_DIR);
    let folder = config.join(COMMANDS_DIR);
    for folder in [&config, &folder] {
        create_plain_folder(folder)?;
    }
    let path = folder.join(format!("{name}.{EXTENSION}"));
    let before = match std::fs::symlink_metadata(&path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(usage(format!("{} is a link or no file: it is left as it is", path.display())));
        }
        Ok(_) => Some(std::fs::read(&path).with_context(|| path.display().to_string())?),
        Err(_) => None,
    };
    match before {
        Some(before) if before == source.as_bytes() => return Ok((path, Written::Unchanged)),
        Some(_) if !force => {
            let path = path.display();
            return Err(usage(format!("{path} has another text: add --force to replace it, or choose a --name")));
        }
        _ => {}
    }
    write_whole(&folder, &path, source, before.is_some())?;
    Ok((path, if before.is_some() { Written::Replaced } else { Written::New }))
}

fn create_plain_folder(folder: &Path) -> anyhow::Result<()> {
    match std::fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(usage(format!("{} is a link or no folder: nothing is saved through it", folder.display()))),
        Err(_) => std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display())),
    }
}

/// Another process sees the old file, the new one, or none.
fn write_whole(folder: &Path, path: &Path, source: &str, replaces: bool) -> anyhow::Result<()> {
    let problem = || format!("cannot write {}", path.display());
    let mut builder = tempfile::Builder::new();
    builder.permissions(std::fs::Permissions::from_mode(FILE_MODE));
    let mut file = builder.tempfile_in(folder).with_context(problem)?;
    file.write_all(source.as_bytes()).and_then(|()| file.as_file().sync_all()).with_context(problem)?;
    let kept = if replaces { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map(drop).map_err(|error| error.error).with_context(problem)
}

/// Removes the file of a saved workflow.
///
/// # Errors
/// It cannot be removed.
pub fn remove(saved: &Saved) -> anyhow::Result<()> {
    std::fs::remove_file(&saved.path).with_context(|| format!("cannot remove {}", saved.path.display()))
}

impl Level {
    /// Whose folder this is.
    #[must_use]
    pub fn of(root: &Path, home: Option<&Path>) -> Level {
        if Some(root) == home { Level::User } else { Level::Project }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u04_another_text_is_replaced_only_when_asked() {
        let root = tempfile::tempdir().expect("creates");
        let odd = "\u{feff}// bytes\r\n\u{2028}é";
        let (path, written) = save(root.path(), "a-1", odd, false).expect("saves");
        assert_eq!((path.ends_with(".claude/commands/a-1.js"), written), (true, Written::New));
        assert_eq!(std::fs::read(&path).expect("reads"), odd.as_bytes());
        assert_eq!(save(root.path(), "a-1", odd, false).expect("saves").1, Written::Unchanged);
        let error = save(root.path(), "a-1", "other", false).expect_err("refused").to_string();
        assert!(error.contains("--force"), "{error}");
        assert_eq!(save(root.path(), "a-1", "other", true).expect("saves").1, Written::Replaced);
        assert_eq!(std::fs::read(&path).expect("reads"), b"other");
        assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("reads").count(), 1);
    }

    #[test]
    fn u04_names_that_are_none_and_links_on_the_way_are_refused() {
        let root = tempfile::tempdir().expect("creates");
        for name in ["../up", "A", "", "a/b"] {
            assert!(save(root.path(), name, "x", true).is_err(), "{name}");
        }
        let elsewhere = root.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("creates");
        let linked = root.path().join("linked");
        std::fs::create_dir(&linked).expect("creates");
        std::os::unix::fs::symlink(&elsewhere, linked.join(".claude")).expect("links");
        assert!(save(&linked, "a", "x", true).is_err());
        let plain = root.path().join("plain");
        std::fs::create_dir_all(plain.join(".claude/commands")).expect("creates");
        let target = elsewhere.join("target.js");
        std::fs::write(&target, "kept").expect("writes");
        std::os::unix::fs::symlink(&target, plain.join(".claude/commands/a.js")).expect("links");
        assert!(save(&plain, "a", "x", true).is_err());
        assert_eq!(std::fs::read(&target).expect("reads"), b"kept");
    }
}
