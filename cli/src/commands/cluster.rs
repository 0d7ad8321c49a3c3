//! `skein coordinator` and `skein worker`: the processes of a cluster.

use crate::args::Global;
use crate::cluster;
use crate::cluster_args::{CoordinatorArgs, WorkerArgs};
use crate::exit::Code;

/// Owns runs until a signal.
///
/// # Errors
/// It cannot join the cluster, or cannot be reached.
pub async fn coordinator(global: &Global, args: CoordinatorArgs) -> anyhow::Result<Code> {
    cluster::coordinate(global, args).await
}

/// Carries out attempts until a signal or an order to drain.
///
/// # Errors
/// It cannot join the cluster.
pub async fn worker(global: &Global, args: WorkerArgs) -> anyhow::Result<Code> {
    cluster::work(global, args).await
}
