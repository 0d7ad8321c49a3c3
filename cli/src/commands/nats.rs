//! `skein nats init`: makes what a cluster needs on its NATS servers, for those whose coordinators may not.

use crate::args::Global;
use crate::cluster::{ending, join_at_once};
use crate::cluster_args::{NatsArgs, NatsCommand, NatsCommandArgs};
use crate::exit::Code;
use crate::output;
use serde_json::json;

/// Makes what is missing, and checks what is there.
///
/// # Errors
/// No server answers, it refuses, or what is there is not what a cluster needs.
pub async fn nats(global: &Global, args: NatsCommandArgs) -> anyhow::Result<Code> {
    let NatsCommand::Init(args) = args.command;
    init(global, &args).await
}

async fn init(global: &Global, args: &NatsArgs) -> anyhow::Result<Code> {
    let mut settings = global.settings.clone();
    args.apply(&mut settings)?;
    let backend = join_at_once(&settings, true, "init").await.map_err(|error| ending(&error))?;
    let (notes, durability) = (backend.notes(), backend.ports().journal.durability());
    let nats = &settings.nats;
    if global.json {
        let answer = json!({
            "prefix": nats.prefix,
            "shards": nats.shards,
            "replicas": nats.replicas,
            "durability": durability,
            "notes": notes,
        });
        output::json(&answer)?;
        return Ok(Code::Completed);
    }
    notes.iter().for_each(|note| output::note(&format!("warning: {note}")));
    output::line(&format!("cluster {} is ready: {} shards, {} replicas", nats.prefix, nats.shards, nats.replicas));
    output::line(&format!("durability: {durability}"));
    Ok(Code::Completed)
}
