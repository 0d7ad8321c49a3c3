//! The `command` runner: a program, no model (A2).

use super::output::{self, Output, TooLarge};
use super::program::{self, Program};
use super::progress::Progress;
use super::schema::{Schema, SchemaError};
use super::{Ended, Runner, Stop, Work};
use crate::environment::Environment;
use crate::places::Places;
use crate::process::{Exit, Keeper, KeeperError, KeptChild, Mark, Pipes, ProgramStart};
use crate::worktree::Worktrees;
use async_trait::async_trait;
use serde::Serialize;
use serde_json::value::RawValue;
use skein_common::Payload;
use skein_common::agent::{Cause, Isolation, Usage};
use skein_common::wire::AttemptEnd;
use std::borrow::Cow;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tracing::warn;

/// When everything is gone the rest of its output is in the pipes. Longer it takes only when a descriptor was handed
/// to a process that is none of ours.
const REST_OF_OUTPUT: Duration = Duration::from_secs(1);
/// `EX_TEMPFAIL` of sysexits.h: the program asks to be tried again.
const EXIT_RETRY: i32 = 75;

/// Starts programs.
#[derive(Debug)]
pub(crate) struct CommandRunner {
    pub keeper: Rc<Keeper>,
    pub environment: Environment,
    pub worktrees: Rc<Worktrees>,
    pub places: Rc<Places>,
    pub output_bytes_max: u64,
    /// Between SIGTERM and SIGKILL when an attempt is told to end: time to write a last line.
    pub kill_grace: Duration,
}

/// What standard input says, in this order.
#[derive(Serialize)]
struct Input<'a> {
    prompt: &'a str,
    args: Option<&'a RawValue>,
    schema: Option<&'a RawValue>,
    label: &'a str,
    phase: Option<&'a str>,
    run: &'a str,
    agent: u32,
    attempt: u32,
    host: Option<&'a str>,
    model: Option<&'a str>,
}

/// Why a program is not left to run to its end.
enum Halt {
    Stopped {
        at_once: bool,
    },
    TimedOut,
    /// There was no progress for so long.
    Stalled(Duration),
    TooLarge,
}

#[async_trait(?Send)]
impl Runner for CommandRunner {
    async fn run(&self, work: &Work, stop: &mut Stop) -> Ended {
        let carried = match work.task.isolation {
            None => self.in_place(work, stop).await,
            Some(Isolation::Worktree) => self.in_worktree(work, stop).await,
        };
        match carried {
            Ok(ended) | Err(ended) => ended,
        }
    }
}

impl CommandRunner {
    async fn in_place(&self, work: &Work, stop: &mut Stop) -> Result<Ended, Ended> {
        let cwd = program::working_directory(work, self.places.root_of(&work.task).as_deref())?;
        self.carry_out(work, cwd, stop).await
    }

    /// In a fresh worktree, settled when the attempt is over, however it ended.
    async fn in_worktree(&self, work: &Work, stop: &mut Stop) -> Result<Ended, Ended> {
        let wanted = program::working_directory(work, self.places.root_of(&work.task).as_deref())?;
        self.hold(work, stop).await?;
        let earlier = self.worktrees.kept_earlier(work.attempt());
        let (mut ended, own) = match self.worktrees.create(work.attempt(), &wanted, stop).await {
            Err(ended) => (ended, None),
            Ok(worktree) => {
                let (Ok(ended) | Err(ended)) = self.carry_out(work, worktree.cwd.clone(), stop).await;
                (ended, self.worktrees.settle(worktree).await)
            }
        };
        ended.notes.extend(earlier);
        ended.notes.extend(own);
        Ok(ended)
    }

    async fn hold(&self, work: &Work, stop: &mut Stop) -> Result<(), Ended> {
        tokio::select! {
            held = self.keeper.hold_run(&work.attempt().run) => held.map_err(not_started)?,
            () = stop.asked() => return Err(Ended::lost(None, "stopped")),
        }
        self.worktrees.clean_up_run(&work.attempt().run).await;
        Ok(())
    }

    async fn carry_out(&self, work: &Work, cwd: PathBuf, stop: &mut Stop) -> Result<Ended, Ended> {
        let schema = work.schema.as_deref().map(Schema::parse).transpose().map_err(schema_failure)?;
        let program = program::prepare(work, &self.environment, cwd)?;
        let input = input(work)?;
        self.hold(work, stop).await?;
        let (mut child, pipes) = self.keeper.start(start_of(work, program)).await.map_err(not_started)?;
        let mut output = Output::default();
        let attended = self.attend(&mut child, pipes, &input, &mut output, work, stop).await;
        let (halt, exit) = attended.map_err(lost)?;
        let usage = output.three.usage();
        let mut ended = match halt {
            Some(halt) => self.halted(&halt, work, &output),
            None => exited(exit, output, schema.as_ref()),
        };
        match usage {
            Ok(usage) => ended.usage = usage.unwrap_or_default(),
            Err(error) => ended.notes.push(format!("the last line on descriptor 3 is no usage: {error}")),
        }
        Ok(ended)
    }

    /// Writes and reads until the program and all its descendants are gone; ends them when it has to.
    async fn attend(
        &self,
        child: &mut KeptChild,
        mut pipes: Pipes,
        input: &[u8],
        output: &mut Output,
        work: &Work,
        stop: &mut Stop,
    ) -> Result<(Option<Halt>, Exit), KeeperError> {
        let progress = Progress::begin();
        // The pipes stay open to the end: a program that wrote too much shall be killed, not go on with a closed one.
        let mut pump = std::pin::pin!(output::pump(&mut pipes, input, output, self.output_bytes_max, &progress));
        let mut pumping = true;
        let mut deadline = std::pin::pin!(tokio::time::sleep(work.timeout));
        let mut halt = None;
        let exit = loop {
            let reason = tokio::select! {
                exit = child.exited() => break exit?,
                pumped = &mut pump, if pumping => {
                    pumping = false;
                    pumped.err().map(|TooLarge| Halt::TooLarge)
                }
                () = &mut deadline, if halt.is_none() => Some(Halt::TimedOut),
                () = progress.stalled(work.stall), if halt.is_none() => work.stall.map(Halt::Stalled),
                () = stop.asked(), if halt.is_none() => Some(Halt::Stopped { at_once: stop.is_urgent() }),
            };
            if let Some(reason) = reason.filter(|_| halt.is_none()) {
                child.end(reason.grace(self.kill_grace)).await;
                halt = Some(reason);
            }
        };
        if pumping && let Ok(Err(TooLarge)) = tokio::time::timeout(REST_OF_OUTPUT, &mut pump).await {
            halt = halt.or(Some(Halt::TooLarge));
        }
        Ok((halt, exit))
    }

    fn halted(&self, halt: &Halt, work: &Work, output: &Output) -> Ended {
        let (cause, detail, message) = match halt {
            Halt::Stopped { .. } => return Ended::lost(None, "stopped"),
            Halt::TimedOut => {
                let message = format!("ran longer than {} ms", work.timeout.as_millis());
                (Cause::TimedOut, Some("command_timeout"), message)
            }
            Halt::Stalled(limit) => (Cause::Stalled, None, format!("no progress for {}ms", limit.as_millis())),
            Halt::TooLarge => {
                let message = format!("standard output is larger than {} bytes", self.output_bytes_max);
                (Cause::OutputTooLarge, None, message)
            }
        };
        let stderr = output.stderr.text();
        let message = if stderr.is_empty() { message } else { format!("{message}\n{stderr}") };
        Ended::failed(cause, detail, message)
    }
}

impl Halt {
    fn grace(&self, setting: Duration) -> Duration {
        match self {
            Halt::Stopped { at_once: false } | Halt::TimedOut | Halt::Stalled(_) => setting,
            Halt::Stopped { at_once: true } | Halt::TooLarge => Duration::ZERO,
        }
    }
}

fn input(work: &Work) -> Result<Vec<u8>, Ended> {
    let raw = |text: &Option<String>| text.clone().map(RawValue::from_string).transpose();
    let task = &work.task;
    let encoded = raw(&work.args).and_then(|args| Ok((args, raw(&work.schema)?))).and_then(|(args, schema)| {
        serde_json::to_vec(&Input {
            prompt: &work.prompt,
            args: args.as_deref(),
            schema: schema.as_deref(),
            label: &task.label,
            phase: task.phase.as_deref(),
            run: task.attempt.run.as_str(),
            agent: task.attempt.agent,
            attempt: task.attempt.attempt,
            host: task.host.as_deref(),
            model: task.model.as_deref(),
        })
    });
    let mut input = encoded.map_err(|error| {
        Ended::failed(Cause::Failed, Some("bad_task"), format!("args or schema is not JSON: {error}"))
    })?;
    input.push(b'\n');
    Ok(input)
}

fn start_of(work: &Work, program: Program) -> ProgramStart {
    let attempt = work.attempt();
    let mark = Mark::of(attempt);
    let Program { file, argv, env, cwd } = program;
    ProgramStart { run: attempt.run.clone(), mark, program: file, argv, env, cwd, has_deadline: true }
}

fn lost(error: KeeperError) -> Ended {
    let detail = if matches!(error, KeeperError::Overdue) { "deadline" } else { "keeper" };
    Ended::lost(Some(detail), error.to_string())
}

fn not_started(error: KeeperError) -> Ended {
    let message = error.to_string();
    match error {
        KeeperError::NotStarted { .. } => Ended::failed(Cause::Failed, Some("not_started"), message),
        KeeperError::RunHeld { .. } => Ended::lost(Some("run_held"), message),
        KeeperError::NoKeeper(_)
        | KeeperError::NoPipes(_)
        | KeeperError::LockFailed { .. }
        | KeeperError::KeeperDied
        | KeeperError::Overdue => {
            warn!(error = %message, "a program could not be started");
            Ended::lost(Some("keeper"), message)
        }
    }
}

fn exited(exit: Exit, output: Output, schema: Option<&Schema>) -> Ended {
    let detail = match exit {
        Exit::Code { code: 0 } => return succeeded(output.stdout, schema),
        Exit::Code { code } => format!("exit {code}"),
        Exit::Signal { signal } => format!("signal {signal}"),
        Exit::Overdue => return lost(KeeperError::Overdue),
    };
    let stderr = output.stderr.text();
    let message = if stderr.is_empty() { format!("{detail}, and nothing on standard error") } else { stderr };
    let mut ended = Ended::failed(Cause::Failed, Some(&detail), message);
    if let AttemptEnd::Failed { retryable, .. } = &mut ended.end {
        *retryable = exit == Exit::Code { code: EXIT_RETRY };
    }
    ended
}

fn succeeded(stdout: Vec<u8>, schema: Option<&Schema>) -> Ended {
    let (text, replaced) = output::text_of(stdout);
    let mut ended = match schema {
        None => Ended::done(Payload::Text { text }, Usage::default()),
        Some(schema) => fitted(text, schema),
    };
    if replaced {
        ended.notes.push("standard output was not valid UTF-8: what was not is replaced".to_owned());
    }
    ended
}

fn fitted(text: String, schema: &Schema) -> Ended {
    let value: serde_json::Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(error) => return Ended::unfit(text, format!("standard output is not JSON: {error}")),
    };
    let value = match schema.fit(&value) {
        // As the program wrote it: numbers keep all their digits.
        Ok(Cow::Borrowed(_)) => Payload::Json { json: text },
        Ok(Cow::Owned(coerced)) => Payload::json(coerced.to_string()),
        Err(error) => return Ended::unfit(text, format!("standard output does not fit the schema: {error}")),
    };
    Ended::done(value, Usage::default())
}

fn schema_failure(error: SchemaError) -> Ended {
    Ended::failed(Cause::Failed, Some("bad_schema"), error.to_string())
}
