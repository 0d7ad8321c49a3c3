//! The NATS server of a test, driven from threads that have no runtime of their own.

use skein_backend::nats::server::TestServer;
use skein_backend::nats::{NatsBackend, NatsConfig};
use skein_common::RunId;
use skein_common::config::NatsSettings;
use skein_common::ports::Ports;
use skein_engine::{Record, decode_record};
use std::cell::RefCell;
use tokio::runtime::{Builder, Runtime};

/// A real server with a store of its own; dead when this is dropped.
pub struct Nats {
    runtime: Runtime,
    server: RefCell<TestServer>,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nats")
    }
}

impl Nats {
    pub(super) fn start() -> Nats {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = runtime.block_on(TestServer::start()).expect("a NATS server");
        Nats { runtime, server: RefCell::new(server) }
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.server.borrow().url()
    }

    /// Kills it without a chance to write anything, and waits until it is gone.
    pub fn kill(&self) {
        self.server.borrow_mut().kill();
    }

    /// Starts it on the same port and store, and waits until it answers.
    pub fn restart(&self) {
        self.runtime.block_on(self.server.borrow_mut().restart()).expect("the NATS server starts again");
    }

    /// Works on what the cluster of this prefix stores, past all its processes.
    pub(super) fn past_all<T>(&self, prefix: &str, bootstrap: bool, work: impl AsyncFnOnce(Ports) -> T) -> T {
        let settings = NatsSettings { url: self.url(), prefix: prefix.to_owned(), ..NatsSettings::default() };
        let config = NatsConfig { settings, node: None, bootstrap, role: None };
        self.runtime.block_on(async {
            let backend = NatsBackend::connect(config).await.expect("joins");
            work(backend.ports()).await
        })
    }

    /// Everything that a run's journal holds.
    pub(super) fn journal(&self, prefix: &str, run: &str) -> Vec<Record> {
        let run: RunId = run.parse().expect("a run's id");
        let read = async |ports: Ports| ports.journal.read(&run, 0).await.expect("the journal");
        let records = self.past_all(prefix, false, read);
        records.iter().map(|record| decode_record(record).expect("a record")).collect()
    }
}
