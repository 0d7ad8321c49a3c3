//! Scan: the log scan of `examples/nginx-502` on 100 hosts, beside the same program on the same folders started
//! directly, as many at a time.

use super::site::{Flushes, Site};
use crate::bench::figures::Sample;
use crate::bench::measure::Meter;
use crate::bench::workloads::w1_spec;
use crate::fleet::{Fleet, generate};
use crate::{project_dir, system};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use skein_common::Payload;
use skein_common::run::RunSpec;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const AT_ONCE: usize = 16;
const SEED: u32 = 1;

/// What one host is asked, and its name.
struct Question {
    host: String,
    prompt: String,
}

/// 100 workers of one host each, then one worker that serves all of them.
pub async fn scan(dir: &Path, flushes: Flushes) -> anyhow::Result<Sample> {
    let fleet = generate(dir, SEED, &[]);
    let questions = questions(&fleet)?;
    let mut figures = Sample::new();
    for (prefix, one_worker) in [("", false), ("gateway_", true)] {
        let mut site = Site::empty(&dir.join(format!("{prefix}site")), flushes).await?;
        site.add_coordinator()?;
        serve(&mut site, &questions, one_worker)?;
        site.ready().await?;
        // The first scan brings the files into memory and starts what each worker starts once.
        over_nats(&mut site, &fleet, &questions).await?;
        let (raw_ms, raw) = directly(&questions).await?;
        let meter = Meter::start_below();
        let (nats_ms, answers) = over_nats(&mut site, &fleet, &questions).await?;
        let used = meter.stop();
        anyhow::ensure!(raw == answers, "the answers differ");
        let (raw_again_ms, _) = directly(&questions).await?;
        let raw_ms = f64::midpoint(raw_ms, raw_again_ms);
        figures.insert(format!("{prefix}raw_ms"), raw_ms);
        figures.insert(format!("{prefix}elapsed_ms"), nats_ms);
        figures.insert(format!("{prefix}ratio"), nats_ms / raw_ms);
        figures.insert(format!("{prefix}cpu_ms"), used.cpu_ms);
        figures.insert(format!("{prefix}memory_mb"), site.memory_mb());
    }
    Ok(figures)
}

fn questions(fleet: &Fleet) -> anyhow::Result<Vec<Question>> {
    let inventory: Value = serde_json::from_str(&std::fs::read_to_string(fleet.dir.join("inventory.json"))?)?;
    let minute = |name: &str| inventory[name].as_str().and_then(|time| time.get(..16)).map(str::to_owned);
    let from = minute("window_start").context("the inventory has no window")?;
    let to = minute("now").context("the inventory has no time")?;
    let hosts = inventory["hosts"].as_array().context("the inventory has no hosts")?;
    let is_nginx =
        |host: &&Value| host["groups"].as_array().is_some_and(|groups| groups.iter().any(|group| group == "nginx"));
    let names = hosts.iter().filter(is_nginx).filter_map(|host| host["name"].as_str());
    let question = |host: &str| {
        let prompt = format!("{host} {from} {to} {}", fleet.dir.display());
        Question { host: host.to_owned(), prompt }
    };
    Ok(names.map(question).collect())
}

fn serve(site: &mut Site, questions: &[Question], one_worker: bool) -> anyhow::Result<()> {
    if one_worker {
        let hosts: Vec<&str> = questions.iter().flat_map(|question| ["--host", question.host.as_str()]).collect();
        return site.add_worker(&hosts);
    }
    questions.iter().try_for_each(|question| site.add_worker(&["--host", &question.host]))
}

/// From the submission until the end was seen.
async fn over_nats(site: &mut Site, fleet: &Fleet, questions: &[Question]) -> anyhow::Result<(f64, Vec<Value>)> {
    let asked: Vec<[&str; 2]> = questions.iter().map(|question| [&*question.host, &*question.prompt]).collect();
    let body = "return await parallel(args.map(([host, prompt]) => () => \
                agent(prompt, { agentType: 'scan', host, label: host })))";
    let definitions = project_dir().join("examples/nginx-502");
    let spec = RunSpec {
        runner: None,
        args: Some(Payload::json(serde_json::to_string(&asked)?)),
        definitions: skein_worker::definition::discover(&definitions, &fleet.dir, None).definitions,
        project_dir: fleet.dir.display().to_string(),
        limits: w1_spec().limits,
        ..system::spec(body)
    };
    let begun = Instant::now();
    let run = site.submit(0, &spec).await?;
    let ended = site.ended(0, &run).await?;
    let texts = site.texts(&run).await?;
    let answers = texts.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?;
    Ok(((ended - begun).as_secs_f64() * 1e3, answers))
}

/// The program itself, started by this process.
async fn directly(questions: &[Question]) -> anyhow::Result<(f64, Vec<Value>)> {
    let program = project_dir().join("examples/nginx-502/bin/scan.sh");
    let begun = Instant::now();
    let scans = questions.iter().map(|question| {
        let mut command = Command::new("sh");
        command.arg(&program).arg(&question.prompt).stdin(Stdio::null());
        async move { tokio::task::spawn_blocking(move || command.output()).await? .context("the program does not start") }
    });
    let outputs: Vec<_> = futures::stream::iter(scans).buffered(AT_ONCE).try_collect().await?;
    let elapsed_ms = begun.elapsed().as_secs_f64() * 1e3;
    let answers = outputs.iter().map(|output| serde_json::from_slice(&output.stdout)).collect::<Result<_, _>>()?;
    Ok((elapsed_ms, answers))
}
