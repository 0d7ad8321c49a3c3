//! Table: the figures of a workload for people, each beside its bar.

use super::Backend;
use super::figures::Report;
use std::fmt::Write as _;

/// What must be reached on a cluster.
const BARS_NATS: [(&str, &str, f64); 21] = [
    ("w1", "elapsed_ms", 180.0),
    ("w1", "cpu_ms", 170.0),
    ("w1", "written_mb", 1.0),
    ("w2", "step_p50_ms", 1.5),
    ("w2", "step_p99_ms", 3.5),
    ("w2", "unflushed_step_p50_ms", 0.7),
    ("w2", "unflushed_step_p99_ms", 2.0),
    ("w3", "elapsed_ms", 150.0),
    ("w4", "elapsed_ms", 140.0),
    ("w5", "worker_ms", 900.0),
    ("w5", "worker_run_twice", 16.0),
    ("w5", "coordinator_ms", 900.0),
    ("w5", "coordinator_run_twice", 16.0),
    ("w5", "both_ms", 900.0),
    ("w5", "both_run_twice", 16.0),
    ("w5", "broker_ms", 2500.0),
    ("memory", "idle_mb", 60.0),
    ("memory", "after_w1_to_w4_mb", 110.0),
    ("round-trip", "ratio", 4.0),
    ("takeover", "from_lease_lost_ms", 100.0),
    ("scan", "ratio", 1.6),
];

/// What must be reached with the embedded backend.
const BARS: [(&str, &str, f64); 13] = [
    ("w1", "elapsed_ms", 120.0),
    ("w1", "cpu_ms", 170.0),
    ("w1", "written_mb", 1.0),
    ("w2", "step_p50_ms", 0.4),
    ("w2", "step_p99_ms", 1.0),
    ("w3", "elapsed_ms", 150.0),
    ("w4", "elapsed_ms", 140.0),
    ("w5", "elapsed_ms", 900.0),
    ("w5", "agents_run_twice", 16.0),
    ("memory", "idle_mb", 40.0),
    ("memory", "after_w1_to_w4_mb", 110.0),
    ("replay", "elapsed_ms", 100.0),
    ("hostile", "ratio", 2.0),
];

/// How the figures of a workload on a cluster came about.
fn method_nats(workload: &str) -> &'static str {
    match workload {
        "w5" => {
            "server, coordinator and worker as processes; from the kill at 500 results, after which what was killed is \
             started again at once in its folder, until the end of the run was announced; its result is complete"
        }
        "memory" => "coordinator and worker with their children, without the server; proportional set size",
        "round-trip" => {
            "p50 from the dispatch of an agent to that of the next, each of which needs the one before, to the p50 of a \
             request and its answer between two connections to the same server, before and after"
        }
        "takeover" => {
            "two coordinators; from the kill of the owner, and from the end of its lease, until a task of the run was \
             dispatched again"
        }
        "scan" => {
            "100 workers of one host each (gateway: one worker of all hosts), 16 agents at a time, from the POST until \
             the end was announced, to the same programs started directly, 16 at a time"
        }
        _ => {
            "server, coordinator and worker as processes, a client over HTTP; from the POST until the end of the run \
             was announced, after one small run; CPU and written bytes of all these processes; proportional set size \
             without the server"
        }
    }
}

/// How the figures of a workload came about.
fn method(workload: &str) -> &'static str {
    match workload {
        "w5" => "the release program; from the start of `skein resume` until it has printed the result and is gone",
        "memory" => {
            "coordinator, worker and store in one process, with its children; proportional set size, idle and after \
             W1 to W4 in turn"
        }
        "hostile" => {
            "coordinator, worker and store in one process after one small run; the healthy run's submit to result, \
             alone, started in one moment with 80 hostile scripts, two seconds later beside them, and after they ended"
        }
        "replay" => "coordinator, worker and store in one process; from the takeover to the end of the run",
        "w2" => {
            "coordinator, worker and store in one process after one small run; a step is from the dispatch of an agent \
             to that of the next; CPU of the process and its children, proportional set size, bytes sent to the disk"
        }
        _ => {
            "coordinator, worker and store in one process after one small run; submit to result; CPU of the process \
             and its children, proportional set size, bytes sent to the disk"
        }
    }
}

fn bar(backend: Backend, workload: &str, figure: &str) -> Option<f64> {
    let bars: &[(&str, &str, f64)] = match backend {
        Backend::Embedded => &BARS,
        Backend::Nats => &BARS_NATS,
    };
    let found = bars.iter().find(|(of, name, _)| (*of, *name) == (workload, figure));
    found.map(|(_, _, bar)| *bar)
}

/// The lines of one workload.
pub fn print(report: &Report, backend: Backend, unflushed: bool) -> String {
    let flushes = if unflushed { "off" } else { "on" };
    let mut text = format!("{}, {} runs in fresh processes, flushes {flushes}\n", report.workload, report.runs);
    let _ = writeln!(text, "  {:<22} {:>10} {:>10} {:>10} {:>8}", "", "median", "min", "max", "bar");
    for (name, spread) in &report.figures {
        let (bar, mark) = match bar(backend, &report.workload, name) {
            Some(bar) => (format!("{bar}"), if spread.median <= bar { " met" } else { " not met" }),
            None => (String::from("-"), ""),
        };
        let _ = writeln!(
            text,
            "  {name:<22} {:>10.2} {:>10.2} {:>10.2} {bar:>8}{mark}",
            spread.median, spread.min, spread.max
        );
    }
    let method = match backend {
        Backend::Embedded => method(&report.workload),
        Backend::Nats => method_nats(&report.workload),
    };
    let _ = writeln!(text, "  measured: {method}");
    text
}
