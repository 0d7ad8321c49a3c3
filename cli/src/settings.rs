//! Settings of this process: defaults, then the environment. Flags are in `args`.

use anyhow::Context as _;
use skein_common::config::{CoordinatorSettings, WorkerSettings, parse_duration_ms};
use skein_script::HostLimits;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// What the parts of one process are set to.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub worker: WorkerSettings,
    pub coordinator: CoordinatorSettings,
    pub host_limits: HostLimits,
}

impl Settings {
    /// Reads the `SKEIN_*` variables; an unreadable value is an error, not ignored.
    ///
    /// # Errors
    /// Names the variable and what it should be.
    pub fn from_environment() -> anyhow::Result<Settings> {
        let mut settings = Settings::default();
        for (name, field) in [
            ("SKEIN_HEARTBEAT", &mut settings.worker.heartbeat_ms),
            ("SKEIN_ATTEMPT_TIMEOUT", &mut settings.worker.attempt_timeout_ms),
            ("SKEIN_STALL", &mut settings.worker.stall_ms),
            ("SKEIN_ATTEMPTS_LOCK_WAIT", &mut settings.worker.attempts_lock_wait_ms),
            ("SKEIN_KILL_GRACE", &mut settings.worker.kill_grace_ms),
            ("SKEIN_ATTEMPT_DEADLINE", &mut settings.coordinator.attempt_deadline_ms),
            ("SKEIN_CLAIM_WAIT", &mut settings.coordinator.claim_wait_ms),
            ("SKEIN_GRACE", &mut settings.coordinator.grace_ms),
            ("SKEIN_SCRIPT_TURN", &mut settings.host_limits.turn_ms),
        ] {
            let Ok(text) = std::env::var(name) else { continue };
            *field = parse_duration_ms(&text)
                .with_context(|| format!("{name}={text} is no time; write such as 2s or 500ms"))?;
        }
        for (name, field) in [
            ("SKEIN_OUTPUT_BYTES", &mut settings.worker.output_bytes_max),
            ("SKEIN_SCRIPT_MEMORY_BYTES", &mut settings.host_limits.memory_bytes),
        ] {
            let Ok(text) = std::env::var(name) else { continue };
            *field = text.parse().with_context(|| format!("{name}={text} is no number of bytes"))?;
        }
        if let Ok(text) = std::env::var("SKEIN_SLOTS") {
            settings.worker.slots =
                text.parse().with_context(|| format!("SKEIN_SLOTS={text} is no number of slots"))?;
        }
        Ok(settings)
    }
}

/// Logs go to standard error: warnings by default, more with `-v`, or as `SKEIN_LOG` says.
pub fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("SKEIN_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

/// `--store`, else the platform's state directory.
///
/// # Errors
/// There is no home directory to find it in.
pub fn store_dir(flag: Option<&PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = flag {
        return Ok(dir.clone());
    }
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").filter(|state| !state.is_empty()) {
        return Ok(PathBuf::from(state).join("skein"));
    }
    let home = home_dir().context("no home directory: name one with --store DIR")?;
    Ok(home.join(".local/state/skein"))
}

/// The user's home, if the environment names one.
#[must_use]
pub fn home_dir() -> Option<PathBuf> {
    std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}
