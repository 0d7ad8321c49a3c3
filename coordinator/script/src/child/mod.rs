//! What the binary's `main` runs for the hidden subcommands, before any runtime or thread exists.
//!
//! `script-zygote` builds a realm once and forks a host for every request; `script-host` is one host by itself.

mod serve;
#[cfg(target_os = "linux")]
pub(crate) mod zygote;
#[cfg(not(target_os = "linux"))]
#[path = "no_zygote.rs"]
pub(crate) mod zygote;

use std::os::unix::net::UnixStream;

use crate::sandbox::{self, Inherited};

/// Serves `script-zygote` on descriptor 3 until the parent closes it.
pub fn zygote_main() -> ! {
    let _ = sandbox::prepare().and_then(|()| zygote::run(UnixStream::from(sandbox::inherited(Inherited::Socket)?)));
    sandbox::exit_now(1)
}

/// Serves one script on descriptor 3, with descriptor 4 for the cause of a sudden end.
pub fn host_main() -> ! {
    if let Err(error) = run_host() {
        tracing::debug!(%error, "script host ended");
    }
    sandbox::exit_now(1)
}

fn run_host() -> std::io::Result<()> {
    sandbox::prepare()?;
    let socket = UnixStream::from(sandbox::inherited(Inherited::Socket)?);
    sandbox::report_to(sandbox::inherited(Inherited::Emergency)?);
    serve::serve(socket, None)
}
