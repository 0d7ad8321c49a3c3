//! `skein config`: what is set, and by whom.

use crate::args::{ConfigArgs, ConfigCommand, Global};
use crate::exit::Code;
use crate::output::{self, printable};
use crate::settings::KEYS;
use serde_json::{Value, json};

/// Shows the settings as they count here.
///
/// # Errors
/// Nothing that is ours.
pub fn config(global: &Global, args: &ConfigArgs) -> anyhow::Result<Code> {
    let ConfigCommand::Show { origin } = args.command;
    if global.json {
        show_json(global, origin)?
    } else {
        show(global, origin)
    }
    Ok(Code::Completed)
}

/// The tables as a file has them; with `--origin` each value with who said it.
fn show_json(global: &Global, with_origin: bool) -> anyhow::Result<()> {
    let mut tables = serde_json::Map::new();
    for key in KEYS {
        let value = key.shown(&global.settings);
        let value = match with_origin {
            true => json!({ "value": value, "origin": global.settings.origin(key).to_string() }),
            false => value,
        };
        let (table, name) = key.name.split_once('.').unwrap_or(("", key.name));
        tables.entry(table).or_insert_with(|| json!({}))[name] = value;
    }
    output::json(&tables)
}

/// Lines that could stand in a file; what is not set is a comment.
fn show(global: &Global, with_origin: bool) {
    let mut last_table = "";
    for key in KEYS {
        let (table, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if table != last_table {
            let blank = if last_table.is_empty() { "" } else { "\n" };
            output::line(&format!("{blank}[{table}]"));
            last_table = table;
        }
        let line = match key.shown(&global.settings) {
            Value::Null => format!("# {name} is not set"),
            value => format!("{name} = {value}"),
        };
        let line = match with_origin {
            true => format!("{line:<44} # {}", global.settings.origin(key)),
            false => line,
        };
        output::line(&printable(&line));
    }
}
