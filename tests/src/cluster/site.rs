//! Site: what the processes of one cluster share.

use super::nats::Nats;
use crate::Skein;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::process::Command;
use std::rc::Rc;

/// The folders, the server and the settings of one cluster.
#[derive(Debug)]
pub(super) struct Site {
    pub skein: Skein,
    pub nats: Rc<Nats>,
    pub prefix: String,
    settings: RefCell<Vec<(String, String)>>,
}

impl Site {
    pub fn new(nats: Rc<Nats>, prefix: &str) -> Site {
        let settings = RefCell::default();
        let site = Site { skein: Skein::new(), nats, prefix: prefix.to_owned(), settings };
        // A lost process is noticed soon, so that a test takes seconds, and none is lost because its machine is busy.
        site.set("SKEIN_ATTEMPT_DEADLINE", "4s");
        site.set("SKEIN_CLAIM_WAIT", "2s");
        site.set("SKEIN_NATS_LEASE", "2s");
        site.set("SKEIN_NATS_ACK_WAIT", "5s");
        site
    }

    pub fn set(&self, variable: &str, value: &str) {
        self.settings.borrow_mut().push((variable.to_owned(), value.to_owned()));
    }

    /// The program with these arguments, in the environment of this cluster.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.skein.command(args);
        command.env("SKEIN_NATS_URL", self.nats.url()).env("SKEIN_NATS_PREFIX", &self.prefix);
        command.envs(self.settings.borrow().iter().map(|(variable, value)| (variable, value)));
        command
    }
}
