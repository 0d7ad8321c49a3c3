//! Why a process cannot join a cluster, in words for the person who started it.

use skein_common::ports::BoxError;
use std::path::PathBuf;

/// What a person can do something about when a process does not join.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    #[error("{name}: {reason}")]
    BadSetting { name: &'static str, reason: String },
    #[error("cannot read {}: {reason}", path.display())]
    CannotRead { path: PathBuf, reason: String },
    /// Perhaps it is not there yet: trying again may help.
    #[error("no NATS server answers at {url}: {reason}; start one, or set nats.url")]
    Unreachable { url: String, reason: String },
    #[error(
        "the NATS server at {url} refuses us ({reason}); \
         set nats.creds_file, nats.nkey_file, or nats.user and nats.password_file"
    )]
    Forbidden { url: String, reason: String },
    #[error("the NATS server at {url} has no JetStream; start it with `jetstream` in its configuration")]
    NoJetStream { url: String },
    #[error("the NATS servers are version {found}; a cluster of them needs {needed} or newer")]
    TooOld { found: String, needed: &'static str },
    #[error("{name} is not on the NATS server; make it with `skein nats init`, or check nats.prefix")]
    Missing { name: String },
    #[error("{name} has {field} = {found} on the NATS server, but needs {wanted}; {advice}")]
    Differs { name: String, field: String, found: String, wanted: String, advice: &'static str },
    #[error(
        "this cluster was made with {stored} shards and nats.shards says {wanted}; \
         the number never changes: set it to {stored}"
    )]
    OtherShards { stored: u16, wanted: u16 },
    /// The server answered something else, or nothing in time: trying again may help.
    #[error("cannot {doing}: {source}")]
    Failed {
        doing: String,
        #[source]
        source: BoxError,
    },
}

impl NatsError {
    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, NatsError::Unreachable { .. } | NatsError::Failed { .. })
    }
}
