//! Tasks: those of pools wait in a work queue, those of hosts are handed to the worker at once.

use super::api::{ApiError, code};
use super::backend::Bus;
use super::consumers::Consumer;
use super::hosts::{self, Host};
use super::layout::{Level, POOL_TASKS_MAX};
use super::pool::{Acks, Pool};
use super::puller::Puller;
use super::stored::store;
use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use skein_common::ports::{Target, TaskDelivery, Tasks, TasksError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;

/// There may be thousands of workers, so each hears little.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Dispatches, and pulls what this process serves. A pool is pulled from, and a host served, from the first pull on.
#[derive(Debug)]
pub(super) struct NatsTasks {
    bus: Arc<Bus>,
    pools: Mutex<BTreeMap<String, Arc<PulledPool>>>,
    hosts: Mutex<BTreeMap<String, Arc<OnceCell<Host>>>>,
    acks: Acks,
    /// The server process that had the queue when it was last known not to have died.
    server: Mutex<String>,
}

#[derive(Debug)]
struct PulledPool {
    pool: Arc<Pool>,
    _puller: Puller,
}

impl NatsTasks {
    pub fn new(bus: Arc<Bus>) -> NatsTasks {
        let acks = Acks::new(bus.connection.client().clone(), bus.ack_wait());
        let server = Mutex::new(bus.connection.client().server_info().server_id);
        NatsTasks { bus, pools: Mutex::default(), hosts: Mutex::default(), acks, server }
    }

    fn pool(&self, name: &str) -> Arc<PulledPool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry(name.to_owned()).or_insert_with(|| Arc::new(PulledPool::start(&self.bus, name))).clone()
    }

    /// Whether this is another server process than the one before; it is the one before from now on.
    fn is_another(&self, server: String) -> bool {
        let mut before = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let is_another = *before != server;
        *before = server;
        is_another
    }

    /// Tasks of a pool that came and that no pull took yet.
    #[cfg(test)]
    pub fn waiting(&self, pool: &str) -> usize {
        self.pool(pool).pool.waiting()
    }

    async fn host(&self, name: &str) -> Result<Arc<OnceCell<Host>>, TasksError> {
        let host =
            self.hosts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let subject = self.bus.names.host(name);
        host.get_or_try_init(|| Host::serve(self.bus.connection.client(), subject))
            .await
            .map_err(|error| TasksError::Unavailable { source: error.into() })?;
        Ok(host)
    }
}

impl PulledPool {
    fn start(bus: &Bus, name: &str) -> PulledPool {
        let pool = Arc::new(Pool::new(bus.connection.client().clone(), bus.ack_wait()));
        let puller = Puller::start(&bus.connection, pool_consumer(bus, name), pool.clone(), HEARTBEAT);
        PulledPool { pool, _puller: puller }
    }
}

/// The consumer that all workers of a pool share.
pub(super) fn pool_consumer(bus: &Bus, pool: &str) -> Consumer {
    Consumer {
        stream: bus.names.tasks_stream(),
        name: bus.names.pool_consumer(pool),
        filter: bus.names.tasks_subject(pool),
        ack_wait: bus.ack_wait(),
        // On the disk it could be ahead of a stream that lost its newest tasks, and would pass over what takes their places.
        in_memory: bus.level == Level::Production,
    }
}

#[async_trait]
impl Tasks for NatsTasks {
    /// Without a message id: the same attempt may have to be dispatched again.
    async fn dispatch(&self, target: &Target, task: Bytes) -> Result<(), TasksError> {
        match target {
            Target::Pool(pool) => {
                let subject = self.bus.names.tasks_subject(pool);
                store(&self.bus.connection, &subject, &HeaderMap::new(), task).await.map_err(not_dispatched)
            }
            Target::Host(host) => hosts::dispatch(&self.bus.connection, &self.bus.names.host(host), host, task).await,
        }
    }

    async fn pull(&self, target: &Target, max: usize) -> Result<Vec<TaskDelivery>, TasksError> {
        match target {
            Target::Pool(pool) => Ok(self.pool(pool).pool.take(max, &self.acks).await),
            Target::Host(name) => match self.host(name).await?.get() {
                Some(host) => Ok(host.take(max).await),
                None => Err(TasksError::NobodyServes { host: name.clone() }),
            },
        }
    }

    async fn leave(&self, target: &Target) {
        // What they hold ends with them.
        match target {
            Target::Pool(pool) => drop(self.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(pool)),
            Target::Host(host) => drop(self.hosts.lock().unwrap_or_else(PoisonError::into_inner).remove(host)),
        }
    }

    /// A server that has the queue alone stores it a little after it said so: killed in between, it has lost some.
    async fn died(&self) {
        if self.bus.settings.replicas > 1 {
            return std::future::pending().await;
        }
        let mut connects = self.bus.connection.connects();
        connects.mark_unchanged();
        loop {
            let server = self.bus.connection.client().server_info().server_id;
            if self.is_another(server) {
                return;
            }
            if connects.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn done(&self, delivery: u64) -> Result<(), TasksError> {
        self.acks.done(delivery).await.map_err(|error| TasksError::Unavailable { source: error.into() })
    }
}

fn not_dispatched(error: ApiError) -> TasksError {
    match error.number() {
        Some(code::LIMIT_EXCEEDED) => TasksError::Full { bound: POOL_TASKS_MAX },
        _ => TasksError::Unavailable { source: error.into() },
    }
}
