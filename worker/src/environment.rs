//! The worker's own environment, of which programs get what is passed on.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// What no program gets, whatever its definition asks for: secrets with which it could steer runs (A5).
const OURS_ALONE: [&str; 1] = ["SKEIN_TOKEN"];

/// Variables as they were when the worker started.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads them, once; what is not UTF-8 is left out.
    pub(crate) fn of_this_process() -> Environment {
        Environment::of(std::env::vars_os())
    }

    fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Environment {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let is_for_programs = |(name, _): &(String, String)| !OURS_ALONE.contains(&name.as_str());
        Environment(variables.filter_map(text).filter(is_for_programs).collect())
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl std::fmt::Debug for Environment {
    /// Without the values, some of which are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_no_definition_can_ask_for_the_token_of_the_api() {
        let variables = [("SKEIN_TOKEN", "secret"), ("SKEIN_TOKEN_FILE", "/t"), ("PATH", "/bin")];
        let environment = Environment::of(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        assert_eq!(environment.get("SKEIN_TOKEN"), None);
        assert_eq!((environment.get("SKEIN_TOKEN_FILE"), environment.get("PATH")), (Some("/t"), Some("/bin")));
    }
}
