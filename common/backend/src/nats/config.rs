//! What a process says when it joins a cluster.

use skein_common::config::NatsSettings;

/// How a process joins the cluster.
#[derive(Debug, Clone, Default)]
pub struct NatsConfig {
    pub settings: NatsSettings,
    /// This process holds the lock of this node, so earlier processes of the node are dead: it takes their leases at
    /// once.
    pub node: Option<String>,
    /// Makes what is missing on the server. Otherwise what is missing is an error.
    pub bootstrap: bool,
    /// What the process is there for, a word that stands in the subjects to which its answers come: by it a server can
    /// keep workers from hearing what coordinators are told. `None` is the client's `_INBOX`.
    pub role: Option<String>,
}

impl NatsConfig {
    /// Joins as no node, and makes what is missing.
    #[must_use]
    pub fn new(settings: NatsSettings) -> NatsConfig {
        NatsConfig { settings, node: None, bootstrap: true, role: None }
    }
}
