//! `docs/skein.d.ts` says what a script sees: no more, no less.
#![expect(clippy::expect_used, clippy::panic, reason = "a test says what it expects")]

use serde_json::Value;
use skein_tests::{Skein, project_dir};
use std::collections::BTreeSet;

/// What TypeScript's own declarations of the language know, and `TypedArray`, which the engine shows by name.
const LANGUAGE: &str = "AggregateError Array ArrayBuffer BigInt BigInt64Array BigUint64Array Boolean DataView Date \
    Error EvalError Float16Array Float32Array Float64Array Function Infinity Int16Array Int32Array Int8Array Iterator \
    JSON Map Math NaN Number Object Promise Proxy RangeError ReferenceError Reflect RegExp Set String Symbol \
    SyntaxError TypeError TypedArray URIError Uint16Array Uint32Array Uint8Array Uint8ClampedArray WeakMap WeakSet \
    decodeURI decodeURIComponent encodeURI encodeURIComponent eval globalThis isFinite isNaN parseFloat parseInt \
    undefined";

fn declarations() -> String {
    std::fs::read_to_string(project_dir().join("docs/skein.d.ts")).expect("the declarations")
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Names that are declared as values.
fn declared(text: &str) -> BTreeSet<String> {
    let kinds = ["declare function ", "declare const ", "declare class "];
    let names = text.lines().filter_map(|line| kinds.iter().find_map(|kind| line.strip_prefix(kind)));
    names.map(|rest| identifier(rest).to_owned()).collect()
}

/// The members of the block that begins with this line.
fn members(text: &str, head: &str) -> BTreeSet<String> {
    let (_, block) = text.split_once(head).unwrap_or_else(|| panic!("no `{head}`"));
    let lines = block.lines().skip(1).take_while(|line| !line.starts_with('}'));
    let lines = lines.filter_map(|line| line.strip_prefix("  ")).map(|line| line.trim_start_matches("readonly "));
    lines.map(|line| identifier(line).to_owned()).filter(|name| !name.is_empty() && name != "constructor").collect()
}

fn run(body: &str) -> Value {
    let skein = Skein::new();
    let script = skein.workflow("names.js", body);
    skein.run_json(&script, &["--runner", "simulated"]).completed()
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_array().expect("names").iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

#[test]
fn c07_every_global_is_declared_and_every_declaration_is_a_global() {
    let mut globals = names(&run("return Object.getOwnPropertyNames(globalThis)")["result"]);
    globals.retain(|name| !LANGUAGE.split_whitespace().any(|known| known == name));
    assert_eq!(globals, declared(&declarations()));
}

#[test]
fn the_members_of_our_objects_are_the_declared_ones() {
    let body = "const of = (value) => Object.getOwnPropertyNames(value).filter((name) => name !== 'constructor')
        return { console: of(console), budget: of(budget), URL: of(URL.prototype),
                 TextEncoder: of(TextEncoder.prototype), TextDecoder: of(TextDecoder.prototype) }";
    let view = run(body);
    let text = declarations();
    for (name, head) in [
        ("console", "declare const console:"),
        ("budget", "declare const budget:"),
        ("URL", "declare class URL "),
        ("TextEncoder", "declare class TextEncoder "),
        ("TextDecoder", "declare class TextDecoder "),
    ] {
        assert_eq!(members(&text, head), names(&view["result"][name]), "{name}");
    }
}

#[test]
fn c23_the_options_of_agent_are_the_declared_ones() {
    let view = run("return agent('x', { unheard: 1 })");
    let warning = view["warnings"][0].as_str().expect("a warning");
    let (_, known) = warning.split_once("known are ").expect("the list of options");
    let known: BTreeSet<String> = known.split(", ").map(str::to_owned).collect();
    assert_eq!(members(&declarations(), "interface AgentOptions "), known);
}

#[test]
fn the_fields_of_meta_are_the_declared_ones() {
    let skein = Skein::new();
    let all = "{ name: 'a', description: 'b', whenToUse: 'c', phases: [{ title: 'd', detail: 'e', model: 'f' }] }";
    let script = skein.write("meta.js", &format!("export const meta = {all}\n"));
    let checked = skein.run(["check".as_ref(), script.as_os_str(), "--json".as_ref()]).json();
    assert_eq!(checked["warnings"], serde_json::json!([]));
    let declared = members(&declarations(), "interface WorkflowMeta ");
    let wanted = ["name", "description", "whenToUse", "phases"].map(str::to_owned);
    assert_eq!(declared, BTreeSet::from(wanted));
}
