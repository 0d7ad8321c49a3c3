//! A real browser without a screen, led by its driver's plain protocol (WebDriver): pages, keys, scripts, and what the
//! browser complained of.

use crate::eventually;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Keys that are no characters, as the protocol writes them.
pub mod keys {
    pub const TAB: &str = "\u{e004}";
    pub const ENTER: &str = "\u{e007}";
    pub const ESCAPE: &str = "\u{e00c}";
    pub const END: &str = "\u{e010}";
    pub const HOME: &str = "\u{e011}";
    pub const DOWN: &str = "\u{e015}";
}

/// One window. It goes with its browser, its driver and all they wrote.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _home: TempDir,
}

impl Browser {
    /// Opens an empty window.
    #[must_use]
    pub fn start() -> Browser {
        let home = tempfile::Builder::new().prefix("skein-browser-").tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is installed; tests/run does it");
        let port = said_port(&mut driver);
        let mut browser = Browser { driver, port, session: String::new(), _home: home };
        let profile = browser._home.path().join("profile");
        let mut arguments = vec![
            String::from("--headless=new"),
            String::from("--disable-gpu"),
            String::from("--disable-dev-shm-usage"),
            String::from("--no-first-run"),
            String::from("--window-size=1280,1000"),
            format!("--user-data-dir={}", profile.display()),
        ];
        if rustix::process::geteuid().is_root() {
            // Its sandbox refuses to be root's, as tests in a container are.
            arguments.push(String::from("--no-sandbox"));
        }
        let wanted = json!({ "goog:chromeOptions": { "args": arguments }, "goog:loggingPrefs": { "browser": "ALL" } });
        let session = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    /// Goes there and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({ "url": url }));
    }

    /// What the body of this function of the page gives.
    #[must_use]
    pub fn tell(&self, body: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Waits until this expression of the page is true.
    pub fn until(&self, condition: &str) {
        let script = format!("return Boolean({condition})");
        eventually(condition, || (self.tell(&script) == Value::Bool(true)).then_some(()));
    }

    /// The text of the first element that fits the selector, as it is seen; empty when there is none.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        let selector = json!(selector);
        let found = self.tell(&format!("return document.querySelector({selector})?.innerText ?? ''"));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Presses the keys, one after the other.
    pub fn press(&self, keys: &[&str]) {
        let strokes: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key })))
            .collect();
        self.ask("POST", "/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] }));
    }

    /// Writes the text with the keyboard.
    pub fn write(&self, text: &str) {
        let keys: Vec<String> = text.chars().map(String::from).collect();
        self.press(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Presses Tab until the element with the keyboard fits the selector.
    pub fn tab_to(&self, selector: &str) {
        let is_there = format!("return document.activeElement.matches({})", json!(selector));
        for _ in 0..60 {
            self.press(&[keys::TAB]);
            if self.tell(&is_there) == Value::Bool(true) {
                return;
            }
        }
        panic!("Tab does not lead to {selector}; the page: {}", self.text("main"));
    }

    /// Everything the browser complained of since it was asked last: errors, refusals, violations of the policy.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.send(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let value = serde_json::from_str::<Value>(&answer).unwrap_or_else(|_| panic!("{answer}"))["value"].take();
        assert!(value.get("error").is_none(), "{method} {path} {body}: {value:#}");
        value
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> std::io::Result<String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (port, length) = (self.port, body.len());
        let head = format!("Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(format!("{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n{body}").as_bytes())?;
        let (mut lines, mut size) = (BufReader::new(stream), 0);
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(found) = line.strip_prefix("content-length:") {
                size = found.trim().parse().unwrap_or(0);
            }
        }
        let mut answer = vec![0; size];
        lines.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _browser_is_gone = self.send("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _driver_is_gone = self.driver.kill();
        let _ended = self.driver.wait();
    }
}

/// `… started successfully on port N.`
fn said_port(driver: &mut Child) -> u16 {
    let lines = BufReader::new(driver.stdout.take().expect("an output")).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        if let Some(port) = line.split("on port ").nth(1).and_then(|port| port.trim_end_matches('.').parse().ok())
            && line.contains("successfully")
        {
            return port;
        }
        said.push(line);
    }
    panic!("chromedriver does not start: {said:?}");
}
