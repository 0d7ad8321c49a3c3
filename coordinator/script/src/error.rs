//! Why a script could not be hosted, as opposed to why it failed.

use std::io;

use skein_common::script::ScriptError;

/// The infrastructure is at fault, not the script. Trying again may help.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The executable could not be started, or is not one that knows the hidden subcommands.
    #[error("cannot start the script host process: {reason}")]
    Spawn {
        reason: String,
        #[source]
        source: Option<io::Error>,
    },
    /// The zygote went away or answered nonsense; the next request starts a new one.
    #[error("the script zygote is gone: {reason}")]
    ZygoteGone { reason: String },
    /// The pool's own thread has ended.
    #[error("the host pool has been shut down")]
    PoolClosed,
    /// The host speaks another version of the frames: the executable was replaced.
    #[error("the script host speaks protocol {found}, this process speaks {expected}")]
    Version { expected: u32, found: u32 },
    /// Pipes, sockets or timers of the operating system.
    #[error("script host input or output: {0}")]
    Io(#[from] io::Error),
}

/// Why a script did not load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The script is at fault.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The infrastructure is at fault.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Host(error.into())
    }
}
