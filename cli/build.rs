//! Says which commit the program is built from, for `skein_build_info`: `SKEIN_COMMIT`, else what git knows, else
//! `unknown`, as in a folder without its history.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SKEIN_COMMIT");
    // Changes with each commit and checkout; `git rev-parse` finds it in a worktree, too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    let told = std::env::var("SKEIN_COMMIT").ok().filter(|commit| !commit.trim().is_empty());
    let commit = told.or_else(|| git(&["rev-parse", "--short=12", "HEAD"])).unwrap_or_else(|| String::from("unknown"));
    println!("cargo:rustc-env=SKEIN_BUILD_COMMIT={}", commit.trim());
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
