//! Which program a `command` attempt starts: its arguments, environment, directory and file (A2).

use super::{Ended, Work};
use crate::environment::Environment;
use rustix::fs::Access;
use skein_common::agent::{AgentDefinition, Cause, CommandLine};
use std::path::{Path, PathBuf};

/// A longer prompt does not go into an argument.
const PROMPT_ARGUMENT_BYTES_MAX: usize = 100 * 1024;
/// A longer label or phase is cut in the environment, since the system refuses to start a program with it.
const VARIABLE_BYTES_MAX: usize = 4 * 1024;
/// Variables of the worker that every program gets.
pub(crate) const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// A program ready to be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) file: PathBuf,
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: PathBuf,
}

/// Finds everything out, or says why the attempt fails.
pub(super) fn prepare(work: &Work, environment: &Environment, cwd: PathBuf) -> Result<Program, Ended> {
    let definition = work.task.definition.as_ref();
    let definition_dir = definition.and_then(|definition| Path::new(&definition.path).parent());
    let argv = arguments(work, definition, definition_dir)?;
    let env = variables(work, definition, environment);
    let path = env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let name = argv.first().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| failed("not_found", "the command is empty"))?;
    let file = find_program(name, path, definition_dir, &cwd)?;
    Ok(Program { file, argv, env, cwd })
}

fn failed(detail: &str, message: impl Into<String>) -> Ended {
    Ended::failed(Cause::Failed, Some(detail), message)
}

/// The definition's, else the worker's root, else the project.
pub(super) fn working_directory(work: &Work, root: Option<&Path>) -> Result<PathBuf, Ended> {
    let definition = work.task.definition.as_ref();
    let project = Path::new(&work.task.project_dir);
    let own = definition.and_then(|definition| definition.cwd.as_deref()).map(|cwd| project.join(cwd));
    let cwd = own.or_else(|| root.map(Path::to_owned)).unwrap_or_else(|| project.to_owned());
    if cwd.is_dir() { Ok(cwd) } else { Err(failed("no_directory", format!("no such directory: {}", cwd.display()))) }
}

fn arguments(work: &Work, definition: Option<&AgentDefinition>, dir: Option<&Path>) -> Result<Vec<String>, Ended> {
    let dir = dir.map(|dir| dir.to_string_lossy().into_owned());
    let own = definition.and_then(|definition| definition.command.as_ref());
    let templates = match own {
        Some(CommandLine::Shell { line }) => {
            let line = dir.map_or_else(|| line.clone(), |dir| line.replace("{definition_dir}", &quoted(&dir)));
            return Ok(vec!["/bin/sh".into(), "-c".into(), line]);
        }
        Some(CommandLine::Argv { argv }) => argv,
        None => work.task.command.as_ref().ok_or_else(|| {
            failed("no_command", "no command: the agent type has no `command` and the run was given none (--command)")
        })?,
    };
    if templates.iter().any(|template| template.contains("{prompt}")) {
        check_prompt(&work.prompt)?;
    }
    Ok(templates.iter().map(|template| fill_in(template, &work.prompt, dir.as_deref())).collect())
}

fn check_prompt(prompt: &str) -> Result<(), Ended> {
    if prompt.len() > PROMPT_ARGUMENT_BYTES_MAX {
        let message = format!(
            "the prompt has {} bytes and {{prompt}} in an argument takes at most {PROMPT_ARGUMENT_BYTES_MAX}: \
             read it from standard input",
            prompt.len()
        );
        return Err(failed("prompt_too_large", message));
    }
    if prompt.contains('\0') {
        let message = "the prompt has a NUL character, which no argument can hold: read it from standard input";
        return Err(failed("prompt_nul", message));
    }
    Ok(())
}

/// One pass, so that what is filled in is not filled in again.
fn fill_in(template: &str, prompt: &str, dir: Option<&str>) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let known = [("{prompt}", Some(prompt)), ("{definition_dir}", dir)];
        let found = known.into_iter().find_map(|(key, value)| Some((from.strip_prefix(key)?, value?)));
        rest = if let Some((after, value)) = found {
            filled.push_str(value);
            after
        } else {
            filled.push('{');
            &from[1..]
        };
    }
    filled.push_str(rest);
    filled
}

/// For a shell: as it is when every character is plain, else in single quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn variables(work: &Work, definition: Option<&AgentDefinition>, environment: &Environment) -> Vec<(String, String)> {
    let task = &work.task;
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        variables.retain(|(there, _)| there != name);
        variables.push((name.to_owned(), value.to_owned()));
    };
    for name in PASSED_ON {
        if let Some(value) = environment.get(name) {
            set(name, value);
        }
    }
    for entry in definition.map(|definition| definition.env.as_slice()).unwrap_or_default() {
        match entry.split_once('=') {
            Some((name, value)) if nameable(name) && !value.contains('\0') => set(name, value),
            None if nameable(entry) => {
                if let Some(value) = environment.get(entry) {
                    set(entry, value);
                }
            }
            _ => {}
        }
    }
    // Last, because the keeper tells the processes of an attempt by them.
    set("SKEIN_RUN", task.attempt.run.as_str());
    set("SKEIN_AGENT", &task.attempt.agent.to_string());
    set("SKEIN_ATTEMPT", &task.attempt.attempt.to_string());
    set("SKEIN_LABEL", &cut(&task.label));
    set("SKEIN_PHASE", &cut(task.phase.as_deref().unwrap_or_default()));
    set("SKEIN_HOST", &cut(task.host.as_deref().unwrap_or_default()));
    set("SKEIN_MODEL", &cut(task.model.as_deref().unwrap_or_default()));
    if let Some(traceparent) = &task.traceparent {
        set("TRACEPARENT", traceparent.as_str());
    }
    variables
}

fn nameable(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0')
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(VARIABLE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}

/// The file of this name: beside the definition or below the folder, or along the path.
pub(crate) fn find_program(
    name: &str,
    path: &str,
    definition_dir: Option<&Path>,
    cwd: &Path,
) -> Result<PathBuf, Ended> {
    let places: Vec<PathBuf> = if name.contains('/') {
        definition_dir.into_iter().chain([cwd]).map(|dir| dir.join(name)).collect()
    } else {
        path.split(':').filter(|dir| !dir.is_empty()).map(|dir| cwd.join(dir).join(name)).collect()
    };
    let files = || places.iter().filter(|place| place.is_file());
    if let Some(found) = files().find(|place| rustix::fs::access(place.as_path(), Access::EXEC_OK).is_ok()) {
        return Ok(found.clone());
    }
    Err(match files().next() {
        Some(file) => failed("not_executable", format!("not executable: {}", file.display())),
        None => failed("not_found", format!("command not found: {name}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a02_what_is_filled_in_is_not_filled_in_again() {
        assert_eq!(
            fill_in("--say={prompt}!", "{definition_dir}{prompt}", Some("/d")),
            "--say={definition_dir}{prompt}!"
        );
        assert_eq!(fill_in("{definition_dir}/scan.sh", "p", Some("/d")), "/d/scan.sh");
        assert_eq!(fill_in("{definition_dir}/x", "p", None), "{definition_dir}/x");
        assert_eq!(fill_in("{\"a\": {prompt}}", "1", None), "{\"a\": 1}");
    }

    #[test]
    fn a02_a_prompt_above_100_kib_does_not_go_into_an_argument() {
        assert!(check_prompt(&"x".repeat(100 * 1024)).is_ok());
        let refusal = format!("{:?}", check_prompt(&"x".repeat(100 * 1024 + 1)));
        assert!(refusal.contains("102401 bytes") && refusal.contains("standard input"), "{refusal}");
    }

    #[test]
    fn a02_a_folder_with_a_blank_is_one_word_for_the_shell() {
        assert_eq!(quoted("/plain/dir-1"), "/plain/dir-1");
        assert_eq!(quoted("/it's here"), r"'/it'\''s here'");
    }

    #[test]
    fn a02_long_labels_are_cut_between_characters() {
        let label = "ä".repeat(VARIABLE_BYTES_MAX);
        assert_eq!(cut(&label).len(), VARIABLE_BYTES_MAX);
        assert_eq!(cut(&format!("x{label}")).len(), VARIABLE_BYTES_MAX - 1);
        assert_eq!(cut("a\0b"), "a\u{fffd}b");
    }
}
