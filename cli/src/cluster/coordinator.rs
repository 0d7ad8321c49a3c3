//! A coordinator's life: it joins, takes its shards, answers people, and gives its shards back when it is told to end.

use super::join::{Joined, Role, join, tell};
use crate::args::Global;
use crate::cluster_args::CoordinatorArgs;
use crate::door::Door;
use crate::exit::{Code, usage};
use crate::output;
use crate::session::this_program;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::sweep::Sweeps;
use anyhow::Context as _;
use skein_backend::nats::NatsBackend;
use skein_backend::node::Node;
use skein_coordinator::{Coordinator, CoordinatorConfig, Retention};
use skein_script::HostPool;

/// Beside the node's identity.
const SOCKET: &str = "api.sock";

/// A coordinator and how people reach it.
struct Running {
    coordinator: Coordinator,
    sweeps: Sweeps,
    doors: Vec<Door>,
}

/// Owns runs until a signal.
///
/// # Errors
/// It cannot join or start, or cannot be reached.
pub async fn coordinate(global: &Global, args: CoordinatorArgs) -> anyhow::Result<Code> {
    let settings = settings_of(global, &args)?;
    let mut signals = Signals::new()?;
    let node = Node::take(&settings.node_dir()?).map_err(|error| usage(error.to_string()))?;
    let joined = join(&settings, Role::Coordinator, Some(node.id().to_owned()), &mut signals).await?;
    let backend = match joined {
        Joined::Backend(backend) => backend,
        Joined::Left(code) => return Ok(code),
    };
    tell(&backend);
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
        settings.set_by_flag("api.listen", "--listen", address)?;
    }
    if let Some(dir) = &args.state {
        settings.set_by_flag("node.dir", "--state", &dir.to_string_lossy())?;
    }
    Ok(settings)
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
        });
        let door = Door::open(&coordinator, node.dir().join(SOCKET), true)?;
        // Runs have nothing beside the ports here; what their agents left is on the workers.
        let retention = Retention::new(coordinator.ports().clone(), node.id().to_owned(), Box::new(|_| Ok(())));
        let retention = retention.of_node(node.id());
        let sweeps = Sweeps::start(retention, settings.retention.days);
        Ok(Running { coordinator, sweeps, doors: vec![door] })
    }

    /// Nobody comes in any more, then the runs are let go.
    async fn close(self) {
        for door in self.doors {
            door.close().await;
        }
        self.coordinator.shutdown().await;
        self.sweeps.stop().await;
    }
}
