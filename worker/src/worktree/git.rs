//! Running git: through the keeper like every program of an attempt, so that it ends with the worker.

use crate::environment::Environment;
use crate::process::{Exit, Keeper, KeeperError, Mark, ProgramStart};
use crate::runner::output::{Output, TooLarge, pump};
use crate::runner::program::{PASSED_ON, find_program};
use crate::runner::progress::Progress;
use skein_common::wire::AttemptRef;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// One command of git; a checkout of a large project is the longest.
const GIT_TIME: Duration = Duration::from_secs(600);
/// What a command may print.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// Before every command: hooks and watchers of the repository would be programs that belong to nobody.
const QUIETLY: [&str; 4] = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];

/// Why a command of git gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git is not installed on this worker")]
    Missing,
    /// Its standard error.
    #[error("{message}")]
    Failed { message: String },
    #[error("git took longer than {} s", GIT_TIME.as_secs())]
    Slow,
    #[error("git printed more than {OUTPUT_BYTES_MAX} bytes")]
    TooLarge,
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// The git of this worker.
#[derive(Debug)]
pub(crate) struct Git {
    pub keeper: Rc<Keeper>,
    pub environment: Environment,
}

impl Git {
    /// Runs a command in a folder for an attempt and gives what it printed, without the last line break.
    pub(super) async fn run(&self, attempt: &AttemptRef, cwd: &Path, args: &[&str]) -> Result<String, GitError> {
        let path = self.environment.get("PATH").unwrap_or_default();
        let program = find_program("git", path, None, cwd).map_err(|_| GitError::Missing)?;
        let mark = Mark::of(attempt);
        let argv = ["git"].iter().chain(&QUIETLY).chain(args).map(|word| (*word).to_owned()).collect();
        let (run, env, cwd) = (attempt.run.clone(), self.variables(&mark), cwd.to_owned());
        let start = ProgramStart { run, mark, program, argv, env, cwd, has_deadline: false };
        let (mut child, mut pipes) = self.keeper.start(start).await?;
        let (mut output, progress) = (Output::default(), Progress::begin());
        let carried = async {
            pump(&mut pipes, b"", &mut output, OUTPUT_BYTES_MAX, &progress)
                .await
                .map_err(|TooLarge| GitError::TooLarge)?;
            Ok::<Exit, GitError>(child.exited().await?)
        };
        let exit = tokio::time::timeout(GIT_TIME, carried).await.map_err(|_| GitError::Slow)??;
        if exit != (Exit::Code { code: 0 }) {
            return Err(GitError::Failed { message: output.stderr.text() });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    fn variables(&self, mark: &Mark) -> Vec<(String, String)> {
        let passed_on = PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), self.environment.get(name)?)));
        let own = [
            ("SKEIN_RUN", mark.run.as_str()),
            ("SKEIN_AGENT", mark.agent.as_str()),
            ("SKEIN_ATTEMPT", mark.attempt.as_str()),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("LC_ALL", "C"),
        ];
        passed_on
            .chain(own.map(|(name, value)| (name.to_owned(), value)))
            .map(|(name, v)| (name, v.to_owned()))
            .collect()
    }
}
