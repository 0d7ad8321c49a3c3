//! Each sentence of C1 to C6 and C13 that the preparation has to keep.

use skein_common::script::{Loaded, PhaseDeclaration, ScriptError, ScriptErrorKind};

use super::{Prepared, prepare};

/// The parser needs more stack than a test thread has.
fn on_a_host_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(128 << 20).spawn(work).unwrap().join().unwrap()
}

fn try_prepare(source: &str) -> Result<Prepared, ScriptError> {
    let source = source.to_owned();
    on_a_host_stack(move || prepare(&source))
}

#[track_caller]
fn loaded(source: &str) -> Loaded {
    try_prepare(source).unwrap().loaded
}

#[track_caller]
fn refused(source: &str) -> ScriptError {
    try_prepare(source).map(|prepared| prepared.loaded).unwrap_err()
}

/// A script with these fields in `meta` beside the required ones.
fn with_field(field: &str) -> String {
    format!("export const meta = {{ name: 'n', description: 'd', {field} }}\nreturn 1")
}

fn with_body(body: &str) -> String {
    format!("export const meta = {{ name: 'n', description: 'd' }}\n{body}")
}

fn place(error: &ScriptError) -> (u32, u32) {
    (error.line.unwrap(), error.column.unwrap())
}

#[test]
fn c01_comments_before_meta_and_any_spacing_are_accepted() {
    for head in [
        "// a\n/* b\n */ export const meta",
        "// a\r\nexport\tconst  meta",
        "// a\rexport\nconst\n/* x */ meta",
        "// a\u{2028}export const // y\u{2029} meta",
        "\u{feff}export const meta",
        "#!/usr/bin/env skein\nexport const meta",
        "\u{feff}#!/usr/bin/env skein\r\n\r\nexport const meta",
    ] {
        let meta = loaded(&format!("{head} = {{ name: 'n', description: 'd' }};return 1")).meta;
        assert_eq!(meta.name, "n", "{head:?}");
    }
}

#[test]
fn c01_anything_else_as_the_first_statement_is_refused() {
    for source in [
        "",
        "  // only a comment",
        "return 1",
        "const meta = { name: 'n', description: 'd' }",
        "export let meta = { name: 'n', description: 'd' }",
        "export var meta = { name: 'n', description: 'd' }",
        "const meta = {}; export { meta }",
        "export { meta }",
        "export default { name: 'n', description: 'd' }",
        "const x = 1\nexport const meta = { name: 'n', description: 'd' }",
        "'use strict'\nexport const meta = { name: 'n', description: 'd' }",
        ";export const meta = { name: 'n', description: 'd' }",
        "export const metadata = { name: 'n', description: 'd' }",
        "export const meta",
        "/* not closed",
    ] {
        let error = refused(source);
        let says = error.message.contains("meta must be the first statement") || error.kind == ScriptErrorKind::Syntax;
        assert!(says, "{source:?}: {error:?}");
    }
    let error = refused("\n\n  const x = 1");
    assert_eq!((error.kind, place(&error)), (ScriptErrorKind::Meta, (3, 3)));
    assert_eq!(error.source_line.as_deref(), Some("  const x = 1"));
}

#[test]
fn c01_meta_is_declared_alone() {
    let error = refused("export const meta = { name: 'n', description: 'd' }, x = 1");
    assert_eq!(error.message, "meta must be declared alone");
}

#[test]
fn c02_literals_of_every_plain_kind_are_read() {
    let source = r#"export const meta = ({
        'name': `plain \u0041`, "description": 'it\'s \x41', whenToUse: "tab\tü😀",
        phases: [{ title: 'One', detail: "d", model: 'haiku', }, /* c */ { title: `Two` },],
        n: -1.5e3, h: 0x10, t: true, f: false, z: null, deep: { a: [[], {}] }, 7: 'seven',
    }) ;
    return 1"#;
    let meta = loaded(source).meta;
    assert_eq!((meta.name.as_str(), meta.description.as_str()), ("plain A", "it's A"));
    assert_eq!(meta.when_to_use.as_deref(), Some("tab\tü😀"));
    let two = PhaseDeclaration { title: "Two".to_owned(), detail: None, model: None };
    assert_eq!((meta.phases.len(), &meta.phases[1]), (2, &two));
    assert_eq!((meta.phases[0].detail.as_deref(), meta.phases[0].model.as_deref()), (Some("d"), Some("haiku")));
}

#[test]
fn c02_everything_else_is_refused_with_its_name_and_place() {
    for (field, says) in [
        ("x: y", "an identifier"),
        ("y", "an identifier"),
        ("x: f()", "a call"),
        ("x: 1 + 1", "an operator"),
        ("x: +1", "an operator"),
        ("x: !0", "an operator"),
        ("x: -'1'", "an operator"),
        ("x: a ? 1 : 2", "an operator"),
        ("...y", "spread"),
        ("x: [...y]", "spread"),
        ("['x']: 1", "computed keys"),
        ("get x() { return 1 }", "accessors"),
        ("x() {}", "methods"),
        ("async *x() {}", "methods"),
        ("x: () => 1", "a function"),
        ("x: function () {}", "a function"),
        ("x: class {}", "a class"),
        ("x: /a/", "a regular expression"),
        ("x: 1n", "a bigint"),
        ("x: [1, , 2]", "array holes"),
        ("x: new Date()", "new"),
        ("x: import('y')", "import()"),
        ("x: `a${1}`", "template interpolation"),
        ("x: tag`a`", "a tagged template"),
        ("x: a.b", "a property access"),
        ("x: await y", "await"),
    ] {
        let error = refused(&with_field(&format!("\n  {field}")));
        assert!(error.message.contains(says), "{field}: {}", error.message);
        assert!(matches!(place(&error).0, 1 | 2), "{field}: {error:?}");
    }
    let error = refused(&with_field("a: 1,\n  b: [0, f()]"));
    assert_eq!((error.kind, place(&error)), (ScriptErrorKind::Meta, (2, 10)));
    assert_eq!(error.source_line.as_deref(), Some("  b: [0, f()] }"));
}

#[test]
fn c02_meta_must_be_an_object_literal() {
    for (init, what) in [("'x'", "this literal"), ("[]", "an array"), ("f()", "a call"), ("x", "an identifier")] {
        let error = refused(&format!("export const meta = {init}\nreturn 1"));
        assert_eq!(error.message, format!("meta must be an object literal, not {what}"));
    }
}

#[test]
fn c03_name_and_description_are_required() {
    for name in ["", "name: '',", "name: 5,", "name: null,", "name: ['a'],"] {
        let error = refused(&format!("export const meta = {{ {name} description: 'd' }}"));
        assert_eq!(error.message, "meta.name must be a non-empty string");
    }
    for description in ["", "description: ``"] {
        let error = refused(&format!("export const meta = {{ name: 'n', {description} }}"));
        assert_eq!(error.message, "meta.description must be a non-empty string");
        assert_eq!(error.kind, ScriptErrorKind::Meta);
    }
}

#[test]
fn c03_malformed_optional_fields_are_dropped_with_a_warning() {
    let found =
        loaded(&with_field("whenToUse: 5, phases: ['a', { detail: 'd' }, { title: 'T', detail: 1, model: [] }]"));
    assert_eq!(found.meta.when_to_use, None);
    assert_eq!(found.meta.phases, [PhaseDeclaration { title: "T".to_owned(), detail: None, model: None }]);
    assert_eq!(
        found.warnings,
        [
            "meta.whenToUse must be a string; ignored",
            "meta.phases[0] must be an object with a title; ignored",
            "meta.phases[1].title must be a string; ignored",
            "meta.phases[2].detail must be a string; ignored",
            "meta.phases[2].model must be a string; ignored",
        ]
    );
    assert_eq!(loaded(&with_field("phases: {}")).warnings, ["meta.phases must be an array; ignored"]);
}

#[test]
fn c03_reserved_keys_are_refused_at_any_depth() {
    for key in ["__proto__", "'__proto__'", "constructor", "prototype"] {
        for field in [format!("{key}: 1"), format!("a: [{{ {key}: {{}} }}]")] {
            let error = refused(&with_field(&field));
            assert!(error.message.starts_with("reserved key name not allowed in meta"), "{}", error.message);
        }
    }
}

#[test]
fn c03_thirty_levels_are_fine_and_two_hundred_are_refused() {
    let nested = |depth: usize| with_field(&format!("x: {}1{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(try_prepare(&nested(30)).is_ok());
    let error = refused(&nested(200));
    assert!(error.message.starts_with("meta is too large"), "{}", error.message);
}

#[test]
fn c04_return_and_await_at_the_top_and_a_shadowed_meta_are_fine() {
    for body in
        ["return await 1", "if (1) return; await null", "{ const meta = 2; return meta }", "", "return () => {}"]
    {
        assert!(try_prepare(&with_body(body)).is_ok(), "{body}");
    }
    assert_eq!(refused(&with_body("with (a) {}")).kind, ScriptErrorKind::Syntax);
}

#[test]
fn c05_module_syntax_is_refused_with_place_and_line() {
    for (body, message, column) in [
        ("import x from 'y'", "import is not available in workflow scripts", 1),
        ("import { x } from 'y'", "import is not available in workflow scripts", 1),
        ("import 'y'", "import is not available in workflow scripts", 1),
        ("import * as x from 'y'", "import is not available in workflow scripts", 1),
        ("const u = import.meta.url", "import.meta is not available in workflow scripts", 11),
        ("const u = await import('y')", "import() is not available in workflow scripts", 17),
        ("function f() { return import('y') }", "import() is not available in workflow scripts", 23),
        ("export const x = 1", "only `export const meta` may be exported", 1),
        ("export default 1", "only `export const meta` may be exported", 1),
        ("export { x }", "only `export const meta` may be exported", 1),
    ] {
        let error = refused(&with_body(&format!("// comment\n{body}")));
        assert_eq!((error.kind, error.message.as_str()), (ScriptErrorKind::Syntax, message), "{body}");
        assert_eq!((place(&error), error.source_line.as_deref()), ((3, column), Some(body)), "{body}");
    }
}

#[test]
fn c05_the_same_words_elsewhere_are_fine() {
    for body in [
        "const o = { import(x) { return x }, export: 1 }; return o.import(2) + o.export",
        "class A { import() { return 1 } } return new A().import()",
        "return 'import x from y; export const z; import.meta'",
        "// import x from 'y'\n/* export default 1 */ return `import('x') ${1}`",
        "const require = 1; return require",
        "const important = 1, exports = 2; return important + exports",
    ] {
        assert!(try_prepare(&with_body(body)).is_ok(), "{body}: {:?}", refused(&with_body(body)));
    }
}

#[test]
fn c05_typescript_is_refused_and_says_so() {
    for body in ["const x: number = 1", "interface A { b: string }", "function f(a: string) {}", "type A = string"] {
        let error = refused(&with_body(&format!("const ok = 1\n{body}")));
        assert_eq!((error.kind, error.line), (ScriptErrorKind::Syntax, Some(3)), "{body}: {error:?}");
        assert!(error.message.contains("plain JavaScript"), "{body}: {}", error.message);
        assert_eq!(error.source_line.as_deref(), Some(body));
    }
}

#[test]
fn c06_places_count_in_the_authors_file_for_every_line_end() {
    for end in ["\n", "\r\n", "\r", "\u{2028}"] {
        let error = refused(&with_body("").replace('\n', end).replace("d' }", &format!("d' }}{end}  let = ;")));
        assert_eq!(place(&error).0, 2, "{end:?}: {error:?}");
        let multi = format!(
            "export const meta = {{{end} name: 'n',{end} description: 'd'{end}}}{end}const a = 1{end}const b = @"
        );
        let error = refused(&multi);
        assert_eq!((place(&error), error.source_line.as_deref()), ((6, 11), Some("const b = @")), "{end:?}");
    }
}

#[test]
fn c06_an_open_block_is_shown_at_the_end() {
    let error = refused(&with_body("if (true) {\n  return 1\n"));
    assert_eq!((error.kind, error.line), (ScriptErrorKind::Syntax, Some(3)), "{error:?}");
}

#[test]
fn c06_wrapping_keeps_lines_and_columns() {
    let source = "// c\nexport\nconst meta = {\n  name: 'n', // x\r\n  description: 'd',\n};\n  return 1 // last";
    let program = try_prepare(source).unwrap().source.program;
    let (author, wrapped): (Vec<_>, Vec<_>) = (source.split('\n').collect(), program.split('\n').collect());
    assert_eq!(wrapped.len(), author.len() + 1);
    assert_eq!(wrapped[6], author[6]);
    assert!(program.contains("(async()=>{") && program.ends_with("\n})()"));
    assert_eq!(program.matches('\r').count(), 1);
    // No line has room for the head.
    let narrow = "export\nconst\nmeta\n=\n{name\n:\n'n',\n'descrip\\\ntion':\n'd'}\nreturn 1";
    assert_eq!(try_prepare(narrow).unwrap().source.program.split('\n').nth(10), Some("return 1"));
}

#[test]
fn a_body_cannot_close_the_wrapper() {
    for body in ["}); evil(); (async()=>{", "})();(async()=>{", "}", "})\n(() => {"] {
        assert_eq!(refused(&with_body(body)).kind, ScriptErrorKind::Syntax, "{body}");
    }
}

#[test]
fn c08_clocks_and_randomness_are_found_dead_code_included() {
    let body = "const a = 'Date.now()' // Math.random()\nif (false) { Date.now() }\nconst r = Math.random\n  new Date()\n\
                new Date\nDate()\nDate?.now()\nDate['now']\nnew Date(0); Date.UTC(1, 2); Date.parse('x'); o.now(); new D.Date()";
    let places: Vec<_> = loaded(&with_body(body)).findings.iter().map(|f| (f.line, f.column)).collect();
    assert_eq!(places, [(3, 14), (4, 11), (5, 3), (6, 1), (7, 1), (8, 1), (9, 1)]);
    let finding = &loaded(&with_body("return Date.now()")).findings[0];
    assert!(finding.message.starts_with("Date.now() throws") && finding.message.contains("`args`"));
}

#[test]
fn c13_nested_patterns_with_rest_are_refused() {
    for body in [
        "const { b: { d }, ...rest } = o",
        "function f({ b: [d], ...rest }) {}",
        "for (const { b: { d }, ...rest } of o) {}",
        ";({ b: { d }, ...rest } = o)",
        "const f = ({ a: { b }, ...c }) => 1",
    ] {
        let error = refused(&with_body(body));
        assert!(error.message.contains("nested pattern and ...rest"), "{body}: {}", error.message);
        assert_eq!(error.line, Some(2));
    }
    for body in
        ["const { b, ...rest } = o", "const { b: { d } } = o", "const [{ a }, ...rest] = o", "f({ b: { d }, ...rest })"]
    {
        assert!(try_prepare(&with_body(body)).is_ok(), "{body}");
    }
}

#[test]
fn c05_early_errors_are_found_before_anything_runs() {
    for body in [
        "const r = /(/",
        "const r = /a{2,1}/u",
        "let a; let a",
        "const a",
        "break",
        "x: for (;;) { continue y }",
        "function f() { await 1 }",
        "class A { m() { this.#x } }",
        "new.target",
        "super.x",
        "let let = 1",
        "var arguments = 1",
        "delete x",
        "const o = 010",
        "({ a: 1, a }) = 1",
        "async () => { for await (const x in y); }",
        "`${",
        "'open",
    ] {
        assert_eq!(refused(&with_body(body)).kind, ScriptErrorKind::Syntax, "{body}");
    }
}

#[test]
fn c05_a_name_declared_twice_is_refused_in_any_function() {
    for body in [
        "let a\nlet a",
        "const a = 1\nclass a {}",
        "var a\nlet { b: [a] } = c",
        "function a() {}\nconst a = 1",
        "let a; { var b; }\nlet b",
        "const x = async () => { const a = 1\nconst a = 2 }",
        "class C { m() { let a\nlet a } }",
        "let a\nconst meta = 1",
    ] {
        let error = refused(&with_body(body));
        assert!(error.message.ends_with("has already been declared"), "{body}: {error:?}");
        assert_eq!(error.line, Some(3), "{body}: {error:?}");
    }
    for body in [
        "let a; { let a }",
        "var a; var a",
        "function a() {} function a() {}",
        "let a; const f = (a) => a",
        "var a; { let a }",
    ] {
        assert!(try_prepare(&with_body(body)).is_ok(), "{body}");
    }
}
