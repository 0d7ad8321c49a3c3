//! What neither the compiler nor clippy checks: layering, links, file sizes, words that must not be there.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_tests::project_dir;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn tracked(ending: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(project_dir())
        .output()
        .expect("git runs");
    let list = String::from_utf8(output.stdout).expect("names are text");
    let files: Vec<PathBuf> =
        list.split('\0').filter(|name| name.ends_with(ending)).map(|name| project_dir().join(name)).collect();
    assert!(!files.is_empty(), "no {ending} files: is this a checkout?");
    files.into_iter().filter(|path| path.exists()).collect()
}

/// This file names what must not be elsewhere.
fn is_this_file(path: &Path) -> bool {
    path.ends_with("tests/tests/tidy.rs")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("reads")).into_owned()
}

/// The `skein-*` crates that a manifest depends on, outside of tests.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let text = read(&project_dir().join(manifest));
    let section = text.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| name.starts_with("skein"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_use_only_what_their_layer_may() {
    for (manifest, may_use) in [
        ("common/Cargo.toml", &[][..]),
        ("common/backend/Cargo.toml", &["skein-common"]),
        ("coordinator/engine/Cargo.toml", &["skein-common"]),
        ("coordinator/script/Cargo.toml", &["skein-common"]),
        ("worker/Cargo.toml", &["skein-common"]),
        ("coordinator/Cargo.toml", &["skein-common", "skein-engine", "skein-script"]),
    ] {
        let allowed: BTreeSet<String> = may_use.iter().map(|name| (*name).to_owned()).collect();
        let used = dependencies(manifest);
        assert!(used.is_subset(&allowed), "{manifest} uses {:?}", used.difference(&allowed));
    }
}

#[test]
fn the_engine_knows_no_clock_no_chance_and_no_outside_world() {
    let forbidden = [
        "HashMap",
        "HashSet",
        "std::time",
        "SystemTime",
        "Instant",
        "rand",
        "tokio",
        "async fn",
        "std::fs",
        "std::env",
        "std::net",
    ];
    for path in tracked(".rs").iter().filter(|path| path.starts_with(project_dir().join("coordinator/engine/src"))) {
        for (number, line) in read(path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = forbidden.iter().find(|word| has_word(code, word));
            assert!(found.is_none(), "{}:{}: {found:?}", path.display(), number + 1);
        }
    }
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word)
        .any(|(at, _)| !is_part(code[..at].chars().next_back()) && !is_part(code[at + word.len()..].chars().next()))
}

#[test]
fn unsafe_code_is_in_the_sandbox_only() {
    for path in tracked(".rs") {
        if path.starts_with(project_dir().join("coordinator/script/src/sandbox")) || is_this_file(&path) {
            continue;
        }
        for (number, line) in read(&path).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            assert!(!code.contains("unsafe {") && !code.contains("unsafe fn"), "{}:{}", path.display(), number + 1);
        }
    }
}

#[test]
fn adapters_are_named_in_the_command_line_and_tests_only() {
    for path in tracked(".rs").iter().filter(|path| path.starts_with(project_dir().join("coordinator/src"))) {
        assert!(!read(path).contains("skein_backend"), "{}", path.display());
    }
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    for path in tracked(".md") {
        if path.starts_with(project_dir().join("tests/fixtures")) {
            continue;
        }
        for target in link_targets(&read(&path)) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") {
                continue;
            }
            let place = path.parent().expect("a folder").join(file);
            assert!(place.exists(), "{} links to {target}", path.display());
        }
    }
}

fn link_targets(text: &str) -> Vec<String> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn files_named_in_module_guides_exist() {
    let sources = tracked(".rs");
    for guide in tracked("README.md") {
        let folder = guide.parent().expect("a folder");
        for name in read(&guide).split('`').filter(|word| word.ends_with(".rs") && !word.contains([' ', '*', '<'])) {
            let found = sources.iter().any(|path| path.starts_with(folder) && path.ends_with(name));
            assert!(found, "{} names {name}", guide.display());
        }
    }
}

#[test]
fn modules_say_what_they_are_for_and_files_stay_readable() {
    for path in tracked(".rs") {
        let text = read(&path);
        assert!(text.starts_with("//!"), "{} has no module line", path.display());
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let forbidden = ["../shared", "/work/", "/root/", "crates.io", "registry.npmjs", "pypi.org"];
    for ending in [".rs", ".md", ".toml", ".js", ".sh", "run"] {
        for path in tracked(ending) {
            if is_this_file(&path) {
                continue;
            }
            let text = read(&path);
            let found = forbidden.iter().find(|word| text.contains(**word));
            assert!(found.is_none(), "{}: {found:?}", path.display());
        }
    }
}

/// `tests/switch-off` is not run by the gate; that its patches still fit is looked at here.
#[test]
fn patches_that_switch_clauses_off_fit_the_code() {
    let folder = project_dir().join("tests/fixtures/switched-off");
    let list = std::fs::read_to_string(folder.join("list.txt")).expect("the list");
    let names = list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('|').next());
    let mut patches = 0;
    for name in names.map(str::trim).filter(|name| !name.is_empty()) {
        let patch = std::fs::read_to_string(folder.join(format!("{name}.patch"))).expect("the patch");
        let file = patch.lines().find_map(|line| line.strip_prefix("+++ b/")).expect("the file it changes");
        let source = std::fs::read_to_string(project_dir().join(file)).expect("the file");
        for hunk in patch.split("\n@@ ").skip(1) {
            let before: Vec<&str> = hunk.lines().skip(1).filter_map(|line| line.strip_prefix([' ', '-'])).collect();
            assert!(source.contains(&before.join("\n")), "{name}.patch does not fit {file} any more");
        }
        patches += 1;
    }
    assert!(patches >= 10, "only {patches} patches");
}
