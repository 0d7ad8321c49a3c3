//! One script, one process: loads it, then answers turn by turn until it ends.

use std::io::{self, BufReader};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use skein_common::script::{ScriptError, ScriptErrorKind, TurnEnd};

use crate::prepare::{Lines, Prepared, prepare_untrusted};
use crate::protocol::{self, ENGINE, FromHost, ToHost, VERSION};
use crate::realm::Realm;
use crate::sandbox;

/// Returns when the script has ended or the parent has hung up; the process has no other use after that.
pub(super) fn serve(socket: UnixStream, realm: Option<Realm>) -> io::Result<()> {
    let mut link = Link { input: BufReader::new(socket.try_clone()?), output: socket };
    link.say(&FromHost::Hello { version: VERSION, engine: ENGINE.to_owned() })?;
    let ToHost::Init { source, limits } = link.hear()? else { return Err(out_of_turn()) };
    // Before the walls are up: building a realm may ask the system for more than running one.
    let realm =
        realm.map_or_else(|| Realm::build(limits.instructions), Ok).and_then(|realm| realm.with_limits(&limits));
    sandbox::lock_down(&limits)?;

    let loaded = realm.map_err(|error| engine_error(&error.to_string())).and_then(|realm| {
        let prepared = prepare_untrusted(&source)?;
        Ok((prepared, realm))
    });
    let (prepared, realm) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return link.say(&FromHost::Refused { error }),
    };
    link.say(&FromHost::Loaded { loaded: prepared.loaded.clone() })?;
    // The realm is never dropped: the process ends instead.
    let mut script = std::mem::ManuallyDrop::new(Script { realm, prepared: Some(prepared) });
    loop {
        let request = link.hear()?;
        let turn = catch_unwind(AssertUnwindSafe(|| script.turn(request)));
        let end = turn.unwrap_or_else(|_| failed("it panicked"));
        let goes_on = matches!(end, TurnEnd::Waiting { .. });
        link.say(&FromHost::Turn { end })?;
        if !goes_on {
            return Ok(());
        }
    }
}

struct Script {
    realm: Realm,
    /// Until the first turn.
    prepared: Option<Prepared>,
}

impl Script {
    fn turn(&mut self, request: ToHost) -> TurnEnd {
        match (request, self.prepared.take()) {
            (ToHost::Start { start }, Some(prepared)) => self.realm.start(prepared, &start),
            (ToHost::Settle { settlement }, None) => self.realm.settle(settlement),
            _ => failed("a request came out of turn"),
        }
    }
}

struct Link {
    input: BufReader<UnixStream>,
    output: UnixStream,
}

impl Link {
    fn say(&mut self, message: &FromHost) -> io::Result<()> {
        protocol::write(&mut self.output, message)
    }

    fn hear(&mut self) -> io::Result<ToHost> {
        protocol::read(&mut self.input)
    }
}

fn out_of_turn() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a request came out of turn")
}

fn engine_error(what: &str) -> ScriptError {
    Lines::bare(ScriptErrorKind::Engine, format!("the interpreter failed: {what}"))
}

fn failed(what: &str) -> TurnEnd {
    TurnEnd::Failed { ops: Vec::new(), error: engine_error(what) }
}
