//! Standing: how a coordinator stands in its cluster, for who operates it.

use serde::{Deserialize, Serialize};
use skein_common::ports::Shard;
use utoipa::ToSchema;

/// How one coordinator stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// Names the process in leases of runs.
    pub owner: String,
    /// Runs that it executes now.
    pub live_runs: usize,
    /// `None` where each run is owned by itself.
    pub shards: Option<ShardsStanding>,
}

/// Its part of the runs that several coordinators share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShardsStanding {
    /// Names the process among those that share.
    pub node: String,
    /// The shards whose runs come here.
    pub owned: Vec<Shard>,
    /// All there are.
    pub count: Shard,
    /// The nodes that took part at the last look.
    pub members: Vec<String>,
    /// What was not written because its run belongs to another process by now, since the start of this one.
    pub refused_appends: u64,
}
