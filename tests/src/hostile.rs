//! The scripts of `fixtures/scripts/hostile`, and a healthy workflow to run beside them.
#![expect(clippy::expect_used, reason = "a fixture that cannot be read fails the test")]

use crate::project_dir;

/// Agents of the healthy workflow.
pub const HEALTHY_AGENTS: usize = 200;

/// A hostile script without its `meta` line.
#[derive(Debug, Clone)]
pub struct Hostile {
    pub name: String,
    pub body: String,
}

/// All of them, by name.
#[must_use]
pub fn all() -> Vec<Hostile> {
    let dir = project_dir().join("tests/fixtures/scripts/hostile");
    let entries = std::fs::read_dir(dir).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut scripts: Vec<Hostile> = entries
        .map(|path| {
            let source = std::fs::read_to_string(&path).expect("a script");
            let (_meta, body) = source.split_once('\n').expect("a line of meta");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            Hostile { name, body: body.to_owned() }
        })
        .collect();
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    scripts
}

/// Rounds of as many agents as may run at once, so that the script has a turn after each round.
#[must_use]
pub fn healthy_body() -> String {
    format!(
        "const all = []
        while (all.length < {HEALTHY_AGENTS}) all.push(...await parallel(Array.from({{ length: 10 }},
            (_, i) => () => agent(`agent ${{all.length}} ${{i}}`))))
        return all.filter(text => typeof text === 'string').length"
    )
}
