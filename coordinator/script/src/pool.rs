//! Where script hosts come from.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use skein_common::script::{Loaded, ScriptErrorKind};

use crate::error::{HostError, LoadError};
use crate::host::ScriptHost;
use crate::keeper::{Keeper, Mode};
use crate::limits::HostLimits;
use crate::prepare::Lines;

/// Starts one sandboxed process per script. Clones share the zygote, which ends with the last clone and host.
#[derive(Debug, Clone)]
pub struct HostPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    executable: PathBuf,
    mode: Mode,
    keeper: OnceLock<Keeper>,
    live: Arc<AtomicUsize>,
}

/// Counts one host for as long as it is there.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(live: &Arc<AtomicUsize>) -> Self {
        live.fetch_add(1, Ordering::Relaxed);
        Self(live.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HostPool {
    /// Starts the zygote: `executable script-zygote`, which must call [`crate::child::zygote_main`].
    pub async fn start(executable: PathBuf) -> Result<Self, HostError> {
        if cfg!(not(target_os = "linux")) {
            return Ok(Self::with_exec(executable));
        }
        let pool = Self::new(executable, Mode::Zygote);
        pool.keeper()?.warm().await?;
        Ok(pool)
    }

    /// Executes `executable script-host` for every script: slower, and for platforms without a zygote.
    #[must_use]
    pub fn with_exec(executable: PathBuf) -> Self {
        Self::new(executable, Mode::Exec)
    }

    fn new(executable: PathBuf, mode: Mode) -> Self {
        // Children start in the root directory.
        let executable = std::path::absolute(&executable).unwrap_or(executable);
        Self { shared: Arc::new(Shared { executable, mode, keeper: OnceLock::new(), live: Arc::default() }) }
    }

    fn keeper(&self) -> Result<&Keeper, HostError> {
        let Shared { executable, mode, keeper, .. } = &*self.shared;
        match keeper.get() {
            Some(keeper) => Ok(keeper),
            None => {
                let made = Keeper::new(executable.clone(), *mode)?;
                Ok(keeper.get_or_init(|| made))
            }
        }
    }

    /// Parses a script in a host of its own, which then waits for [`ScriptHost::start`].
    pub async fn load(&self, source: &str, limits: &HostLimits) -> Result<(ScriptHost, Loaded), LoadError> {
        if source.len() as u64 > limits.source_bytes {
            let message = format!(
                "the script has {} bytes, more than the cap `source_bytes` of {}",
                source.len(),
                limits.source_bytes
            );
            return Err(Lines::bare(ScriptErrorKind::Limit, message).into());
        }
        let counted = Counted::one_more(&self.shared.live);
        let spawned = self.keeper()?.spawn().await?;
        ScriptHost::load(spawned, counted, source, limits).await
    }

    /// Hosts that are there now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }

    /// The same look at a script, without keeping the host.
    pub async fn check(&self, source: &str, limits: &HostLimits) -> Result<Loaded, LoadError> {
        let (_host, loaded) = self.load(source, limits).await?;
        Ok(loaded)
    }
}
