//! `docs/contract-coverage.md`: which test proves which clause. `SKEIN_BLESS=1` writes it anew.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_tests::project_dir;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::Command;

const COVERAGE: &str = "docs/contract-coverage.md";
const HEAD: &str = "# Contract coverage

Made by `tests/tests/coverage.rs` from `tests/fixtures/clauses.txt` and the names of all tests: `c08_…` proves C8,
`r02a_…` proves R2a. `SKEIN_BLESS=1 cargo test -p skein-tests --test coverage` writes it anew.

A clause is *proved* when tests name it and nothing is said to be open, *in part* when something is, and *waits* when
no test names it.
";

/// One line of the list of clauses.
#[derive(Debug)]
struct Clause {
    section: String,
    number: String,
    title: String,
    open: Option<String>,
}

impl Clause {
    fn state(&self, tests: usize) -> &'static str {
        match (tests, &self.open) {
            (0, _) => "waits",
            (_, Some(_)) => "in part",
            (_, None) => "proved",
        }
    }
}

fn clauses() -> Vec<Clause> {
    let text = std::fs::read_to_string(project_dir().join("tests/fixtures/clauses.txt")).expect("the clauses");
    let mut section = String::new();
    let mut clauses = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if let Some((number, rest)) = line.split_once('|').filter(|_| !line.starts_with('#')) {
            let (title, open) = rest.split_once('|').map_or((rest, None), |(title, open)| (title, Some(open)));
            clauses.push(Clause {
                section: section.clone(),
                number: number.trim().to_owned(),
                title: title.trim().to_owned(),
                open: open.map(|open| open.trim().to_owned()),
            });
        }
    }
    clauses
}

/// `c08_a_sentence` names C8, `r02a_a_sentence` R2a.
fn clause_of(test: &str) -> Option<String> {
    let (mark, sentence) = test.split_once('_')?;
    let letter = mark.chars().next().filter(|letter| "crlau".contains(*letter))?;
    let digits = mark.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let part = &mark[3..];
    let is_mark = part.len() <= 1 && part.bytes().all(|byte| byte.is_ascii_lowercase()) && !sentence.is_empty();
    let number: u32 = digits.parse().ok()?;
    is_mark.then(|| format!("{}{number}{part}", letter.to_ascii_uppercase()))
}

/// The names of the functions in this source that a test attribute stands before.
fn tests_in(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            is_test |= line.starts_with("#[test]") || line.contains("::test");
        } else if let Some((before, after)) = line.split_once("fn ") {
            let is_function = before.split_whitespace().all(|word| ["pub", "async"].contains(&word));
            if is_function && is_test {
                names.push(after.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
            is_test &= !is_function;
        }
    }
    names
}

/// Clause to the tests that name it, each with its file.
fn tests() -> BTreeMap<String, BTreeSet<(String, String)>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(project_dir())
        .output()
        .expect("git runs");
    let listed = String::from_utf8(listed.stdout).expect("names are text");
    let mut tests: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for file in listed.split('\0').filter(|file| !file.is_empty() && project_dir().join(file).exists()) {
        let source = std::fs::read_to_string(project_dir().join(file)).expect("a source");
        for test in tests_in(&source) {
            if let Some(clause) = clause_of(&test) {
                tests.entry(clause).or_default().insert((file.to_owned(), test));
            }
        }
    }
    tests
}

fn document() -> String {
    let (clauses, mut tests) = (clauses(), tests());
    let mut table = String::new();
    let mut list = String::new();
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    let mut section = "";
    for clause in &clauses {
        if clause.section != section {
            section = &clause.section;
            let _ =
                write!(table, "\n## {section}\n\n| Clause | About | Tests | State | Open |\n|---|---|---|---|---|\n");
        }
        let proofs = tests.remove(&clause.number).unwrap_or_default();
        let state = clause.state(proofs.len());
        *states.entry(state).or_default() += 1;
        let Clause { number, title, open, .. } = clause;
        let open = open.as_deref().unwrap_or_default();
        let _ = writeln!(table, "| {number} | {title} | {} | {state} | {open} |", proofs.len());
        write_proofs(&mut list, number, &proofs);
    }
    for (number, proofs) in &tests {
        write_proofs(&mut list, number, proofs);
    }
    let count = |state| states.get(state).copied().unwrap_or_default();
    let (proved, part, waits) = (count("proved"), count("in part"), count("waits"));
    format!("{HEAD}\n{proved} proved, {part} in part, {waits} wait.\n{table}\n## Tests\n{list}")
}

fn write_proofs(list: &mut String, number: &str, proofs: &BTreeSet<(String, String)>) {
    if proofs.is_empty() {
        return;
    }
    let _ = write!(list, "\n**{number}**\n\n");
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, test) in proofs {
        by_file.entry(file).or_default().push(format!("`{test}`"));
    }
    for (file, tests) in by_file {
        let _ = writeln!(list, "- {file}: {}", tests.join(", "));
    }
}

#[test]
fn the_coverage_of_the_contract_is_up_to_date() {
    let path = project_dir().join(COVERAGE);
    let made = document();
    if std::env::var_os("SKEIN_BLESS").is_some() {
        std::fs::write(&path, &made).expect("writes");
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let stale = made.lines().find(|line| !there.lines().any(|other| other == *line));
    let stale = stale.or_else(|| there.lines().find(|line| !made.lines().any(|other| other == *line)));
    assert!(there == made, "{COVERAGE} is out of date, write it anew with SKEIN_BLESS=1; first difference: {stale:?}");
}

#[test]
fn every_clause_has_a_test_or_a_sentence_on_what_it_waits_for() {
    let (clauses, tests) = (clauses(), tests());
    assert!(clauses.len() > 50, "the list is whole");
    for Clause { number, open, title, .. } in &clauses {
        let proved = tests.contains_key(number);
        assert!(proved || open.as_ref().is_some_and(|open| open.contains("wait")), "{number}: nothing proves it");
        assert!(!title.is_empty(), "{number} has no title");
    }
    let numbers: BTreeSet<&String> = clauses.iter().map(|clause| &clause.number).collect();
    assert_eq!(numbers.len(), clauses.len(), "a clause stands twice");
    // Sections beyond the list are A and U; a test of another letter that matches nothing is a slip of the pen.
    let slips: Vec<&String> = tests.keys().filter(|it| !it.starts_with(['A', 'U']) && !numbers.contains(it)).collect();
    assert_eq!(slips, Vec::<&String>::new(), "tests name clauses that are not in the list");
}

#[test]
fn test_names_are_read_as_they_are_meant() {
    let source = "#[test]\nfn c08_one() {}\nfn c09_no_test() {}\n    #[tokio::test]\n    async fn r02a_two() {}\n\
                  #[test]\n#[ignore = \"slow\"]\nfn plain() {}\n// fn c01_said_only()\n";
    assert_eq!(tests_in(source), ["c08_one", "r02a_two", "plain"]);
    let clauses: Vec<Option<String>> = tests_in(source).iter().map(|test| clause_of(test)).collect();
    assert_eq!(clauses, [Some("C8".to_owned()), Some("R2a".to_owned()), None]);
    for other in ["a_run_ends", "l1_x", "c10", "cab_x", "a01_", "l01ab_x"] {
        assert_eq!(clause_of(other), None, "{other}");
    }
}
