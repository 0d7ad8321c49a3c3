//! Joining: a process waits for servers that are not there yet, and ends with what to do where waiting cannot help.

use crate::cluster_args::NatsArgs;
use crate::exit::{Code, unreachable, usage};
use crate::output;
use crate::settings::Settings;
use crate::signals::Signals;
use skein_backend::nats::{NatsBackend, NatsConfig, NatsError};
use std::time::Duration;

/// Between two attempts: the first wait; each is twice as long as the one before, up to the last.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(8);

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Makes what is missing on the servers, as far as its credentials allow.
    Coordinator,
    /// Makes nothing there, and waits for who does.
    Worker,
}

impl Role {
    /// As it stands in the rights of `deploy/nats/users.conf`.
    fn name(self) -> &'static str {
        match self {
            Role::Coordinator => "coordinator",
            Role::Worker => "worker",
        }
    }
}

/// What came of it.
pub enum Joined {
    Backend(NatsBackend),
    /// A signal came first.
    Left(Code),
}

impl NatsArgs {
    /// The flags as settings.
    ///
    /// # Errors
    /// What should stand there.
    pub fn apply(&self, settings: &mut Settings) -> anyhow::Result<()> {
        if let Some(url) = &self.nats {
            settings.set_by_flag("nats.url", "--nats", url)?;
        }
        if let Some(prefix) = &self.name_prefix {
            settings.set_by_flag("nats.prefix", "--name-prefix", prefix)?;
        }
        Ok(())
    }
}

/// Joins the cluster as this node; waits until a server is there, however long that takes.
///
/// # Errors
/// Something that waiting does not change, in words that say what to do.
pub async fn join(
    settings: &Settings,
    role: Role,
    node: Option<String>,
    signals: &mut Signals,
) -> anyhow::Result<Joined> {
    let mut wait = RETRY_FIRST;
    loop {
        let config = NatsConfig {
            settings: settings.nats.clone(),
            node: node.clone(),
            bootstrap: role == Role::Coordinator,
            role: Some(role.name().to_owned()),
        };
        let connected = tokio::select! {
            connected = NatsBackend::connect(config) => connected,
            code = signals.next() => return Ok(Joined::Left(code)),
        };
        let error = match connected {
            Ok(backend) => return Ok(Joined::Backend(backend)),
            Err(error) if may_pass(&error, role) => error,
            Err(error) => return Err(usage(error.to_string())),
        };
        output::note(&format!("{error}; trying again in {} s", wait.as_secs()));
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_LAST),
            code = signals.next() => return Ok(Joined::Left(code)),
        }
    }
}

/// Joins now or not at all, as no node, for who looks or prepares.
///
/// # Errors
/// Nobody answers, or what is there is not what this process needs.
pub async fn join_at_once(settings: &Settings, bootstrap: bool, role: &str) -> Result<NatsBackend, NatsError> {
    NatsBackend::connect(NatsConfig {
        settings: settings.nats.clone(),
        node: None,
        bootstrap,
        role: Some(role.to_owned()),
    })
    .await
}

/// Says what a development server lacks, and to who writes journals what an acknowledged write survives.
pub fn tell(backend: &NatsBackend, role: Role) {
    backend.notes().iter().for_each(|note| output::note(&format!("warning: {note}")));
    if role == Role::Coordinator {
        output::note(&format!("durability: {}", backend.ports().journal.durability()));
    }
}

/// How an error of [`join_at_once`] ends a command.
#[must_use]
pub fn ending(error: &NatsError) -> anyhow::Error {
    if error.may_pass() { unreachable(error.to_string()) } else { usage(error.to_string()) }
}

/// A worker that is started before the first coordinator finds nothing there yet.
fn may_pass(error: &NatsError, role: Role) -> bool {
    error.may_pass() || (role == Role::Worker && matches!(error, NatsError::Missing { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_waits_for_what_a_coordinator_makes() {
        let missing = NatsError::Missing { name: String::from("skein_JRN") };
        assert!(may_pass(&missing, Role::Worker) && !may_pass(&missing, Role::Coordinator));
        let other = NatsError::OtherShards { stored: 16, wanted: 32 };
        assert!(!may_pass(&other, Role::Worker) && !may_pass(&other, Role::Coordinator));
        let silent = NatsError::Unreachable { url: String::new(), reason: String::new() };
        assert!(may_pass(&silent, Role::Worker) && may_pass(&silent, Role::Coordinator));
    }
}
