//! Another process as a command sees it that is told to ask there (`--url`): its address, and the token for it.

mod token;
mod url;

pub use token::{places, token_file, token_for};
pub use url::{ApiUrl, BadUrl};

use crate::args::Command;
use crate::exit::usage;
use crate::settings::Settings;

/// Refuses a URL where it would mean nothing.
///
/// # Errors
/// The command works on this machine only.
pub fn check_url(command: &Command, settings: &Settings) -> anyhow::Result<()> {
    let here = "works on this machine only";
    let why = match command {
        // A URL that is set for all commands is not meant for these.
        Command::Serve(_) => settings.url_of_flag().map(|_| format!("`serve` {here}; --listen says where others ask")),
        Command::Coordinator(_) => {
            settings.url_of_flag().map(|_| format!("`coordinator` {here}; --listen says where others ask"))
        }
        Command::Worker(_) | Command::Nats(_) => {
            settings.url_of_flag().map(|_| format!("this command {here}: --nats says where its cluster is"))
        }
        Command::Demo(_) | Command::Check(_) | Command::Commands(_) | Command::Trust(_) => {
            settings.url_of_flag().map(|_| format!("this command {here}: leave --url out"))
        }
        // Runs of this machine's store are not those that the person means who has set a URL.
        Command::Save(_) | Command::Remove(_) => settings.api_url().map(|url| {
            format!(
                "this command {here}, and runs are asked for at {url}: name a store of this machine with --store DIR"
            )
        }),
        _ => None,
    };
    why.map_or(Ok(()), |why| Err(usage(why)))
}
