//! `skein workers` and `skein drain`: who carries out agents, and telling one to take no more.

use crate::args::{DrainArgs, Global};
use crate::client::{Client, refusal};
use crate::exit::{Code, unreachable};
use crate::output::{self, printable};
use crate::reading;
use skein_common::wire::WorkerInfo;

/// Up to so many host names are shown one by one.
const HOSTS_SHOWN: usize = 3;

/// Lists the workers.
///
/// # Errors
/// The store cannot be read, or whoever is asked does not answer.
pub async fn workers(global: &Global) -> anyhow::Result<Code> {
    let workers = reading::open(global)?.workers().await?;
    if global.json {
        output::json(&workers)?;
        return Ok(Code::Completed);
    }
    for line in table(&workers) {
        output::line(&line);
    }
    if workers.is_empty() {
        output::note("no workers have made themselves known");
    }
    Ok(Code::Completed)
}

/// Tells a worker to drain (A8).
///
/// # Errors
/// There is no such worker, or nobody to ask.
pub async fn drain(global: &Global, args: DrainArgs) -> anyhow::Result<Code> {
    let nobody = || unreachable("nobody serves this store: name a URL with --url");
    let client = Client::of_serve(global)?.ok_or_else(nobody)?;
    let name = encoded(&args.worker);
    let worker: WorkerInfo = client.post(&format!("/workers/{name}/drain")).await.map_err(refusal)?;
    if global.json {
        output::json(&worker)?;
    } else {
        let (id, node) = (printable(&worker.id.0), printable(&worker.node));
        output::line(&format!("{id} ({node}) finishes what it runs and takes nothing new"));
    }
    Ok(Code::Completed)
}

/// A name as one part of a path.
fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(byte).collect()
}

fn table(workers: &[WorkerInfo]) -> Vec<String> {
    let titles = ["WORKER", "NODE", "POOLS", "HOSTS", "SLOTS", "LABELS", ""].map(str::to_owned);
    let rows: Vec<[String; 7]> = match workers {
        [] => return Vec::new(),
        workers => std::iter::once(titles).chain(workers.iter().map(row)).collect(),
    };
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn row(worker: &WorkerInfo) -> [String; 7] {
    let labels: Vec<String> = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let draining = if worker.draining { "draining" } else { "" };
    [
        printable(&worker.id.0),
        printable(&worker.node),
        or_dash(&worker.pools.join(",")),
        or_dash(&short_hosts(&worker.hosts)),
        worker.slots.to_string(),
        or_dash(&labels.join(",")),
        draining.to_owned(),
    ]
}

/// One line, whatever a worker calls itself.
fn or_dash(text: &str) -> String {
    if text.is_empty() { String::from("-") } else { printable(text).replace(['\n', '\t'], " ") }
}

/// A few names as they are, many as `web-[001-120]` when they are numbered without a gap, else their number.
fn short_hosts(hosts: &[String]) -> String {
    if hosts.len() <= HOSTS_SHOWN {
        return hosts.join(",");
    }
    numbered(hosts).unwrap_or_else(|| format!("{} hosts", hosts.len()))
}

fn numbered(hosts: &[String]) -> Option<String> {
    let (prefix, suffix, width) = split_number(hosts.first()?)?;
    let mut numbers = Vec::with_capacity(hosts.len());
    for host in hosts {
        let digits = host.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let is_number = digits.len() == width && digits.bytes().all(|byte| byte.is_ascii_digit());
        numbers.push(digits.parse::<u64>().ok().filter(|_| is_number)?);
    }
    numbers.sort_unstable();
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    let has_no_gap = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    has_no_gap.then(|| format!("{prefix}[{first:0width$}-{last:0width$}]{suffix}"))
}

/// What stands before and behind the last number of a name, and how many digits it has.
fn split_number(name: &str) -> Option<(&str, &str, usize)> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |at| at + name[at..].chars().next().map_or(1, char::len_utf8));
    Some((&name[..start], &name[end..], end - start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_common::WorkerId;

    fn names(pattern: impl Fn(u32) -> String, numbers: impl Iterator<Item = u32>) -> Vec<String> {
        numbers.map(pattern).collect()
    }

    #[test]
    fn many_hosts_are_a_pattern_or_a_number() {
        assert_eq!(short_hosts(&[]), "");
        assert_eq!(short_hosts(&names(|n| format!("db-{n}"), 1..4)), "db-1,db-2,db-3");
        assert_eq!(short_hosts(&names(|n| format!("web-{n:03}"), 1..121)), "web-[001-120]");
        assert_eq!(short_hosts(&names(|n| format!("r2-h{n:02}.example"), (10..20).rev())), "r2-h[10-19].example");
        assert_eq!(short_hosts(&names(|n| format!("ö{n}"), 1..6)), "ö[1-5]");
        assert_eq!(short_hosts(&names(|n| format!("{n}"), 1..6)), "[1-5]");
        assert_eq!(short_hosts(&names(|n| format!("web-{n}"), 1..21)), "20 hosts", "of different lengths");
        assert_eq!(short_hosts(&names(|n| format!("web-{:02}", n * 2), 1..6)), "5 hosts", "with gaps");
        assert_eq!(short_hosts(&["a", "b", "c", "d"].map(str::to_owned)), "4 hosts");
        assert_eq!(short_hosts(&["a1", "a1", "a1", "a1"].map(str::to_owned)), "4 hosts", "twice the same");
    }

    #[test]
    fn the_table_has_a_line_for_each_worker_whatever_it_calls_itself() {
        let worker = WorkerInfo {
            id: WorkerId(String::from("worker-1\u{1b}[2J")),
            node: String::from("node-a"),
            pools: vec![String::from("default"), String::from("gpu")],
            hosts: Vec::new(),
            slots: 64,
            labels: [(String::from("zone"), String::from("b\nc"))].into(),
            draining: true,
            version: String::new(),
        };
        let lines = table(std::slice::from_ref(&worker));
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], "worker-1\u{fffd}[2J  node-a  default,gpu  -      64     zone=b c  draining");
        assert!(table(&[]).is_empty());
    }

    #[test]
    fn a_name_stays_one_part_of_a_path() {
        assert_eq!(encoded("web-3"), "web-3");
        assert_eq!(encoded("a/../b?c#d e%"), "a%2F..%2Fb%3Fc%23d%20e%25");
    }
}
