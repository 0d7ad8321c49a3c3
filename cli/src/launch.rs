//! Launch: what a person typed becomes a [`RunSpec`], or an error that says what to type instead.

use crate::args::RunArgs;
use crate::exit::usage;
use crate::saved::{self, Found};
use crate::settings::{RunDefaults, Settings, home_dir, trusted_definitions};
use anyhow::Context as _;
use serde_json::Value;
use skein_common::Payload;
use skein_common::agent::RunnerKind;
use skein_common::config::parse_duration_ms;
use skein_common::run::{RunLimits, RunSpec};
use skein_common::workflow::is_workflow_name;
use skein_coordinator::check_args;
use skein_worker::definition::Places;
use std::io::Read;
use std::path::{Path, PathBuf};

/// `args` may be so deep (C11), and the definitions and saved workflows of a run together so large (R2a).
const DEFINITIONS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A run as it will be submitted, and what to tell the person about it.
#[derive(Debug)]
pub struct Launch {
    pub spec: RunSpec,
    pub source: String,
    pub warnings: Vec<String>,
}

/// Reads everything a run is made from.
///
/// # Errors
/// A file cannot be read, or an argument cannot be what it is.
pub fn prepare(args: &RunArgs, settings: &Settings) -> anyhow::Result<Launch> {
    let (project_dir, home) = (std::env::current_dir().context("the current directory is gone")?, home_dir());
    let saved = saved::discover(&project_dir, home.as_deref());
    let script = choose_script(&args.script, &saved)?;
    let (script_args, args_parsed_from_text) = read_args(args)?;
    let script_path = std::path::absolute(&script.path)?;
    let script_dir = script_path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let found = trusted_definitions(&Places {
        script_dir: &script_dir,
        script_project: script.project.as_deref(),
        project_dir: &project_dir,
        home: home.as_deref(),
    });
    let definitions_bytes: usize = found.definitions.iter().map(|definition| definition.body.len()).sum();
    let saved_bytes: usize = saved.workflows.iter().map(|saved| saved.source.len()).sum();
    if definitions_bytes + saved_bytes > DEFINITIONS_BYTES_MAX {
        return Err(usage(format!(
            "the agent definitions have {definitions_bytes} bytes and the saved workflows {saved_bytes}; the limit for \
             both is 4 MiB"
        )));
    }
    let defaults = &settings.runs;
    let limits = RunLimits {
        concurrency: args.concurrency.unwrap_or(defaults.limits.concurrency),
        agents_max: args.max_agents.unwrap_or(defaults.limits.agents_max),
    };
    limits.check().map_err(usage)?;
    let (runner, command) = runner_and_command(args, defaults)?;
    let spec = RunSpec {
        script: Payload::text(script.source.clone()),
        origin: script.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        args: script_args.map(Payload::json),
        args_parsed_from_text,
        limits,
        budget: args.budget.as_deref().map(parse_tokens).transpose()?.or(defaults.budget),
        budget_unit: defaults.budget_unit,
        runner,
        command,
        model: args.model.clone().or_else(|| defaults.model.clone()),
        simulation: args.simulate.unwrap_or_default(),
        definitions: found.definitions,
        workflows: saved.for_run(),
        script_roots: saved::script_roots(&project_dir, &script_dir, home.as_deref()),
        strict: args.strict,
        dry_run: args.dry_run,
        timeout_ms: args.timeout.as_deref().map(parse_timeout).transpose()?.or(defaults.timeout_ms),
        seed: rand::random(),
        project_dir: project_dir.to_string_lossy().into_owned(),
        parent: args.resume.clone(),
        resume_mode: args.resume_mode.into(),
        traceparent: None,
    };
    let warnings = found.warnings.into_iter().chain(saved.warnings).collect();
    Ok(Launch { spec, source: script.source, warnings })
}

/// The script of a run and where it is.
struct Script {
    path: PathBuf,
    source: String,
    /// The project that it was looked up in by its name; a person who names a file trusts what is beside it.
    project: Option<PathBuf>,
}

/// A file that exists, else the saved workflow of that name.
fn choose_script(asked: &Path, found: &Found) -> anyhow::Result<Script> {
    let name = asked.to_str().filter(|name| is_workflow_name(name));
    match name.filter(|_| !asked.exists() || asked.is_dir()) {
        Some(name) => match found.named(name) {
            Some(saved) => Ok(Script {
                path: saved.path.clone(),
                source: saved.source.clone(),
                project: saved.project().map(Path::to_path_buf),
            }),
            None => Err(usage(format!("there is no file and no saved workflow `{name}`; {}", found.known()))),
        },
        None => Ok(Script { path: asked.to_path_buf(), source: read_script(asked)?, project: None }),
    }
}

/// The script's text; it must be UTF-8, since it is kept byte for byte.
///
/// # Errors
/// It cannot be read or is not text.
pub fn read_script(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|_| usage(format!("{} is not UTF-8 text", path.display())))
}

/// `args` as JSON text, and whether it came as text that was parsed (C37).
fn read_args(args: &RunArgs) -> anyhow::Result<(Option<String>, bool)> {
    if let Some(flag) = &args.args {
        let text = match flag.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path).map_err(|error| usage(format!("--args @{path}: {error}")))?,
            None if flag == "-" => read_stdin()?,
            None => flag.clone(),
        };
        check_json(&text)?;
        return Ok((Some(text), false));
    }
    if args.text.is_empty() {
        return Ok((None, false));
    }
    let text = args.text.join(" ");
    let parsed = serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object() || value.is_array());
    if parsed {
        check_json(&text)?;
        return Ok((Some(text), true));
    }
    Ok((Some(Value::String(text).to_string()), false))
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| usage(format!("--args -: {error}")))?;
    Ok(text)
}

fn check_json(text: &str) -> anyhow::Result<()> {
    check_args(text).map_err(|error| usage(format!("--args: {error}; quote it for your shell, or use --args @FILE")))
}

fn runner_and_command(
    args: &RunArgs,
    defaults: &RunDefaults,
) -> anyhow::Result<(Option<RunnerKind>, Option<Vec<String>>)> {
    if let Some(command) = read_command(args)? {
        return Ok((Some(RunnerKind::Command), Some(command)));
    }
    let runner = args.runner.map(RunnerKind::from).or(defaults.runner);
    let runner = runner.or(defaults.command.as_ref().map(|_| RunnerKind::Command));
    let command = defaults.command.clone().filter(|_| runner == Some(RunnerKind::Command));
    Ok((runner, command))
}

fn read_command(args: &RunArgs) -> anyhow::Result<Option<Vec<String>>> {
    let Some(text) = &args.command else { return Ok(None) };
    if args.runner.is_some_and(|runner| RunnerKind::from(runner) != RunnerKind::Command) {
        return Err(usage("--command goes with --runner command, which it implies when --runner is left out"));
    }
    let words = shell_words::split(text).map_err(|error| usage(format!("--command: {error}")))?;
    if words.is_empty() {
        return Err(usage("--command is empty: give a program, such as --command 'sh review.sh'"));
    }
    Ok(Some(words))
}

/// `230k`, `1.5m` or a plain number of tokens.
///
/// # Errors
/// It is none of these.
pub fn parse_tokens(text: &str) -> anyhow::Result<u64> {
    let bad = || usage(format!("--budget {text}: write a number of tokens such as 500000, 230k or 1.5m"));
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 1_000),
        Some(b'm') => (&lower[..lower.len() - 1], 1_000_000),
        _ => (lower.as_str(), 1),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || fraction.len() > 3 {
        return Err(bad());
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse::<u64>().map_err(|_| bad())?;
    let tokens = thousandths.checked_mul(factor).map(|tokens| tokens / 1000).ok_or_else(bad)?;
    if tokens == 0 { Err(bad()) } else { Ok(tokens) }
}

fn parse_timeout(text: &str) -> anyhow::Result<u64> {
    parse_duration_ms(text)
        .filter(|ms| *ms > 0)
        .ok_or_else(|| usage(format!("--timeout {text}: write such as 30m, 90s or 500ms")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_in_thousands_and_millions() {
        for (text, tokens) in [("230k", 230_000), ("1.5m", 1_500_000), ("20K", 20_000), ("77", 77), ("0.5k", 500)] {
            assert_eq!(parse_tokens(text).expect(text), tokens);
        }
        for bad in ["", "k", "-5k", "1e6", "ten", "0", "1.2345m"] {
            assert!(parse_tokens(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn c37_depth_is_counted_outside_strings_only() {
        assert!(check_json(r#"{"a":["[[[[\"[[["]}"#).is_ok());
        assert!(check_json(&("[".repeat(101) + &"]".repeat(101))).is_err());
        assert!(check_json(&("[".repeat(100) + &"]".repeat(100))).is_ok());
    }
}
