//! The suite's checks of these ports, on both servers and under faults. The other ports are those of one machine.

use super::cluster::{Cluster, shared};
use crate::conformance::World;
use crate::embedded::Store;
use crate::faulty::{Faults, Plan, faulty};
use crate::nats::server::Version;
use async_trait::async_trait;
use skein_common::ports::{BoxError, Ports};
use tempfile::TempDir;

struct MessagesWorld {
    cluster: Cluster,
    others: TempDir,
    faults: Faults,
}

impl MessagesWorld {
    async fn on(version: Version, faults: Faults) -> Result<MessagesWorld, BoxError> {
        let cluster = Cluster::on(shared(version).await?).await?;
        Ok(MessagesWorld { cluster, others: tempfile::tempdir()?, faults })
    }

    async fn new() -> Result<MessagesWorld, BoxError> {
        MessagesWorld::on(Version::New, Faults::default()).await
    }

    async fn old() -> Result<MessagesWorld, BoxError> {
        MessagesWorld::on(Version::Old, Faults::default()).await
    }

    async fn faulty() -> Result<MessagesWorld, BoxError> {
        MessagesWorld::on(Version::New, Faults::unnoticed()).await
    }
}

#[async_trait]
impl World for MessagesWorld {
    async fn process(&self) -> Result<Ports, BoxError> {
        let ours = self.cluster.owner().await?.ports;
        let ports = Ports {
            tasks: ours.tasks,
            results: ours.results,
            control: ours.control,
            steering: ours.steering,
            feed: ours.feed,
            shards: Some(ours.shards),
            ..Store::open(self.others.path())?.ports()
        };
        let seed = std::process::id().into();
        eprintln!("seed {seed}");
        Ok(faulty(ports, Plan { seed, faults: self.faults.clone(), crash: None }))
    }
}

mod on_a_new_server {
    use super::*;
    crate::conformance_suite!(MessagesWorld::new);
}

mod on_an_old_server {
    use super::*;
    crate::conformance_suite!(MessagesWorld::old);
}

mod under_faults {
    use super::*;
    crate::conformance_suite!(MessagesWorld::faulty);
}
