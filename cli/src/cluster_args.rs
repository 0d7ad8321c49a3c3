//! What a person may type for the processes of a cluster. Types only.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the NATS server is. The settings `nats.*` have the rest: credentials, certificates, shards, replicas.
#[derive(Debug, Args)]
pub struct NatsArgs {
    /// The servers, commas between them, as SKEIN_NATS_URL and nats.url of the settings.
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
    /// What the names of this cluster begin with on the servers [default: nats.prefix of the settings, skein].
    #[arg(long, value_name = "PREFIX")]
    pub name_prefix: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein coordinator --nats nats://127.0.0.1:4222
  skein coordinator --nats nats://10.0.0.10:4222 --listen 10.0.0.11:7717 --state /var/lib/skein")]
pub struct CoordinatorArgs {
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Where the API listens on TCP [default: api.listen of the settings, 127.0.0.1:7717].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The folder of this machine's identity, as SKEIN_NODE_DIR and node.dir of the settings.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skein worker --nats nats://127.0.0.1:4222
  skein worker --nats nats://10.0.0.10:4222 --host nginx-01 --slots 8
  skein worker --nats nats://10.0.0.10:4222 --metrics 127.0.0.1:7718
  skein worker --host 'nginx-[001-100]' --root '/srv/fleet/{host}' --label site=north")]
pub struct WorkerArgs {
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Take agents of this pool; may be given several times [default without --host: default].
    #[arg(long, value_name = "POOL")]
    pub pool: Vec<String>,
    /// Take agents pinned to these host names, such as nginx-01 or 'nginx-[001-100]'; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub host: Vec<String>,
    /// Attempts at the same time [default: worker.slots of the settings, 64].
    #[arg(long, value_name = "N")]
    pub slots: Option<String>,
    /// Where programs work whose definition says nothing; {host} becomes the host name.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Serve metrics, /healthz and /readyz there [default: worker.metrics_listen of the settings, nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
    /// What people see of this worker; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// The folder of this machine's identity and of results not delivered yet, as SKEIN_NODE_DIR and node.dir.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = "Example:\n  skein nats init --nats nats://10.0.0.10:4222")]
pub struct NatsCommandArgs {
    #[command(subcommand)]
    pub command: NatsCommand,
}

#[derive(Debug, Subcommand)]
pub enum NatsCommand {
    /// Make what a cluster needs on the NATS server, or check that it is there as it should be
    ///
    /// `skein coordinator` does it by itself when its credentials allow.
    #[command(after_help = "Example:
  SKEIN_NATS_REPLICAS=3 skein nats init --nats nats://10.0.0.11:4222,nats://10.0.0.12:4222,nats://10.0.0.13:4222")]
    Init(NatsArgs),
}
