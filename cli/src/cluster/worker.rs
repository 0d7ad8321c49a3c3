//! A worker's life: it joins, takes what its pools and hosts are given, and ends when nothing runs here any more.

use super::join::{Joined, Role, join, tell};
use crate::args::Global;
use crate::cluster_args::WorkerArgs;
use crate::exit::{Code, usage};
use crate::output;
use crate::session::this_program;
use crate::settings::{Settings, pools_for, read_labels};
use crate::signals::Signals;
use crate::telemetry::{BusReadiness, Counting, WatchDoor, WorkerReadiness};
use anyhow::Context as _;
use skein_backend::nats::NatsBackend;
use skein_backend::node::Node;
use skein_common::WorkerId;
use skein_worker::host_pattern::expand_hosts;
use skein_worker::{WorkerConfig, WorkerHandle};
use std::collections::BTreeMap;
use std::sync::Arc;

/// For whom a worker works.
struct Plan {
    settings: Settings,
    pools: Vec<String>,
    hosts: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// Works until a signal or an order to drain.
///
/// # Errors
/// It cannot join or start.
pub async fn work(global: &Global, args: WorkerArgs) -> anyhow::Result<Code> {
    let plan = Plan::new(global, args)?;
    let mut signals = Signals::new()?;
    // Each role numbers its own nodes: started in another order, each takes what was its own.
    let node = Node::take(&plan.settings.node_dir()?.join("worker")).map_err(|error| usage(error.to_string()))?;
    let joined = join(&plan.settings, Role::Worker, Some(node.id().to_owned()), &mut signals).await?;
    let backend = match joined {
        Joined::Backend(backend) => backend,
        Joined::Left(code) => return Ok(code),
    };
    tell(&backend, Role::Worker);
    let counting = Counting::begin()?;
    let worker = plan.start(&node, &backend, counting.of_worker()?).await?;
    let door = match plan.watch(&counting, &worker, backend) {
        Ok(door) => door,
        Err(error) => {
            // It may have taken tasks already.
            worker.stop().await;
            return Err(error);
        }
    };
    output::note(&format!("worker {} takes {}; a signal drains it", node.id(), plan.summary()));
    let ended = tokio::select! {
        code = signals.next() => {
            drain(worker, &mut signals).await;
            Ok(code)
        }
        () = worker.drained() => {
            output::note("drained, as ordered");
            worker.stop().await;
            Ok(Code::Completed)
        }
        () = worker.superseded() => {
            worker.stop().await;
            Err(superseded(&node))
        }
    };
    if let Some(door) = door {
        door.close().await;
    }
    ended
}

fn superseded(node: &Node) -> anyhow::Error {
    anyhow::anyhow!(
        "another worker speaks for node {}, so this one ends: each machine needs a state directory of its own, and {} \
         may be a copy",
        node.id(),
        node.dir().display()
    )
}

/// Lets finish what runs; a second signal ends it, a third one does not even wait for that.
async fn drain(worker: WorkerHandle, signals: &mut Signals) {
    let running = worker.observe().await.attempts;
    output::note(&format!("draining: {running} agents finish, nothing new starts; another signal ends them"));
    tokio::select! {
        () = worker.clone().drain() => return,
        _ = signals.next() => {}
    }
    let running = worker.observe().await.attempts;
    output::note(&format!("ending {running} agents; other workers begin them again"));
    tokio::select! {
        () = worker.stop() => {}
        code = signals.next() => code.exit_now(),
    }
}

impl Plan {
    fn new(global: &Global, args: WorkerArgs) -> anyhow::Result<Plan> {
        let mut settings = global.settings.clone();
        args.nats.apply(&mut settings)?;
        if let Some(slots) = &args.slots {
            settings.set_by_flag("worker.slots", "--slots", slots)?;
        }
        if let Some(dir) = &args.state {
            settings.set_by_flag("node.dir", "--state", &dir.to_string_lossy())?;
        }
        if let Some(address) = &args.metrics {
            settings.set_by_flag("worker.metrics_listen", "--metrics", &address.to_string())?;
        }
        if let Some(root) = &args.root {
            settings.set_by_flag("worker.root", "--root", &root.to_string_lossy())?;
        }
        let patterns = if args.host.is_empty() { &settings.served.hosts } else { &args.host };
        let hosts = expand_hosts(patterns).map_err(|error| usage(error.to_string()))?;
        let pools = if args.pool.is_empty() { pools_for(&settings, &hosts) } else { args.pool };
        let labels = if args.label.is_empty() { &settings.served.labels } else { &args.label };
        let labels = read_labels(labels)?;
        Ok(Plan { settings, pools, hosts, labels })
    }

    async fn start(
        &self,
        node: &Node,
        backend: &NatsBackend,
        metrics: skein_worker::Metrics,
    ) -> anyhow::Result<WorkerHandle> {
        let config = WorkerConfig {
            ports: backend.ports(),
            id: WorkerId(format!("{}.{:08x}", node.id(), rand::random::<u32>())),
            node: node.id().to_owned(),
            labels: self.labels.clone(),
            state_dir: Some(node.dir().to_path_buf()),
            settings: self.settings.worker.clone(),
            executable: this_program()?,
            attempts_dir: node.dir().join("attempts"),
            root: self.settings.served.root.clone(),
            pools: self.pools.clone(),
            hosts: self.hosts.clone(),
            metrics,
        };
        std::fs::create_dir_all(&config.attempts_dir).context("the state directory cannot be used")?;
        skein_worker::start(config).await.map_err(|error| usage(error.to_string()))
    }

    /// Shows how this worker does, when somebody wants to see it.
    fn watch(
        &self,
        counting: &Counting,
        worker: &WorkerHandle,
        backend: NatsBackend,
    ) -> anyhow::Result<Option<WatchDoor>> {
        let Some(address) = self.settings.metrics.worker_listen else { return Ok(None) };
        let readiness = Arc::new(WorkerReadiness { bus: BusReadiness(backend), worker: worker.clone() });
        let door = WatchDoor::open(counting.watched(readiness), &self.settings, address)?;
        output::note(&door.description);
        Ok(Some(door))
    }

    /// `pool default, host nginx-01 and 99 more, 64 at a time`.
    fn summary(&self) -> String {
        let pools = self.pools.iter().map(|pool| format!("pool {pool}"));
        let hosts = match self.hosts.as_slice() {
            [] => None,
            [host] => Some(format!("host {host}")),
            [first, rest @ ..] => Some(format!("host {first} and {} more", rest.len())),
        };
        let mut parts: Vec<String> = pools.chain(hosts).collect();
        parts.push(format!("{} agents at a time", self.settings.worker.slots));
        parts.join(", ")
    }
}
