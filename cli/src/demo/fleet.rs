//! What the fleet consists of, what is planted in it, and the order in which it is written.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::clock::{Moment, NOW, WINDOW_START};
use super::random::Random;
use super::{nginx, service, support};

/// How large the sample fleet is. The seed alone decides what is planted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    pub seed: u64,
    /// nginx hosts, 1 to 999.
    pub hosts: usize,
    /// Spring Boot services, 2 to 50: at least one must be innocent.
    pub apps: usize,
    /// Requests in the access log of each nginx host.
    pub lines: usize,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self { seed: 1, hosts: 100, apps: 50, lines: 2000 }
    }
}

/// What a reader of the fleet should find. Not written into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planted {
    /// Name of the cause as the workflow reports it.
    pub kind: &'static str,
    pub service: String,
    pub addr: String,
    /// Start of the first long pause, like `2026-11-20T02:47:23`.
    pub at: String,
    /// 502s of the window over all hosts, ordinary ones included.
    pub total_502: u64,
}

/// A service behind nginx.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) pool: &'static str,
    pub(super) ip: String,
    pub(super) addr: String,
}

/// A time in which a service stands still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) start: Moment,
    pub(super) length_ms: i64,
}

/// Everything that is decided before the first file is written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) lines: usize,
    pub(super) services: Vec<Service>,
    pub(super) nginx: Vec<String>,
    pub(super) culprit: usize,
    pub(super) pauses: Vec<Pause>,
    pub(super) innocent: Innocent,
}

/// Events that look like a cause and are none.
#[derive(Debug)]
pub(super) struct Innocent {
    /// A service that restarts in a rolling deploy, and the one nginx host that notices.
    pub(super) deploy: (usize, Moment),
    pub(super) deploy_host: usize,
    /// A service whose own code asks for a collection of less than a second.
    pub(super) system_gc: (usize, Moment),
    /// A service that misses a single database connection.
    pub(super) pool_blip: (usize, Moment),
    /// An nginx host with many 404s of a vulnerability scanner.
    pub(super) scanner_host: usize,
    /// A name lookup that fails once on a few hosts.
    pub(super) dns_blip: Moment,
}

/// nginx gives up on a service after this time; a shorter pause harms nobody.
pub(super) const READ_TIMEOUT_S: i64 = 5;
pub(super) const POOLS: [(&str, usize); 6] =
    [("api", 8), ("order", 8), ("pay", 8), ("user", 8), ("stock", 8), ("search", 10)];
const KIND: &str = "fullgc";

/// Writes the sample fleet below `out` (`hosts/<name>/…` and `inventory.json`) and says what it planted.
/// The same settings give the same bytes.
pub fn generate(settings: &FleetSettings, out: &Path) -> io::Result<Planted> {
    let mut random = Random::new(settings.seed);
    let plan = plan(settings, &mut random)?;
    let culprit =
        plan.services.get(plan.culprit).cloned().ok_or_else(|| invalid("a fleet needs at least 2 services"))?;
    let start = plan.pauses.first().map_or(NOW, |pause| pause.start);
    let mut total_502 = 0;
    for (index, host) in plan.nginx.iter().enumerate() {
        total_502 += nginx::write(&plan, index, &host_folder(out, host), &mut random.split())?;
    }
    for (index, service) in plan.services.iter().enumerate() {
        service::write(&plan, index, &host_folder(out, &service.name), &mut random.split())?;
    }
    support::write(&plan, |host| host_folder(out, host), &mut random.split())?;
    let inventory = serde_json::to_vec_pretty(&inventory(&plan)).map_err(io::Error::other)?;
    fs::write(out.join("inventory.json"), inventory)?;
    Ok(Planted { kind: KIND, service: culprit.name, addr: culprit.addr, at: start.iso_seconds(), total_502 })
}

/// Writes one file of a host and the folders above it.
pub(super) fn write_file(folder: &Path, path: &str, text: &str) -> io::Result<()> {
    let file = folder.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(file, text)
}

/// Lines of a log in the order of their times.
pub(super) fn in_order(mut lines: Vec<(Moment, String)>) -> String {
    lines.sort_by_key(|(at, _)| *at);
    let mut text = String::with_capacity(lines.iter().map(|(_, line)| line.len() + 1).sum());
    for (_, line) in &lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn host_folder(out: &Path, host: &str) -> std::path::PathBuf {
    out.join("hosts").join(host)
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_owned())
}

fn plan(settings: &FleetSettings, random: &mut Random) -> io::Result<Plan> {
    if !(1..=999).contains(&settings.hosts) {
        return Err(invalid("a fleet has 1 to 999 nginx hosts"));
    }
    if !(2..=50).contains(&settings.apps) {
        return Err(invalid("a fleet has 2 to 50 services"));
    }
    let services = services(settings.apps);
    let drawn = random.index(services.len());
    let start = WINDOW_START.plus_s(random.between(1200, 3000));
    let length_ms = random.between(62, 149) * 100;
    // Seed 1 is the incident that the documentation tells.
    let (culprit, start, length_ms) = match services.iter().position(|service| service.name == "spring-boot-api-03") {
        Some(index) if settings.seed == 1 => (index, Moment::at(2, 47, 23), 8000),
        _ => (drawn, start, length_ms),
    };
    let nginx: Vec<String> = (1..=settings.hosts).map(|number| format!("nginx-{number:03}")).collect();
    let pauses = back_to_back(start, length_ms, random);
    let innocent = innocent(services.len(), nginx.len(), culprit, random);
    Ok(Plan { lines: settings.lines, services, nginx, culprit, pauses, innocent })
}

fn services(count: usize) -> Vec<Service> {
    let names = POOLS.iter().flat_map(|(pool, size)| (1..=*size).map(move |number| (*pool, number)));
    names
        .zip(21..)
        .take(count)
        .map(|((pool, number), octet)| {
            let ip = format!("10.20.2.{octet}");
            Service { name: format!("spring-boot-{pool}-{number:02}"), pool, addr: format!("{ip}:8080"), ip }
        })
        .collect()
}

/// The heap stays full, so one collection follows the other until the end. A single pause could not hold a rate of errors.
fn back_to_back(start: Moment, length_ms: i64, random: &mut Random) -> Vec<Pause> {
    let mut pauses = Vec::new();
    let mut next = Pause { start, length_ms };
    while next.start < NOW.plus_s(-20) {
        pauses.push(next);
        let gap_ms = random.between(9_000, 16_000);
        let later_ms = (length_ms * random.between(80, 110) / 100).max(5_600);
        next = Pause { start: next.start.plus_ms(next.length_ms + gap_ms), length_ms: later_ms };
    }
    pauses
}

fn innocent(services: usize, hosts: usize, culprit: usize, random: &mut Random) -> Innocent {
    // Counting on from the culprit can never come back to it.
    let other = |random: &mut Random| (culprit + 1 + random.index(services.saturating_sub(1))) % services.max(1);
    Innocent {
        deploy: (other(random), WINDOW_START.plus_s(random.between(300, 700))),
        deploy_host: random.index(hosts),
        system_gc: (other(random), WINDOW_START.plus_s(random.between(400, 900))),
        pool_blip: (other(random), WINDOW_START.plus_s(random.between(1500, 2000))),
        scanner_host: random.index(hosts),
        dns_blip: WINDOW_START.plus_s(random.between(100, 1000)),
    }
}

/// Which hosts there are. The workflow starts from this file.
fn inventory(plan: &Plan) -> Value {
    let mut hosts = Vec::new();
    for (index, name) in plan.nginx.iter().enumerate() {
        let rack = format!("rack{}", index / 20 + 1);
        let addr = format!("10.20.{}.{}", 16 + (index + 11) / 256, (index + 11) % 256);
        hosts.push(json!({"name": name, "groups": ["nginx", rack], "addr": addr}));
    }
    for service in &plan.services {
        hosts.push(json!({"name": service.name, "groups": ["spring-boot", service.pool], "addr": service.ip}));
    }
    for (name, addr) in support::HOSTS {
        hosts.push(json!({"name": name, "groups": ["support"], "addr": addr}));
    }
    json!({"now": NOW.iso(), "window_start": WINDOW_START.iso(), "hosts": hosts})
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
