//! Served: for whom the worker of a process works, and what people see of it.

use super::Settings;
use crate::exit::usage;
use skein_worker::host_pattern::expand_hosts;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// For whom the worker of this process works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Names that `agent(…, {host})` may pin to. Since: 0.1.
    pub hosts: Vec<String>,
    /// Names that `agent(…, {pool})` may ask for. Since: 0.1.
    pub pools: Vec<String>,
    /// Where `command` agents work whose definition says nothing; `None` is the project. Since: 0.1.
    pub root: Option<PathBuf>,
    /// What people see of the worker, as `NAME=VALUE`. Since: 0.2.
    pub labels: Vec<String>,
}

impl Default for Served {
    fn default() -> Served {
        Served { hosts: Vec::new(), pools: vec![String::from("default")], root: None, labels: Vec::new() }
    }
}

impl Served {
    /// The names that its hosts are patterns of, such as `web-[01-20]`.
    ///
    /// # Errors
    /// One of them is no pattern.
    pub fn host_names(&self) -> anyhow::Result<Vec<String>> {
        expand_hosts(&self.hosts).map_err(|error| usage(error.to_string()))
    }
}

/// Labels as they are typed, `NAME=VALUE` each.
///
/// # Errors
/// One of them has no name or no value.
pub fn read_labels(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    texts.iter().map(|text| read_label(text)).collect()
}

fn read_label(text: &str) -> anyhow::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err(usage(format!("label `{text}`: write NAME=VALUE, such as site=north"))),
    }
}

/// The pools of a worker that serves these hosts: without a word about pools it is there for its hosts alone.
#[must_use]
pub fn pools_for(settings: &Settings, hosts: &[String]) -> Vec<String> {
    let says_nothing = !settings.is_set("worker.pools");
    if says_nothing && !hosts.is_empty() { Vec::new() } else { settings.served.pools.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_settings_are_patterns() {
        let served = |host: &str| Served { hosts: vec![host.to_owned()], ..Served::default() };
        assert_eq!(served("db").host_names().expect("a name"), ["db"]);
        assert_eq!(served("web-[09-10]").host_names().expect("two names"), ["web-09", "web-10"]);
        assert!(served("web-[9-1]").host_names().is_err());
    }

    #[test]
    fn labels_have_a_name() {
        assert_eq!(read_label("site = north").expect("a label"), ("site".into(), "north".into()));
        assert_eq!(read_label("rack=a=b").expect("a label"), ("rack".into(), "a=b".into()));
        for bad in ["site", "=north", ""] {
            assert!(read_label(bad).is_err(), "{bad}");
        }
    }
}
