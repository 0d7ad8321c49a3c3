//! Layers: reads the files and variables, the weakest first, and keeps who said what.

use super::keys::{FromProject, KEYS, Key};
use super::{ProjectItems, Settings, config_files, trust};
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file of settings larger than this is none.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    System,
    User,
    Project,
}

/// Who said what a setting is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Settings that cannot be: where they stand, and what should stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    pub place: String,
    pub message: String,
}

/// One setting of a file.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: &'static Key,
    pub value: Value,
    pub line: usize,
}

/// Applies files, then variables; gives what is wrong in them.
pub(super) fn apply_all(settings: &mut Settings) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (level, path) in config_files() {
        match read_file(&path) {
            Ok(entries) => apply_file(settings, level, &path, entries, &mut problems),
            Err(problem) => problems.push(problem),
        }
    }
    for key in KEYS {
        let Ok(text) = std::env::var(key.variable) else { continue };
        // An empty variable is how a shell unsets one for a command.
        if !text.is_empty() {
            problems.extend(set(settings, key, &Value::String(text), Origin::Variable(key.variable)).err());
        }
    }
    problems
}

fn apply_file(settings: &mut Settings, level: Level, path: &Path, entries: Vec<Entry>, problems: &mut Vec<Problem>) {
    let is_trusted = level != Level::Project || is_project_trusted(path, &entries);
    for entry in entries {
        let origin = Origin::File { path: path.to_path_buf(), line: entry.line };
        match refusal(level, is_trusted, &entry, path) {
            Some(why) => settings.warnings.push(format!("{origin}: {why}")),
            None => problems.extend(set(settings, entry.key, &entry.value, origin).err()),
        }
    }
}

fn set(settings: &mut Settings, key: &Key, value: &Value, origin: Origin) -> Result<(), Problem> {
    key.set(settings, value).map_err(|reason| {
        let shown = key.refused(value);
        let message = match origin {
            Origin::Variable(_) => format!("{shown} {reason}"),
            _ => format!("{} = {shown} {reason}", key.name),
        };
        Problem { place: origin.to_string(), message }
    })?;
    settings.origins.insert(key.name, origin);
    Ok(())
}

/// Why this entry does not count, if it does not.
fn refusal(level: Level, is_trusted: bool, entry: &Entry, path: &Path) -> Option<String> {
    if level != Level::Project {
        return None;
    }
    let name = entry.key.name;
    match entry.key.from_project {
        FromProject::Yes => None,
        FromProject::Never => Some(format!("{name} is ignored: a project cannot set it; set it in your own file")),
        FromProject::WhenTrusted if is_trusted => None,
        FromProject::WhenTrusted => {
            let command = trust::command_for(path.parent().unwrap_or(path));
            Some(format!("{name} is ignored, since it names a program; trust the project with `{command}`"))
        }
    }
}

fn is_project_trusted(file: &Path, entries: &[Entry]) -> bool {
    let Some(dir) = file.parent() else { return false };
    // Whether the project is trusted is looked up only when something depends on it.
    entries.iter().any(|entry| entry.key.from_project == FromProject::WhenTrusted)
        && trust::is_trusted(dir, &ProjectItems::of(dir, entries))
}

/// What of the project's file counts only once the project is trusted.
///
/// # Errors
/// The file cannot be read.
pub fn project_items_that_need_trust(dir: &Path) -> Result<ProjectItems, Problem> {
    let entries = read_file(&dir.join(".skein.toml"))?;
    Ok(ProjectItems::of(dir, &entries))
}

/// The settings of a file; none when it is not there.
pub(super) fn read_file(path: &Path) -> Result<Vec<Entry>, Problem> {
    let refuse = |message: String| Problem { place: path.display().to_string(), message };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refuse(format!("cannot be read: {error}"))),
        // To open a pipe waits for its other end, and a device may never end.
        Ok(metadata) if !metadata.is_file() => return Err(refuse(String::from("is not a regular file"))),
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(refuse(String::from("is larger than 1 MiB"))),
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    parse(&text).map_err(|(line, message)| Problem { place: format!("{}:{line}", path.display()), message })
}

/// All entries, or the first line that is wrong and why.
fn parse(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (line_at(text, at), error.message().to_owned())
    })?;
    let mut entries = Vec::new();
    for (table, content) in document.get_ref() {
        let line = line_at(text, table.span().start);
        let table = table.get_ref();
        let DeValue::Table(content) = content.get_ref() else {
            return Err((line, format!("`{table}` stands in no table; {}", known_tables())));
        };
        if !KEYS.iter().any(|key| key.name.split('.').next() == Some(table)) {
            return Err((line, format!("unknown table [{table}]; {}", known_tables())));
        }
        for (name, value) in content {
            let line = line_at(text, name.span().start);
            let full = format!("{table}.{}", name.get_ref());
            let key = Key::find(&full).ok_or_else(|| (line, unknown_key(&full, table)))?;
            let value = to_json(value).ok_or_else(|| (line, format!("{full} is no text, number or list of texts")))?;
            entries.push(Entry { key, value, line });
        }
    }
    Ok(entries)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn known_tables() -> String {
    let mut tables: Vec<&str> = KEYS.iter().filter_map(|key| key.name.split('.').next()).collect();
    tables.dedup();
    format!("tables are {}", tables.join(", "))
}

fn unknown_key(full: &str, table: &str) -> String {
    let known = KEYS.iter().filter_map(|key| key.name.split_once('.'));
    let known: Vec<&str> = known.filter(|(of, _)| *of == table).map(|(_, name)| name).collect();
    format!("unknown key {full}; [{table}] has {}", known.join(", "))
}

fn to_json(value: &Spanned<DeValue<'_>>) -> Option<Value> {
    match value.get_ref() {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Array(items) => items.iter().map(to_json).collect::<Option<Vec<Value>>>().map(Value::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_know_their_line() {
        let entries = parse("# mine\n[limits]\nconcurrency = 4\n\n[worker]\nhosts = [\"a\", \"b\"]\n").expect("parses");
        let found: Vec<(&str, usize)> = entries.iter().map(|entry| (entry.key.name, entry.line)).collect();
        assert_eq!(found, [("limits.concurrency", 3), ("worker.hosts", 6)]);
        assert_eq!(entries[1].value, serde_json::json!(["a", "b"]));
        assert_eq!(parse("limits.concurrency = 4").expect("dotted").len(), 1);
        assert!(parse("").expect("an empty file").is_empty());
    }

    #[test]
    fn what_is_not_known_or_no_toml_is_named_with_its_line() {
        for (text, line, part) in [
            ("[limits]\nconcurency = 4\n", 2, "unknown key limits.concurency; [limits] has concurrency"),
            ("\n[limit]\n", 2, "unknown table [limit]; tables are store"),
            ("concurrency = 4\n", 1, "`concurrency` stands in no table"),
            ("[limits]\n\nconcurrency = \n", 3, ""),
            ("[limits]\nconcurrency = 1979-05-27\n", 2, "is no text, number or list"),
            ("[limits]\nagents = 1\nagents = 2\n", 3, "duplicate"),
        ] {
            let (found, message) = parse(text).expect_err(text);
            assert_eq!(found, line, "{text}: {message}");
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
