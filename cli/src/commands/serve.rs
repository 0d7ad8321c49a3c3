//! `skein serve`: executes the runs of a store until it is told to end.

use crate::args::{Global, ServeArgs};
use crate::exit::Code;
use crate::session::Session;

/// Serves.
///
/// # Errors
/// Another `skein serve` has the store, it cannot be opened, or the address cannot be listened on.
pub async fn serve(global: &Global, args: ServeArgs) -> anyhow::Result<Code> {
    let session = Session::start(&global.settings, &global.settings.store_dir()?).await?;
    session.serve(&global.settings, args.listen.or(global.settings.api.listen)).await
}
