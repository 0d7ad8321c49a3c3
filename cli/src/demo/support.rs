//! The hosts around the fleet: load balancer, DNS and network probe. None of them is the cause, which is an answer too.

use std::io;
use std::path::PathBuf;

use super::clock::{LOG_START, NOW, WINDOW_START};
use super::fleet::{Plan, write_file};
use super::random::Random;

/// Names and addresses of the support hosts.
pub(super) const HOSTS: [(&str, &str); 3] = [("lb-01", "10.20.0.2"), ("dns-01", "10.20.0.3"), ("net-01", "10.20.0.4")];

/// Writes the files of all support hosts; `folder` gives the folder of a host by its name.
pub(super) fn write(plan: &Plan, folder: impl Fn(&str) -> PathBuf, random: &mut Random) -> io::Result<()> {
    let balancer = folder("lb-01");
    write_file(&balancer, "var/log/lb/health.log", &health(plan, random))?;
    write_file(&balancer, "var/log/lb/changes.log", &changes())?;
    write_file(
        &balancer,
        "etc/lb/health.yaml",
        "health_check:\n  interval: 30s\n  timeout: 3s\n  fall: 3\n  rise: 2\n",
    )?;
    let blip = format!(
        "{} query-errors: info: client 10.20.1.40: SERVFAIL svc.internal A (1 of 1, recovered)\n",
        plan.innocent.dns_blip.iso()
    );
    write_file(&folder("dns-01"), "var/log/named/query-errors.log", &blip)?;
    write_file(&folder("net-01"), "var/log/smokeping/loss.log", &probes(random))
}

/// The check runs every 30 s and needs three failures in a row, so pauses of some seconds never take the culprit out.
fn health(plan: &Plan, random: &mut Random) -> String {
    let mut text = String::new();
    let mut at = LOG_START;
    while at < NOW {
        at = at.plus_s(30);
        for (index, service) in plan.services.iter().enumerate() {
            let paused = index == plan.culprit
                && plan.pauses.iter().any(|pause| at >= pause.start && at.ms_since(pause.start) < pause.length_ms);
            if paused || random.chance(4_000) {
                let outcome = if paused { "timeout 3000ms (1/3)" } else { "ok 9ms" };
                text.push_str(&format!(
                    "{} check {} {} GET /actuator/health -> {outcome} state=UP\n",
                    at.iso(),
                    service.name,
                    service.addr
                ));
            }
        }
    }
    text
}

/// A change of the night before and one inside the window; neither has to do with the incident.
fn changes() -> String {
    format!(
        "{} user=ops change: health_check.interval 10s -> 30s (ticket OPS-4411)\n{} user=deploy change: weight of search_pool spring-boot-search-02 10 -> 8\n",
        WINDOW_START.plus_s(-9 * 60 * 60).iso(),
        WINDOW_START.plus_s(30 * 60).iso()
    )
}

fn probes(random: &mut Random) -> String {
    let mut text = String::new();
    let mut at = LOG_START;
    while at < NOW {
        at = at.plus_s(60);
        let (average, jitter) = (random.between(20, 50), random.between(1, 9));
        text.push_str(&format!("{} rack=all loss=0.0% rtt_avg=0.{average}ms jitter=0.0{jitter}ms\n", at.iso()));
    }
    text
}
