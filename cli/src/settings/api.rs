//! Settings of the HTTP API: where this process listens, and where its commands ask.

use crate::remote::ApiUrl;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How the API is listened on and asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Where commands ask instead of working on a store of this machine. Since: 0.1.
    pub url: Option<ApiUrl>,
    /// The token to ask with. Since: 0.1.
    pub token: Option<Secret>,
    /// A file of tokens: who listens takes all of them, who asks uses the first. Since: 0.1.
    pub token_file: Option<PathBuf>,
    /// Where `serve` listens on TCP; `None` is nowhere. Since: 0.1.
    pub listen: Option<SocketAddr>,
    /// Names under which the API may be asked, beside those of loopback. Since: 0.1.
    pub hosts: Vec<String>,
    /// Metrics are shown to whoever reaches the listener, without a token. Since: 0.2.
    pub metrics_open: bool,
    /// How many may watch events at a process at the same time. Since: 0.2.
    pub watchers_max: usize,
}

/// Each watcher is an open file, of which systems commonly allow a process 1024.
const WATCHERS: usize = 256;

impl Default for ApiSettings {
    fn default() -> ApiSettings {
        ApiSettings {
            url: None,
            token: None,
            token_file: None,
            listen: None,
            hosts: Vec::new(),
            metrics_open: false,
            watchers_max: WATCHERS,
        }
    }
}

/// A text that nobody gets to see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// For whoever it is meant for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
