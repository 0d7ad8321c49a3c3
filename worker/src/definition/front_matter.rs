//! Reads one definition. Front matter is written by hand and for other programs too, so nearly everything goes.

use serde_json::{Map, Value};
use skein_common::Digest;
use skein_common::agent::{AgentDefinition, CommandLine, RetryRule, RunnerKind};
use std::path::Path;

/// A larger file is no definition.
pub(super) const FILE_BYTES_MAX: usize = 256 * 1024;

/// Why a file is no definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DefinitionError {
    #[error("it has {bytes} bytes, more than {FILE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("it has no front matter: the first line must be ---")]
    NoFrontMatter,
    #[error("its front matter has no end: a line of --- is missing")]
    Unfinished,
    #[error("its front matter cannot be read: {reason}")]
    Unreadable { reason: String },
    #[error("`{key}` {problem}")]
    BadKey { key: &'static str, problem: String },
}

/// Reads a definition; `name_hint` is its name when it gives itself none. The second part is what people should be
/// told about it.
///
/// # Errors
/// The text is no definition, or one that must not be guessed at: a command, runner or retry rule that is unclear.
pub fn parse(name_hint: &str, text: &str, path: &Path) -> Result<(AgentDefinition, Vec<String>), DefinitionError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(DefinitionError::TooLarge { bytes: text.len() });
    }
    let (front, body) = split(text)?;
    let mut keys = Keys { map: read(&front)?, warnings: Vec::new() };
    let command = keys.command()?;
    let runner = keys.runner()?.or(command.as_ref().map(|_| RunnerKind::Command));
    let definition = AgentDefinition {
        name: keys.text("name").filter(|name| !name.is_empty()).unwrap_or_else(|| name_hint.to_owned()),
        description: keys.text("description").unwrap_or_default(),
        model: keys.text("model").filter(|model| !model.is_empty() && model != "inherit"),
        runner,
        command,
        cwd: keys.text("cwd").filter(|cwd| !cwd.is_empty()),
        env: keys.env(),
        retry: keys.retry()?,
        tools: keys.tools(),
        body,
        path: path.to_string_lossy().into_owned(),
        digest: Digest::of(text.as_bytes()).0,
    };
    Ok((definition, keys.warnings))
}

/// Front matter and body, with line breaks made plain.
fn split(text: &str) -> Result<(String, String), DefinitionError> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let is_fence = |line: &str| line.trim_end() == "---";
    let mut lines = text.trim_start_matches('\n').split('\n');
    if !lines.next().is_some_and(is_fence) {
        return Err(DefinitionError::NoFrontMatter);
    }
    let mut front = String::new();
    for line in lines.by_ref() {
        if is_fence(line) {
            let body: Vec<&str> = lines.collect();
            return Ok((front, body.join("\n").trim().to_owned()));
        }
        front.push_str(line);
        front.push('\n');
    }
    Err(DefinitionError::Unfinished)
}

/// As YAML; failing that, as YAML with the values of top-level keys quoted, since `description: Use this: always`
/// is what people write.
fn read(front: &str) -> Result<Map<String, Value>, DefinitionError> {
    let untabbed: String = front.lines().map(|line| format!("{}\n", untab(line))).collect();
    let strict = read_yaml(&untabbed);
    strict.or_else(|reason| {
        let quoted: String = untabbed.lines().map(|line| format!("{}\n", quote_value(line))).collect();
        read_yaml(&quoted).map_err(|_| DefinitionError::Unreadable { reason })
    })
}

fn read_yaml(text: &str) -> Result<Map<String, Value>, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err("it is not a list of keys and values".to_owned()),
        Err(error) => Err(first_line(&error.to_string())),
    }
}

fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it is not YAML").trim().to_owned()
}

/// YAML forbids tabs where people use them.
fn untab(line: &str) -> String {
    let rest = line.trim_start_matches([' ', '\t']);
    let indent = line[..line.len() - rest.len()].replace('\t', "  ");
    let rest = match rest.split_once(':') {
        Some((key, value)) if value.starts_with('\t') => format!("{key}: {}", value.trim_start()),
        _ => rest.to_owned(),
    };
    format!("{indent}{rest}")
}

fn quote_value(line: &str) -> String {
    let Some((key, value)) = line.split_once(':') else { return line.to_owned() };
    let plain_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let value = value.trim();
    let structured = |first: char| "\"'[{|>&*!#".contains(first);
    if !plain_key || value.chars().next().is_none_or(structured) {
        return line.to_owned();
    }
    format!("{key}: '{}'", value.replace('\'', "''"))
}

/// The keys of a front matter, and what is to be said about them. Unknown ones are left alone.
struct Keys {
    map: Map<String, Value>,
    warnings: Vec<String>,
}

impl Keys {
    /// A scalar as text: `name: 404` and `name: yes` are names.
    fn text(&mut self, key: &'static str) -> Option<String> {
        let value = self.map.get(key)?;
        let text = scalar(value);
        if text.is_none() && !value.is_null() {
            self.warnings.push(format!("`{key}` is not text and is ignored"));
        }
        text.map(|text| text.trim().to_owned())
    }

    fn command(&self) -> Result<Option<CommandLine>, DefinitionError> {
        let bad = |problem: &str| DefinitionError::BadKey { key: "command", problem: problem.to_owned() };
        match self.map.get("command") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(line)) if line.trim().is_empty() => Err(bad("is empty")),
            Some(Value::String(line)) => Ok(Some(CommandLine::Shell { line: line.clone() })),
            Some(Value::Array(items)) if items.is_empty() => Err(bad("is empty")),
            Some(Value::Array(items)) => {
                let argv = items.iter().map(scalar).collect::<Option<Vec<String>>>();
                argv.map(|argv| Some(CommandLine::Argv { argv })).ok_or_else(|| bad("has an argument that is no text"))
            }
            Some(_) => Err(bad("must be a line for the shell or a list of arguments")),
        }
    }

    fn runner(&mut self) -> Result<Option<RunnerKind>, DefinitionError> {
        let Some(name) = self.text("runner") else { return Ok(None) };
        let known = || RunnerKind::ALL.map(RunnerKind::name).join(", ");
        let unknown =
            || DefinitionError::BadKey { key: "runner", problem: format!("is `{name}`; known are {}", known()) };
        RunnerKind::from_name(&name).map(Some).ok_or_else(unknown)
    }

    fn retry(&mut self) -> Result<RetryRule, DefinitionError> {
        match self.text("retry").as_deref() {
            None | Some("" | "asked") => Ok(RetryRule::Asked),
            Some("any") => Ok(RetryRule::Any),
            Some(other) => {
                Err(DefinitionError::BadKey { key: "retry", problem: format!("is `{other}`; known are any, asked") })
            }
        }
    }

    /// `NAME` and `NAME=value`, from a list, a map, or one line.
    fn env(&mut self) -> Vec<String> {
        let entries = match self.map.get("env") {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items.iter().map(env_entry).collect(),
            Some(Value::Object(map)) => map.iter().map(|(name, value)| assignment(name, value)).collect(),
            Some(Value::String(line)) => line.split([',', ' ']).map(|entry| Some(entry.to_owned())).collect(),
            Some(_) => vec![None],
        };
        let (good, bad): (Vec<_>, Vec<_>) = entries.into_iter().partition(Option::is_some);
        if !bad.is_empty() {
            self.warnings.push("`env` has entries that are neither NAME nor NAME=value; they are ignored".to_owned());
        }
        good.into_iter().flatten().map(|entry| entry.trim().to_owned()).filter(|entry| !entry.is_empty()).collect()
    }

    /// From `Read, Grep` or a list; absent means all.
    fn tools(&mut self) -> Option<Vec<String>> {
        let tools: Vec<String> = match self.map.get("tools")? {
            Value::String(line) => split_tools(line),
            Value::Array(items) => items.iter().filter_map(scalar).collect(),
            Value::Null => return None,
            _ => {
                self.warnings.push("`tools` is neither a list nor a line and is ignored".to_owned());
                return None;
            }
        };
        Some(tools.into_iter().map(|tool| tool.trim().to_owned()).filter(|tool| !tool.is_empty()).collect())
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn env_entry(value: &Value) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().next().and_then(|(name, value)| assignment(name, value)),
        other => scalar(other),
    }
}

fn assignment(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(name.to_owned()),
        other => scalar(other).map(|value| format!("{name}={value}")),
    }
}

/// At commas that are not inside parentheses: `Bash(git log:*, -n), Read`.
fn split_tools(line: &str) -> Vec<String> {
    let mut depth = 0_u32;
    let parts = line.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> AgentDefinition {
        parse("hint", text, Path::new("/x/agents/hint.md")).expect(text).0
    }

    fn front(lines: &str) -> AgentDefinition {
        parsed(&format!("---\n{lines}\n---\nBody\n"))
    }

    #[test]
    fn a01_a_definition_as_other_programs_write_it() {
        let text = "---\nname: code-reviewer\ndescription: Reviews code\ntools: Read, Grep\nmodel: haiku\ncolor: red\n---\n\nYou review.\n";
        let (definition, warnings) = parse("x", text, Path::new("/x/a.md")).expect("parses");
        assert_eq!((definition.name.as_str(), definition.body.as_str()), ("code-reviewer", "You review."));
        assert_eq!(definition.tools, Some(vec!["Read".to_owned(), "Grep".to_owned()]));
        assert_eq!((definition.model.as_deref(), definition.runner), (Some("haiku"), None));
        assert_eq!((definition.path.as_str(), definition.digest), ("/x/a.md", Digest::of(text.as_bytes()).0));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn a01_what_people_write_is_understood() {
        assert_eq!(
            front("description: Use this: when it's \"odd\" # not").description,
            "Use this: when it's \"odd\" # not"
        );
        assert_eq!(front("name:\ttabbed\ntools:\n\t- Read\n\t- Grep").tools.map(|tools| tools.len()), Some(2));
        assert_eq!(front("name: 404").name, "404");
        assert_eq!(front("name: true").name, "true");
        assert_eq!(front("name:").name, "hint");
        assert_eq!(front("").name, "hint");
        assert_eq!(front("# only a comment").name, "hint");
        assert_eq!(front("model: inherit").model, None);
        assert_eq!(front("description: >\n  two\n  lines").description, "two lines");
        assert_eq!(front("tools: Bash(git log:*, -n), Read").tools.expect("has tools")[0], "Bash(git log:*, -n)");
        assert_eq!(front("description: <example>user: hi</example>\nname: e").name, "e");
        let windows = "\u{feff}---\r\nname: crlf\r\n---\r\nBody\r\nmore\r\n";
        assert_eq!((parsed(windows).name.as_str(), parsed(windows).body.as_str()), ("crlf", "Body\nmore"));
    }

    #[test]
    fn a01_command_is_a_shell_line_or_a_list_and_makes_a_command_agent() {
        let definition = front("command: grep -c 502 /var/log/nginx/error.log | sort: x");
        let line = "grep -c 502 /var/log/nginx/error.log | sort: x".to_owned();
        assert_eq!(definition.command, Some(CommandLine::Shell { line }));
        assert_eq!(definition.runner, Some(RunnerKind::Command));
        let definition = front("command: [scan.sh, \"{prompt}\", 7]\nrunner: command\nretry: any\ncwd: sub");
        let argv = vec!["scan.sh".to_owned(), "{prompt}".to_owned(), "7".to_owned()];
        assert_eq!(definition.command, Some(CommandLine::Argv { argv }));
        assert_eq!((definition.retry, definition.cwd.as_deref()), (RetryRule::Any, Some("sub")));
        assert_eq!(front("command: x\nrunner: simulated").runner, Some(RunnerKind::Simulated));
    }

    #[test]
    fn a02_env_is_a_list_a_map_or_a_line() {
        let expected = vec!["HOME_URL".to_owned(), "A=b c".to_owned()];
        assert_eq!(front("env: [HOME_URL, A=b c]").env, expected);
        assert_eq!(front("env:\n  HOME_URL:\n  A: b c").env, expected);
        assert_eq!(front("env:\n  - HOME_URL\n  - A: b c").env, expected);
        assert_eq!(front("env: ONE, TWO").env, vec!["ONE".to_owned(), "TWO".to_owned()]);
    }

    #[test]
    fn a01_what_must_not_be_guessed_at_is_refused() {
        for lines in ["command: {a: 1}", "command: [[x]]", "command: []", "command: ''", "runner: gpu", "retry: maybe"]
        {
            let refused = parse("x", &format!("---\n{lines}\n---\n"), Path::new("/x"));
            assert!(matches!(refused, Err(DefinitionError::BadKey { .. })), "{lines}: {refused:?}");
        }
    }

    #[test]
    fn a01_broken_front_matter_is_an_error_and_no_crash() {
        let broken = [
            "",
            "text",
            "---\nname: x",
            "---\n- a\n- b\n---\n",
            "---\n[\n---\n",
            "---\nname: \"open\n---\n",
            "---\na: &a [*a]\n---\n",
            "---\n\0\n---\n",
            "---\n{{{{{{\n---\n",
            "---\njust words\n---\n",
            "--- \n",
        ];
        for text in broken {
            let refused = parse("x", text, Path::new("/x"));
            assert!(refused.is_err(), "{text:?}: {refused:?}");
        }
        let deep = format!("---\na: {}\n---\n", "[".repeat(100_000));
        assert!(parse("x", &deep, Path::new("/x")).is_err());
        let large = format!("---\nname: x\n---\n{}", "x".repeat(FILE_BYTES_MAX));
        assert!(matches!(parse("x", &large, Path::new("/x")), Err(DefinitionError::TooLarge { .. })));
    }
}
