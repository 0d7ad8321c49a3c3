//! Where the files of settings and state are.

use super::layers::Level;
use std::path::PathBuf;

const SYSTEM_FILE: &str = "/etc/skein/skein.toml";
/// In the current directory.
const PROJECT_FILE: &str = ".skein.toml";

/// The files that are read, the weakest first; they need not be there.
#[must_use]
pub fn config_files() -> Vec<(Level, PathBuf)> {
    let system = non_empty("SKEIN_SYSTEM_CONFIG").unwrap_or_else(|| PathBuf::from(SYSTEM_FILE));
    let user = non_empty("XDG_CONFIG_HOME").or_else(|| Some(home_dir()?.join(".config")));
    let user = user.map(|dir| (Level::User, dir.join("skein/config.toml")));
    let project = std::path::absolute(PROJECT_FILE).unwrap_or_else(|_| PathBuf::from(PROJECT_FILE));
    [Some((Level::System, system)), user, Some((Level::Project, project))].into_iter().flatten().collect()
}

/// The user's state folder: the default store, and which projects are trusted.
#[must_use]
pub fn state_dir() -> Option<PathBuf> {
    let state = non_empty("XDG_STATE_HOME").or_else(|| Some(home_dir()?.join(".local/state")))?;
    Some(state.join("skein"))
}

/// In it: what belongs to this machine, whichever store it works on.
#[must_use]
pub fn default_node_dir() -> Option<PathBuf> {
    Some(state_dir()?.join("node"))
}

/// The user's home, if the environment names one.
#[must_use]
pub fn home_dir() -> Option<PathBuf> {
    non_empty("HOME")
}

fn non_empty(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
