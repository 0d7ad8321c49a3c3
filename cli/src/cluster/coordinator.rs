//! A coordinator's life: it joins, takes its shards, answers people, and gives its shards back when it is told to end.

use super::join::{Joined, Role, join, tell};
use crate::args::Global;
use crate::cluster_args::CoordinatorArgs;
use crate::door::{Door, TcpDoor};
use crate::exit::{Code, usage};
use crate::output;
use crate::session::this_program;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::sweep::Sweeps;
use crate::telemetry::{BusReadiness, Counting};
use anyhow::Context as _;
use skein_backend::nats::NatsBackend;
use skein_backend::node::Node;
use skein_coordinator::{Coordinator, CoordinatorConfig};
use skein_script::HostPool;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// Beside the node's identity.
const SOCKET: &str = "api.sock";

/// Where the API listens when nobody says where.
const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7717));

/// A coordinator and how people reach it.
struct Running {
    coordinator: Coordinator,
    sweeps: Sweeps,
    door: Door,
    tcp_door: Option<TcpDoor>,
}

/// Owns runs until a signal.
///
/// # Errors
/// It cannot join or start, or cannot be reached.
pub async fn coordinate(global: &Global, args: CoordinatorArgs) -> anyhow::Result<Code> {
    let settings = settings_of(global, &args)?;
    let mut signals = Signals::new()?;
    // Each role numbers its own nodes: started in another order, each takes what was its own.
    let node = Node::take(&settings.node_dir()?.join("coordinator")).map_err(|error| usage(error.to_string()))?;
    let joined = join(&settings, Role::Coordinator, Some(node.id().to_owned()), &mut signals).await?;
    let backend = match joined {
        Joined::Backend(backend) => backend,
        Joined::Left(code) => return Ok(code),
    };
    tell(&backend, Role::Coordinator);
    let running = Running::start(&settings, &node, &backend).await?;
    output::note(&format!("coordinator {} serves; Ctrl-C ends, its runs go on elsewhere", node.id()));
    let code = signals.next().await;
    output::note("giving runs to other coordinators; another signal does not wait for it");
    tokio::select! {
        () = running.close() => Ok(code),
        code = signals.next() => code.exit_now(),
    }
}

fn settings_of(global: &Global, args: &CoordinatorArgs) -> anyhow::Result<Settings> {
    let mut settings = global.settings.clone();
    args.nats.apply(&mut settings)?;
    if let Some(address) = &args.listen {
        settings.set_by_flag("api.listen", "--listen", &address.to_string())?;
    }
    if let Some(dir) = &args.state {
        settings.set_by_flag("node.dir", "--state", &dir.to_string_lossy())?;
    }
    Ok(settings)
}

fn open_doors(coordinator: &Coordinator, settings: &Settings, node: &Node) -> anyhow::Result<(Door, Option<TcpDoor>)> {
    let tcp_door = listen(coordinator, settings)?;
    let door = Door::open(coordinator, node.dir().join(SOCKET), true, settings.api.watchers_max)?;
    Ok((door, tcp_door))
}

/// Listens on TCP. The second coordinator of a machine to which nobody gave an address is reached through its socket.
fn listen(coordinator: &Coordinator, settings: &Settings) -> anyhow::Result<Option<TcpDoor>> {
    let named = settings.api.listen;
    match TcpDoor::open(coordinator, settings, named.unwrap_or(LISTEN)) {
        Ok(door) => {
            output::note(&door.describe());
            Ok(Some(door))
        }
        Err(error) if named.is_none() && is_taken(&error) => {
            output::note(&format!("{LISTEN} is taken, so the API listens on no address; --listen names another one"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    let kinds = error.chain().filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    kinds.into_iter().any(|kind| kind == io::ErrorKind::AddrInUse)
}

impl Running {
    async fn start(settings: &Settings, node: &Node, backend: &NatsBackend) -> anyhow::Result<Running> {
        let hosts = HostPool::start(this_program()?).await.context("cannot start the script host")?;
        let coordinator = Coordinator::start(CoordinatorConfig {
            ports: backend.ports(),
            hosts,
            host_limits: settings.host_limits.clone(),
            settings: settings.coordinator.clone(),
            owner: node.id().to_owned(),
            node: node.id().to_owned(),
            lease: Duration::from_millis(settings.nats.lease_ms),
            telemetry: Counting::begin()?.of_coordinator(settings, Arc::new(BusReadiness(backend.clone())))?,
        });
        let (door, tcp_door) = match open_doors(&coordinator, settings, node) {
            Ok(doors) => doors,
            Err(error) => {
                // It may have taken shards already.
                coordinator.shutdown().await;
                return Err(error);
            }
        };
        let sweeps = Sweeps::start_of(coordinator.clone(), settings.retention.days);
        Ok(Running { coordinator, sweeps, door, tcp_door })
    }

    /// Nobody comes in any more, then the runs are let go.
    async fn close(self) {
        if let Some(door) = self.tcp_door {
            door.close().await;
        }
        self.door.close().await;
        self.sweeps.stop().await;
        self.coordinator.shutdown().await;
    }
}
