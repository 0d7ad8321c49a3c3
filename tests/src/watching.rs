//! Watching: a client of the API's event streams that knows nothing of ours.

use crate::PATIENCE;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One piece of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

/// An open stream of events.
pub struct Watching {
    lines: BufReader<Box<dyn Read + Send>>,
    /// In small letters.
    pub head: String,
    pub status: u16,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watching").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Watching {
    /// Over TCP; `path` is below `/api/v1`. `None` when nobody answers.
    #[must_use]
    pub fn tcp(address: &str, token: &str, path: &str, last: Option<&str>) -> Option<Watching> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let head = format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n{}", last_header(last));
        stream.write_all(request(path, &head).as_bytes()).ok()?;
        Watching::read_head(Box::new(stream))
    }

    /// Over a socket file.
    #[must_use]
    pub fn unix(socket: &Path, path: &str, last: Option<&str>) -> Option<Watching> {
        let mut stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let head = format!("Host: skein\r\n{}", last_header(last));
        stream.write_all(request(path, &head).as_bytes()).ok()?;
        Watching::read_head(Box::new(stream))
    }

    fn read_head(stream: Box<dyn Read + Send>) -> Option<Watching> {
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if lines.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Watching { lines, head: head.to_lowercase(), status })
    }

    /// The next piece, comments left out; `None` when the stream has ended or broke.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have to be named for its waiting")]
    pub fn next(&mut self) -> Option<Item> {
        let mut item = Item { id: None, name: String::new(), data: Value::Null };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches('\n');
            match line.split_once(": ") {
                Some(("id", id)) => item.id = Some(id.to_owned()),
                Some(("event", name)) => item.name = name.to_owned(),
                Some(("data", data)) => item.data = serde_json::from_str(data).unwrap_or_else(|_| panic!("{data}")),
                _ if line.is_empty() && !item.name.is_empty() => return Some(item),
                _ => {}
            }
        }
    }

    /// The rest of the stream.
    #[must_use]
    pub fn rest(mut self) -> Vec<Item> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The next so many events of the journal.
    pub fn events(&mut self, count: usize) -> Vec<Item> {
        let events = std::iter::from_fn(|| self.next()).filter(|item| item.name == "journal");
        events.take(count).collect()
    }

    /// The body of an answer that is no stream.
    #[must_use]
    pub fn body(mut self) -> String {
        let mut body = String::new();
        let _broke = self.lines.read_to_string(&mut body);
        body
    }
}

/// The ids of the events of the journal among these.
#[must_use]
pub fn ids(items: &[Item]) -> Vec<String> {
    let events = items.iter().filter(|item| item.name == "journal");
    events.map(|item| item.id.clone().expect("an event has an id")).collect()
}

fn request(path: &str, head: &str) -> String {
    // Of a version whose answers come as they are.
    format!("GET /api/v1{path} HTTP/1.0\r\n{head}\r\n")
}

fn last_header(last: Option<&str>) -> String {
    last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default()
}
