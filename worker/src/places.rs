//! Where programs work whose definition says nothing, and which hosts' tasks are carried out here.

use crate::runner::Ended;
use crate::worker::WorkerError;
use skein_common::agent::Cause;
use skein_common::wire::Task;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Stands in a root for the host that a task is pinned to.
const HOST: &str = "{host}";
/// Of a host name that an error shows, characters.
const SHOWN_CHARS: usize = 80;

/// The worker's root, and the hosts it serves.
#[derive(Debug)]
pub(crate) struct Places {
    root: Option<PathBuf>,
    hosts: BTreeSet<String>,
}

impl Places {
    /// Of this root, in which `{host}` may stand.
    pub(crate) fn new(root: Option<PathBuf>, hosts: &[String]) -> Result<Places, WorkerError> {
        if let Some(host) = hosts.iter().find(|host| leaves_a_folder(host)) {
            return Err(WorkerError::BadHost { host: shown(host) });
        }
        match &root {
            Some(root) if hosts.is_empty() && has_host(root) => Err(WorkerError::NoHostForRoot { root: root.clone() }),
            _ => Ok(Places { root, hosts: hosts.iter().cloned().collect() }),
        }
    }

    /// Refuses a task for a host that this worker does not serve: it would be carried out in the wrong place.
    pub(crate) fn check(&self, task: &Task) -> Result<(), Ended> {
        match &task.host {
            Some(host) if leaves_a_folder(host) => {
                Err(wrong_host(format!("`{}` cannot be the name of a host", shown(host))))
            }
            Some(host) if !self.hosts.contains(host) => {
                Err(wrong_host(format!("this worker does not serve host {}", shown(host))))
            }
            _ => Ok(()),
        }
    }

    /// The root for a task that was checked. One with `{host}` is none for a task that is pinned to no host: that one
    /// works in its project.
    pub(crate) fn root_of(&self, task: &Task) -> Option<Cow<'_, Path>> {
        let root = self.root.as_deref()?;
        if !has_host(root) {
            return Some(Cow::Borrowed(root));
        }
        let host = task.host.as_deref()?;
        Some(Cow::Owned(PathBuf::from(root.to_str()?.replace(HOST, host))))
    }
}

fn has_host(root: &Path) -> bool {
    root.to_str().is_some_and(|root| root.contains(HOST))
}

/// Whether a path with this name in it could be outside of the folder that the path without it is in.
fn leaves_a_folder(host: &str) -> bool {
    host.is_empty() || host == "." || host.contains("..") || host.contains(['/', '\0'])
}

fn wrong_host(message: String) -> Ended {
    Ended::failed(Cause::Failed, Some("wrong_host"), message)
}

fn shown(host: &str) -> String {
    host.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
}
