//! A `skein serve` that listens on TCP, asked by a program that knows nothing of ours and by the program itself.

use crate::{Ended, Skein, eventually, processes};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};

/// The process, and where it listens.
#[derive(Debug)]
pub struct Served {
    pub skein: Skein,
    process: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// What came back: the status, the head in small letters, and the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }

    /// Its detail, when it is a problem of this type, which says so in all its places.
    #[must_use]
    pub fn problem(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!(format!("urn:skein:error:{kind}")), &json!(status)));
        problem["detail"].as_str().expect("a text").to_owned()
    }
}

impl Default for Served {
    fn default() -> Served {
        Served::begin(Skein::new(), "127.0.0.1:0")
    }
}

impl Served {
    /// Serves the store of this test and waits until it listens.
    #[must_use]
    pub fn begin(skein: Skein, listen: &str) -> Served {
        let process = skein.spawn(["serve", "--listen", listen]);
        let address = eventually("it listens", || {
            let said = skein.background_stderr();
            let rest = said.split("listens on http://").nth(1)?;
            rest.contains("serving the runs").then(|| rest.split(',').next().unwrap_or_default().to_owned())
        });
        Served { skein, process, address }
    }

    /// Begins again where it was, after a kill that nobody heard of.
    pub fn kill_and_begin_again(&mut self) {
        processes::kill_9(i32::try_from(self.process.id()).expect("a pid"));
        self.process.wait().expect("ends");
        self.process = self.skein.spawn(["serve", "--listen", &self.address]);
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.skein.dir().join("home/.local/state/skein/node/api.token")
    }

    /// The token that it made.
    #[must_use]
    pub fn token(&self) -> String {
        let file = std::fs::read_to_string(self.token_file()).expect("a file of tokens");
        file.split(' ').next().expect("a token").to_owned()
    }

    /// The whole request as it goes over the wire, and what comes back.
    #[must_use]
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("connects");
        // A server that refuses early may close before it has read all of it.
        let _refused_early = stream.write_all(request);
        let mut answer = Vec::new();
        let _closed = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {answer}"));
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// A request with these headers and no others but its length.
    #[must_use]
    pub fn with_headers(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        self.raw(request.as_bytes())
    }

    /// A request as it should be, with this token.
    #[must_use]
    pub fn with_token(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let (host, token) = (format!("Host: {}", self.address), format!("Authorization: Bearer {token}"));
        self.with_headers(method, &format!("/api/v1{path}"), &[&host, &token, "Content-Type: application/json"], body)
    }

    /// A request as it should be.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.with_token(&self.token(), method, path, body)
    }

    /// The program as a client, with a store of its own that it has no use for.
    pub fn client<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.skein.command(args);
        command.env("SKEIN_URL", self.url()).env("SKEIN_STORE", self.unused_store());
        command
    }

    /// Where a client would keep runs of its own.
    #[must_use]
    pub fn unused_store(&self) -> PathBuf {
        self.skein.dir().join("unused")
    }

    /// The program as a client, to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ended {
        Ended::from(self.client(args).output().expect("the program starts"))
    }

    /// The program as a client in the background; its output goes to `NAME.out` and `NAME.err` of the test's folder.
    pub fn spawn<S: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = S>) -> Child {
        let file = |end: &str| std::fs::File::create(self.skein.dir().join(format!("{name}.{end}"))).expect("a file");
        self.client(args).stdout(file("out")).stderr(file("err")).spawn().expect("the program starts")
    }

    /// What the client of this name wrote so far, to standard output and to standard error.
    #[must_use]
    pub fn wrote(&self, name: &str) -> (String, String) {
        let read = |end: &str| std::fs::read_to_string(self.skein.dir().join(format!("{name}.{end}")));
        (read("out").unwrap_or_default(), read("err").unwrap_or_default())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        processes::signal(i32::try_from(self.process.id()).expect("a pid"), Signal::TERM);
        let _ended = self.process.wait();
    }
}
