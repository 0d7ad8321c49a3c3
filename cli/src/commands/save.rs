//! `skein save`: keep the script of a run under a name, to run it again with `skein run NAME`.

use crate::args::Global;
use crate::exit::{Code, usage};
use crate::output::{self, printable};
use crate::saved::{self, Level, Written};
use crate::saved_args::SaveArgs;
use crate::session::existing_store;
use crate::settings::home_dir;
use crate::stored;
use anyhow::Context as _;
use skein_coordinator::load_text;
use std::path::PathBuf;

/// Saves the script byte for byte (U4).
///
/// # Errors
/// There is no such run, the name is none, or another text has it.
pub async fn save(global: &Global, args: SaveArgs) -> anyhow::Result<Code> {
    let store = existing_store(global)?;
    let stored = stored::load(&store.ports(), &args.run).await?;
    let state = stored.run.state();
    let name = match args.name {
        Some(name) => name,
        None if state.meta.name.is_empty() => {
            return Err(usage(format!("the script of {} has not been read: give it a --name", args.run)));
        }
        None => state.meta.name.clone(),
    };
    let source = load_text(store.ports().blobs.as_ref(), &args.run, &state.spec.script).await?;
    let home = home_dir();
    let folder = std::env::current_dir().context("the current directory is gone")?;
    let root: PathBuf = if args.user {
        home.clone().context("no home directory: set HOME, or leave --user out")?
    } else {
        saved::project_root(&folder, home.as_deref())
    };
    let level = Level::of(&root, home.as_deref());
    let (path, written) = saved::save(&root, &name, &source, args.force)?;
    report(global, &name, level, &path, &written)?;
    let found = saved::discover(&folder, home.as_deref());
    if let Some(meant) = found.named(&name).filter(|meant| meant.path != path) {
        output::note(&format!("warning: here `{name}` means {}, which hides it", meant.path.display()));
    }
    Ok(Code::Completed)
}

fn report(global: &Global, name: &str, level: Level, path: &std::path::Path, written: &Written) -> anyhow::Result<()> {
    if global.json {
        let replaced = *written == Written::Replaced;
        return output::json(
            &serde_json::json!({ "name": name, "where": level.name(), "path": path, "replaced": replaced }),
        );
    }
    let path = printable(&path.to_string_lossy());
    let did = match written {
        Written::New => "saved as",
        Written::Replaced => "replaced",
        Written::Unchanged => "already saved as",
    };
    output::line(&format!("{did} {path}; run it with: skein run {name}"));
    Ok(())
}
