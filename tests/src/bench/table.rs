//! Table: the figures of a workload for people, each beside its bar.

use super::figures::Report;
use std::fmt::Write as _;

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

fn bar(workload: &str, figure: &str) -> Option<f64> {
    let found = BARS.iter().find(|(of, name, _)| (*of, *name) == (workload, figure));
    found.map(|(_, _, bar)| *bar)
}

/// The lines of one workload.
pub fn print(report: &Report) -> String {
    let mut text = format!("{}, {} runs in fresh processes, flushes on\n", report.workload, report.runs);
    let _ = writeln!(text, "  {:<20} {:>10} {:>10} {:>10} {:>8}", "", "median", "min", "max", "bar");
    for (name, spread) in &report.figures {
        let (bar, mark) = match bar(&report.workload, name) {
            Some(bar) => (format!("{bar}"), if spread.median <= bar { " met" } else { " not met" }),
            None => (String::from("-"), ""),
        };
        let _ = writeln!(
            text,
            "  {name:<20} {:>10.2} {:>10.2} {:>10.2} {bar:>8}{mark}",
            spread.median, spread.min, spread.max
        );
    }
    let _ = writeln!(text, "  measured: {}", method(&report.workload));
    text
}
