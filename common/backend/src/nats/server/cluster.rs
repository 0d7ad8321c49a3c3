//! Servers that replicate for each other.

use super::{TestServer, Version};
use skein_common::ports::BoxError;
use std::net::TcpListener;

/// A port that was free may be taken before the server has it.
const STARTS_MAX: u32 = 5;

/// Three servers of the newest version. It takes some seconds until they have a leader.
#[derive(Debug)]
pub struct TestCluster {
    pub servers: Vec<TestServer>,
}

impl TestCluster {
    /// Starts three servers with nothing in their stores.
    ///
    /// # Errors
    /// When there is no such program, or they do not start.
    pub async fn start() -> Result<TestCluster, BoxError> {
        let mut tries = 1;
        loop {
            match TestCluster::try_start().await {
                Err(_taken) if tries < STARTS_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }

    async fn try_start() -> Result<TestCluster, BoxError> {
        let ports = free_ports(3)?;
        let routes: Vec<String> = ports.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
        let mut servers = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let lines = format!(
                "server_name: n{number}\ncluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{}] }}",
                routes.join(", ")
            );
            servers.push(TestServer::start_with(Version::New, &lines).await?);
        }
        Ok(TestCluster { servers })
    }

    /// Where clients connect: to any of them.
    #[must_use]
    pub fn url(&self) -> String {
        self.servers.iter().map(TestServer::url).collect::<Vec<_>>().join(",")
    }
}

fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
