//! The logs of one Spring Boot service.

use std::io;
use std::path::Path;

use super::clock::{LOG_START, Moment, NOW};
use super::fleet::{Plan, in_order, write_file};
use super::random::Random;

const HIKARI: &str = "com.zaxxer.hikari.pool.HikariPool";
const TOMCAT: &str = "o.s.boot.web.embedded.tomcat.TomcatWebServer";

struct Logs {
    app: Vec<(Moment, String)>,
    gc: Vec<(Moment, String)>,
    collections: u32,
}

/// Writes the files of service number `index` below `folder`.
pub(super) fn write(plan: &Plan, index: usize, folder: &Path, random: &mut Random) -> io::Result<()> {
    let mut logs = Logs { app: Vec::new(), gc: Vec::new(), collections: 0 };
    ordinary_hours(&mut logs, random);
    if index == plan.culprit {
        full_heap(plan, &mut logs, random);
    }
    distract(plan, index, &mut logs);
    write_file(folder, "var/log/spring-boot/app.log", &in_order(logs.app))?;
    write_file(folder, "var/log/spring-boot/gc.log", &in_order(logs.gc))?;
    let name = plan.services.get(index).map_or("", |service| service.name.as_str());
    let settings = format!(
        "spring:\n  application: {{name: {name}}}\n  datasource:\n    hikari: {{maximum-pool-size: 20, connection-timeout: 30000}}\nserver: {{port: 8080}}\n"
    );
    write_file(folder, "etc/spring-boot/application.yml", &settings)?;
    write_file(
        folder,
        "etc/spring-boot/jvm.options",
        "-Xms8g\n-Xmx8g\n-XX:+UseG1GC\n-Xlog:gc:file=/var/log/spring-boot/gc.log\n",
    )
}

/// Short collections, handled requests, and the pool statistics of a pool with free connections.
fn ordinary_hours(logs: &mut Logs, random: &mut Random) {
    let mut at = LOG_START;
    while at < NOW {
        at = at.plus_ms(random.between(8_000, 22_000));
        let (heap, pause_us) = (random.between(2200, 4800), random.between(4_000, 38_000));
        logs.collect(
            at,
            &format!("Pause Young (Normal) (G1 Evacuation Pause) {heap}M->{}M(8192M)", heap / 3),
            pause_us,
        );
        if random.chance(600_000) {
            let text = format!("handled id={} in {} ms", random.between(0, 1_000_000), random.between(2, 90));
            logs.say(at, "INFO", "c.e.web.RequestLog", &text);
        }
    }
    let mut at = LOG_START;
    while at < NOW {
        at = at.plus_s(30);
        let active = random.between(1, 9);
        let text = format!("HikariPool-1 - Pool stats (total=20, active={active}, idle={}, waiting=0)", 20 - active);
        logs.say(at, "DEBUG", HIKARI, &text);
    }
}

/// The planted cause: a cache without a limit, then one Full GC after the other that frees hardly anything.
fn full_heap(plan: &Plan, logs: &mut Logs, random: &mut Random) {
    let Some(first) = plan.pauses.first() else {
        return;
    };
    logs.say(
        first.start.plus_s(-360),
        "WARN",
        "c.e.cache.SessionCache",
        "local cache has 4812331 entries, no eviction configured",
    );
    for pause in &plan.pauses {
        let heap = random.between(8150, 8190);
        let text = format!("Pause Full (G1 Compaction Pause) {heap}M->{}M(8192M)", heap - random.between(30, 120));
        logs.collect(pause.start, &text, pause.length_ms * 1000 + random.between(0, 1000));
        let delta_ms = pause.length_ms + 30_000;
        let text = format!("HikariPool-1 - Thread starvation or clock leap detected (housekeeper delta={delta_ms}ms).");
        logs.say(pause.start.plus_ms(pause.length_ms), "WARN", HIKARI, &text);
    }
}

/// The events on this service that look like a cause and are none.
fn distract(plan: &Plan, index: usize, logs: &mut Logs) {
    let innocent = &plan.innocent;
    if index == innocent.system_gc.0 {
        logs.collect(innocent.system_gc.1, "Pause Full (System.gc()) 2100M->800M(8192M)", 912_114);
    }
    if index == innocent.pool_blip.0 {
        logs.say(
            innocent.pool_blip.1,
            "WARN",
            HIKARI,
            "HikariPool-1 - Connection is not available, request timed out after 30000ms.",
        );
    }
    if index == innocent.deploy.0 {
        logs.say(innocent.deploy.1, "INFO", TOMCAT, "Tomcat started on port 8080 (rolling deploy)");
    }
}

impl Logs {
    fn say(&mut self, at: Moment, level: &str, logger: &str, text: &str) {
        let thread = self.app.len() % 200;
        self.app.push((at, format!("{} {level:>5} 7 --- [nio-8080-exec-{thread}] {logger} : {text}", at.log())));
    }

    fn collect(&mut self, at: Moment, text: &str, pause_us: i64) {
        self.collections += 1;
        let line = format!(
            "[{}+0800][{}][info][gc] GC({}) {text} {}.{:03}ms",
            at.iso(),
            at.uptime(),
            self.collections,
            pause_us / 1000,
            pause_us % 1000
        );
        self.gc.push((at, line));
    }
}
