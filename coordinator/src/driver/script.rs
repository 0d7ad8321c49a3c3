//! What a driver needs of whoever interprets scripts: processes in a coordinator, models in a simulation.

use async_trait::async_trait;
use skein_common::script::{Loaded, Settlement, Start, TurnEnd};
use skein_script::{HostLimits, HostPool, LoadError, ScriptHost};

/// One loaded script. Dropping it ends it wherever it is.
#[async_trait]
pub trait Script: Send {
    /// Runs the script until it waits or ends.
    async fn start(&mut self, start: Start) -> TurnEnd;
    /// Delivers settlements in this order, until the script waits again or ends.
    async fn settle(&mut self, items: Vec<Settlement>) -> TurnEnd;
    /// Another time cap for the turns to come.
    fn set_turn_ms(&mut self, turn_ms: u64);
}

/// Where scripts are loaded.
#[async_trait]
pub trait Scripts: Send + Sync {
    /// Parses a script, which then waits for [`Script::start`].
    ///
    /// # Errors
    /// The script or the infrastructure is at fault.
    async fn load(&self, source: &str, limits: &HostLimits) -> Result<(Box<dyn Script>, Loaded), LoadError>;

    /// Scripts that are loaded now.
    fn live(&self) -> usize;
}

#[async_trait]
impl Script for ScriptHost {
    async fn start(&mut self, start: Start) -> TurnEnd {
        ScriptHost::start(self, start).await
    }

    async fn settle(&mut self, items: Vec<Settlement>) -> TurnEnd {
        ScriptHost::settle(self, items).await
    }

    fn set_turn_ms(&mut self, turn_ms: u64) {
        ScriptHost::set_turn_ms(self, turn_ms);
    }
}

#[async_trait]
impl Scripts for HostPool {
    async fn load(&self, source: &str, limits: &HostLimits) -> Result<(Box<dyn Script>, Loaded), LoadError> {
        let (host, loaded) = HostPool::load(self, source, limits).await?;
        Ok((Box::new(host), loaded))
    }

    fn live(&self) -> usize {
        HostPool::live(self)
    }
}
