//! Run change: a line about one run for who watches all of them.

use serde::{Deserialize, Serialize};
use skein_common::RunId;
use skein_common::run::RunStatus;
use skein_common::view::{Census, RunView, TokensView};
use utoipa::ToSchema;

/// The feed topic of all runs.
pub(crate) const RUNS_TOPIC: &str = "runs";

/// How a run stands that has begun, stands otherwise than before, or ended. Names are those of `RunView`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunChange {
    pub run: RunId,
    #[serde(default)]
    pub parent: Option<RunId>,
    pub workflow: String,
    pub status: RunStatus,
    #[serde(default)]
    pub degraded: bool,
    #[serde(default)]
    pub started_at_ms: i64,
    #[serde(default)]
    pub elapsed_ms: u64,
    #[serde(default)]
    pub agents: Census,
    #[serde(default)]
    pub tokens: TokensView,
}

impl From<&RunView> for RunChange {
    fn from(view: &RunView) -> RunChange {
        RunChange {
            run: view.run.clone(),
            parent: view.parent.clone(),
            workflow: view.workflow.clone(),
            status: view.status,
            degraded: view.degraded,
            started_at_ms: view.started_at_ms,
            elapsed_ms: view.elapsed_ms,
            agents: view.agents,
            tokens: view.tokens,
        }
    }
}
