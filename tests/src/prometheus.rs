//! Prometheus: pages of metrics as a program that knows nothing of ours reads them, and the real server and its tool.

use crate::{eventually, processes};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// One page in the text format.
#[derive(Debug, Clone)]
pub struct Page(pub String);

impl Page {
    /// Name, labels and value of each sample.
    fn samples(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            (name, labels.trim_end_matches('}'), value.parse().expect("a number"))
        })
    }

    /// All series of this name whose labels hold this text, added up.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &str) -> f64 {
        let of_name = self.samples().filter(|(of, with, _)| *of == name && with.contains(labels));
        of_name.map(|(_, _, value)| value).sum()
    }

    /// Whether a series of this family says more than nothing.
    #[must_use]
    pub fn has_moved(&self, family: &str) -> bool {
        let is_of_it = |name: &str| name.strip_prefix(family).is_some_and(|end| end.is_empty() || end == "_count");
        self.samples().any(|(name, _, value)| is_of_it(name) && value != 0.0)
    }

    /// The families of the page.
    #[must_use]
    pub fn families(&self) -> Vec<&str> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    /// Fails the test when the tool finds anything to say about it.
    pub fn lint(&self) {
        let mut tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool runs");
        tool.stdin.take().expect("its input").write_all(self.0.as_bytes()).expect("reads");
        let output = tool.wait_with_output().expect("ends");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}\n{}", String::from_utf8_lossy(&said), self.0);
    }
}

/// Runs promtool in this folder, which has to like what it is given.
pub fn promtool(dir: &Path, args: &[&str]) {
    let output = Command::new("promtool").args(args).current_dir(dir).output().expect("promtool runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("FAILED"), "promtool {args:?}: {said}");
}

/// A real server that reads one target every second, with a store of its own; gone when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Reads this target with this token, and waits until it did so once.
    #[must_use]
    pub fn watching(dir: &Path, target: &str, token: &str) -> Prometheus {
        std::fs::write(dir.join("token"), token).expect("writes");
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs:\n  - job_name: skein\n    authorization: {{ credentials_file: token }}\n    \
             static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        std::fs::write(dir.join("prometheus.yml"), config).expect("writes");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let log = std::fs::File::create(dir.join("prometheus.log")).expect("a file");
        let process = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=prometheus-data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(dir)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus runs");
        let prometheus = Prometheus { process, address };
        eventually("prometheus reads its target", || (prometheus.value("up") == Some(1.0)).then_some(()));
        prometheus
    }

    /// What an instant query gives; `None` when it gives nothing, or the server is not there yet.
    fn query(&self, query: &str) -> Option<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // Of version 1.0, so that the answer comes in one piece.
        let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\n\r\n");
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Some(answer["data"]["result"].clone())
    }

    /// The only value of a query.
    #[must_use]
    pub fn value(&self, query: &str) -> Option<f64> {
        self.query(query)?[0]["value"][1].as_str()?.parse().ok()
    }

    /// Time and value of each sample of a series, as they were read.
    #[must_use]
    pub fn samples(&self, series: &str) -> Vec<(f64, f64)> {
        let answer = self.query(&format!("{series}[1h]")).expect("answers");
        let samples = answer[0]["values"].as_array().cloned().unwrap_or_default();
        let sample = |sample: &Value| Some((sample[0].as_f64()?, sample[1].as_str()?.parse().ok()?));
        samples.iter().map(|pair| sample(pair).unwrap_or_else(|| panic!("no sample: {pair}"))).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        processes::kill_9(i32::try_from(self.process.id()).expect("a pid"));
        let _gone = self.process.wait();
    }
}
