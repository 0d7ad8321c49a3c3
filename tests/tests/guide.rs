//! Every code block of `docs/workflows.md`, checked and run.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use serde_json::Value;
use skein_tests::{Skein, project_dir};
use std::path::{Path, PathBuf};

const META: &str = "export const meta = { name: 'guide', description: 'a block of the guide' }\n";

/// A fenced block: its language, the words after it, and its text.
#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    words: Vec<String>,
    text: String,
}

impl Block {
    /// The value of `key=value` in the words after the language.
    fn word(&self, key: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn is_refused(&self) -> bool {
        self.word("check") == Some("refused")
    }

    /// What the last line promises: `// gives JSON`.
    fn gives(&self) -> Option<Value> {
        let promised = self.text.lines().last()?.strip_prefix("// gives ")?;
        Some(serde_json::from_str(promised).unwrap_or_else(|error| panic!("line {}: {error}", self.line)))
    }

    fn script(&self) -> String {
        if self.text.starts_with("export const meta") { self.text.clone() } else { format!("{META}{}", self.text) }
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if self.word("runner") != Some("definitions") {
            flags.extend(["--runner".to_owned(), "simulated".to_owned()]);
        }
        for key in ["args", "budget"] {
            if let Some(value) = self.word(key) {
                flags.extend([format!("--{key}"), value.to_owned()]);
            }
        }
        flags
    }
}

fn guide() -> Vec<Block> {
    let text = std::fs::read_to_string(project_dir().join("docs/workflows.md")).expect("the guide");
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let mut words = info.split_whitespace().map(str::to_owned);
        let language = words.next().unwrap_or_default();
        blocks.push(Block { line: number + 1, language, words: words.collect(), text: body.join("\n") });
    }
    blocks
}

/// A project with the files that the guide shows, and each script in a file of its own.
fn project() -> (Skein, Vec<(Block, PathBuf)>) {
    let skein = Skein::new();
    let (scripts, files): (Vec<Block>, Vec<Block>) = guide().into_iter().partition(|block| block.language == "js");
    for file in files {
        let name = file.word("file").unwrap_or_else(|| panic!("line {}: a block that nothing tests", file.line));
        skein.write(name, &format!("{}\n", file.text));
    }
    let write = |block: Block| {
        let path = skein.write(&format!("line-{}.js", block.line), &block.script());
        (block, path)
    };
    let scripts: Vec<(Block, PathBuf)> = scripts.into_iter().map(write).collect();
    assert!(scripts.len() > 10, "the guide has scripts");
    (skein, scripts)
}

fn check(skein: &Skein, script: &Path) -> Option<i32> {
    skein.run([Path::new("check"), script]).code
}

#[test]
fn every_script_of_the_guide_passes_the_check_or_is_refused_as_it_says() {
    let (skein, scripts) = project();
    for (block, path) in scripts {
        let expected = if block.is_refused() { 2 } else { 0 };
        assert_eq!(check(&skein, &path), Some(expected), "line {}:\n{}", block.line, block.text);
    }
}

#[test]
fn every_script_of_the_guide_completes_and_gives_what_it_says() {
    let (skein, scripts) = project();
    for (block, path) in scripts.iter().filter(|(block, _)| !block.is_refused()) {
        println!("line {}", block.line);
        let flags = block.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let view = skein.run_json(path, &flags).completed();
        if let Some(promised) = block.gives() {
            assert_eq!(view["result"], promised, "line {}:\n{}", block.line, block.text);
        }
        let warnings = view["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let odd = warnings.iter().find(|warning| warning.to_string().contains("unknown"));
        assert!(odd.is_none(), "line {}: {odd:?}", block.line);
    }
}

#[test]
fn what_the_script_of_a_definition_reports_is_counted() {
    let (skein, scripts) = project();
    let (_, path) = scripts.iter().find(|(block, _)| block.text.contains("'todo'")).expect("shown");
    let view = skein.run_json(path, &[]).completed();
    assert_eq!(view["tokens"]["input"], 12, "{view:#}");
    assert_eq!(view["degraded"], true);
}
