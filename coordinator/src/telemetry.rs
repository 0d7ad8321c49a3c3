//! Telemetry: how those who operate a coordinator watch it.

use crate::metrics::Metrics;
use crate::ownership::Holdings;
use async_trait::async_trait;
use skein_common::metrics::{AllowedNames, Deliveries, Meters, MetricsError};
use skein_common::readiness::{AlwaysReady, Readiness};
use std::fmt;
use std::sync::Arc;

/// What a coordinator is given to be watched by.
#[derive(Clone)]
pub struct Telemetry {
    /// All metrics of the process, this coordinator's among them.
    pub meters: Meters,
    pub metrics: Arc<Metrics>,
    /// Whether what the process stands on lets it work.
    pub readiness: Arc<dyn Readiness>,
}

impl Telemetry {
    /// Of a coordinator that nobody watches.
    ///
    /// # Errors
    /// None that is known.
    pub fn unwatched() -> Result<Telemetry, MetricsError> {
        let meters = Meters::default();
        let metrics = Metrics::register(&meters, Deliveries::register(&meters)?, AllowedNames::default())?;
        Ok(Telemetry { meters, metrics: Arc::new(metrics), readiness: Arc::new(AlwaysReady) })
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("meters", &self.meters).finish_non_exhaustive()
    }
}

/// What those see who watch a process.
#[derive(Clone)]
pub struct Watched {
    pub meters: Meters,
    pub readiness: Arc<dyn Readiness>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("meters", &self.meters).finish_non_exhaustive()
    }
}

/// A coordinator that shares runs with others can do its job as long as it is one of them.
pub(crate) struct MemberReadiness {
    pub process: Arc<dyn Readiness>,
    /// `None` where each run is owned by itself.
    pub holdings: Option<Arc<Holdings>>,
}

#[async_trait]
impl Readiness for MemberReadiness {
    async fn obstacles(&self) -> Vec<String> {
        let mut obstacles = self.process.obstacles().await;
        if let Some(holdings) = &self.holdings {
            if holdings.is_closing() {
                obstacles.push(String::from("this coordinator is giving its runs to others"));
            } else if holdings.member().is_none() {
                obstacles.push(String::from("this coordinator is no member of its cluster yet"));
            }
        }
        obstacles
    }
}
