//! Fleets from the generator in `fixtures/fleet`, made by Python outside of Skein so that both sides are independent.
#![expect(clippy::expect_used, reason = "a fleet that cannot be made fails the test")]

use crate::project_dir;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A generated fleet and what was planted in it.
#[derive(Debug)]
pub struct Fleet {
    pub dir: PathBuf,
    pub answers: Value,
}

/// Makes a fleet below `dir`; the answers stay outside of it.
#[must_use]
pub fn generate(dir: &Path, seed: u32, more: &[&str]) -> Fleet {
    let (fleet, answers) = (dir.join(format!("fleet-{seed}")), dir.join(format!("answers-{seed}.json")));
    let output = Command::new("python3")
        .arg(project_dir().join("tests/fixtures/fleet/fleetgen.py"))
        .args(["--seed", &seed.to_string(), "--out"])
        .arg(&fleet)
        .arg("--answers")
        .arg(&answers)
        .args(more)
        .output()
        .expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = std::fs::read_to_string(answers).expect("answers");
    Fleet { dir: fleet, answers: serde_json::from_str(&answers).expect("answers are JSON") }
}
