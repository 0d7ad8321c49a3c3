//! The page at `/`, in a real browser: what it shows, to whom, and that nobody's text does anything in it.

use serde_json::{Value, json};
use skein_common::Payload;
use skein_common::agent::Simulation;
use skein_common::run::RunSpec;
use skein_tests::browser::{Browser, keys};
use skein_tests::eventually;
use skein_tests::served::{Answer, Served};

const POLICY: &str = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn submit(served: &Served, spec: &RunSpec) -> String {
    let answer = served.ask("POST", "/runs", &json!({ "spec": spec }).to_string());
    answer.json()["run"].as_str().unwrap_or_else(|| unreachable!("{}", answer.body)).to_owned()
}

fn view(served: &Served, run: &str) -> Value {
    served.ask("GET", &format!("/runs/{run}"), "").json()
}

fn ended(served: &Served, run: &str) -> Value {
    eventually("the run ends", || {
        let view = view(served, run);
        ["completed", "failed", "stopped"].iter().any(|end| view["status"] == *end).then_some(view)
    })
}

/// Holds the run, and gives how it stands then.
fn pause(served: &Served, run: &str) -> Value {
    let answer = served.ask("POST", &format!("/runs/{run}/pause"), "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    eventually("it pauses", || Some(view(served, run)).filter(|view| view["status"] == "paused"))
}

/// Lets it go on, as soon as somebody executes it.
fn resume(served: &Served, run: &str) {
    eventually("it goes on", || (served.ask("POST", &format!("/runs/{run}/resume"), "").status == 200).then_some(()));
}

fn slow(body: &str, latency_ms: u64) -> RunSpec {
    RunSpec { simulation: Simulation { latency_ms, ..Simulation::default() }, ..skein_tests::system::spec(body) }
}

/// A window at this place of the page, with the token.
fn at(served: &Served, place: &str) -> Browser {
    let browser = Browser::start();
    browser.open(&format!("{}/#token={}", served.url(), served.token()));
    browser.until("document.querySelector('h1')?.innerText === 'Runs'");
    if !place.is_empty() {
        browser.open(&format!("{}/#{place}", served.url()));
    }
    browser
}

/// The numbers that the page shows of a run, and those of this view.
fn shown_counts(browser: &Browser) -> Vec<String> {
    ["started", "done", "running", "queued", "failed", "tokens"]
        .map(|name| browser.text(&format!("#count-{name}")).replace(',', ""))
        .to_vec()
}

fn true_counts(view: &Value) -> Vec<String> {
    let agents = ["started", "done", "running", "queued", "failed"].map(|name| view["agents"][name].to_string());
    agents.into_iter().chain([view["tokens"]["total"].to_string()]).collect()
}

fn shows(browser: &Browser, view: &Value) {
    let expected = true_counts(view);
    eventually(&format!("{expected:?} is shown"), || (shown_counts(browser) == expected).then_some(()));
}

#[test]
fn files_of_the_page_are_open_and_say_what_a_browser_may_do_with_them() {
    let served = Served::default();
    let host = format!("Host: {}", served.address);
    let ask = |method: &str, path: &str, more: &[&str]| -> Answer {
        served.with_headers(method, path, &[&[host.as_str()], more].concat(), "")
    };
    let page = ask("GET", "/", &[]);
    assert!(page.status == 200 && page.body.contains("<title>Skein</title>"), "{}", page.body);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/web/main.js", "text/javascript; charset=utf-8"),
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
    ] {
        let answer = ask("GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}");
        for header in [
            POLICY,
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-cache",
            &format!("content-type: {content_type}"),
        ] {
            assert!(answer.head.contains(header), "{path} has no {header}: {}", answer.head);
        }
        assert!(!answer.head.contains("access-control-") && !answer.head.contains("set-cookie"), "{}", answer.head);
        let tag = answer.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").to_owned();
        let again = ask("GET", path, &[&format!("If-None-Match: {tag}")]);
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        let other = ask("GET", path, &["If-None-Match: \"other\""]);
        assert_eq!((other.status, other.body.len()), (200, answer.body.len()), "{path}");
        let head = ask("HEAD", path, &[]);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    for path in ["/web/none.js", "/web/index.html", "/web/", "/web/a/b", "/web/%2e%2e%2fCargo.toml", "/web/..%2f..%2f"]
    {
        let _detail = ask("GET", path, &[]).problem(404, "not-found");
    }
    let token = format!("Authorization: Bearer {}", served.token());
    for (method, path) in [("POST", "/"), ("DELETE", "/web/main.js"), ("GET", "/none")] {
        let _detail = ask(method, path, &[]).problem(401, "unauthorized");
        let _detail = ask(method, path, &[&token]).problem(404, "not-found");
    }
    let rebound = served.with_headers("GET", "/", &["Host: evil.example"], "");
    let _detail = rebound.problem(403, "forbidden");
    let said = served.skein.background_stderr();
    assert!(said.contains(&format!("http://{}/ ", served.address)), "{said}");
    assert!(!said.contains(&served.token()), "{said}");
}

#[test]
fn who_has_no_token_is_asked_for_one_and_sees_nothing() {
    let served = Served::default();
    let run = submit(&served, &skein_tests::system::spec("log('a secret'); return await agent('one')"));
    ended(&served, &run);
    let browser = Browser::start();
    let row = format!("document.querySelector('tr[data-run={run}]')");
    for place in ["/", &format!("/#/runs/{run}"), &format!("/#/runs/{run}/agents/1")] {
        browser.open("about:blank");
        browser.open(&format!("{}{place}", served.url()));
        browser.until("document.activeElement.id === 'token'");
        let asked =
            "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/api/')).length";
        assert_eq!(browser.tell(asked), json!(0), "{place}: nothing was asked");
        let seen = browser.text("body");
        assert!(!seen.contains(&run) && !seen.contains("secret"), "{place}: {seen}");
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
    browser.open(&served.url());
    browser.until("document.activeElement.id === 'token'");
    browser.write("not-the-token");
    browser.press(&[keys::ENTER]);
    browser.until("document.querySelector('#token-problem')?.innerText.includes('none of this API')");
    assert!(!browser.complaints().is_empty(), "the refusal stands in the browser's log, so what is wrong does");
    browser.until("document.activeElement.id === 'token'");
    browser.write(&served.token());
    browser.press(&[keys::ENTER]);
    browser.until(&row);
    // Another window has it not; one that was led here with it in the address keeps it out of the address.
    let other = at(&served, "");
    other.until(&row);
    assert_eq!(other.tell("return location.href"), json!(format!("{}/", served.url())));
    assert_eq!(other.tell("return [document.cookie, localStorage.length]"), json!(["", 0]));
    other.tab_to("#forget");
    other.press(&[keys::ENTER]);
    other.until("document.activeElement.id === 'token'");
    assert_eq!(other.tell("return sessionStorage.length"), json!(0));
    assert!(!other.text("body").contains(&run));
    assert_eq!(other.complaints(), Vec::<String>::new());
}

const THOUSAND: &str = "phase('first'); await parallel(Array.from({length: 500}, (_, i) => () => agent('a' + i)));
phase('second'); log('half of them'); await parallel(Array.from({length: 500}, (_, i) => () => agent('b' + i)));
return 'all of them'";

#[test]
fn a_run_of_a_thousand_agents_is_shown_as_it_is() {
    let served = Served::default();
    let browser = at(&served, "");
    // Not before there is somebody to see it.
    let run = submit(&served, &slow(THOUSAND, 100));
    browser.until(&format!("document.querySelector('tr[data-run={run}] .word')?.innerText === 'running'"));
    browser.open(&format!("{}/#/runs/{run}", served.url()));
    browser.until("Number(document.querySelector('#count-done')?.innerText) > 50");
    let held = pause(&served, &run);
    browser.until("document.querySelector('.title .word').innerText === 'paused'");
    shows(&browser, &held);
    assert!(held["agents"]["done"].as_u64() < Some(1000), "{held}");
    resume(&served, &run);
    let end = ended(&served, &run);
    browser.until("document.querySelector('.title .word').innerText === 'completed'");
    shows(&browser, &end);
    assert_eq!(end["agents"]["done"], 1000);
    // Each phase as the API has it.
    let phases = "return [...document.querySelectorAll('#phases tbody tr')].map((row) => [0, 1, 5].map((n) => row.children[n].innerText))";
    assert_eq!(browser.tell(phases), json!([["first", "500", "500"], ["second", "500", "500"]]));
    browser.until("document.querySelector('.result pre')?.innerText === 'all of them'");
    assert!(browser.text("#logs").contains("half of them"));
    browser.until("document.querySelector('#announcer').innerText.includes('1,000 of 1,000 agents ended')");
    // All rows are counted, and some of them are there.
    assert_eq!(browser.tell("return document.querySelector('#agents').ariaRowCount"), json!("1001"));
    let rows = browser.tell("return document.querySelectorAll('#agents tr.agent').length");
    assert!((10..200).contains(&rows.as_u64().expect("a number")), "{rows}");
    browser.tab_to("#agents a");
    browser.press(&[keys::END]);
    browser.until("document.activeElement.innerText === 'b499'");
    let last = browser.tell("return document.activeElement.closest('tr').innerText.replaceAll('\\t', ' ')");
    assert!(last.as_str().is_some_and(|text| text.contains("1000") && text.contains("done")), "{last}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A label, a prompt, a line, a title: what an agent or a script may write to harm who looks at it.
const HOSTILE: &str = "<img src=x onerror=\"window.hit = 1\"></script><script>window.hit = 2</script>\
     <a href=\"javascript:window.hit = 3\">\u{1b}[31m\u{1b}]0;title\u{7}\u{202e}txt.exe\u{0}&amp;";
/// The same as it is to be seen.
const SEEN: &str = "<img src=x onerror=\"window.hit = 1\"></script><script>window.hit = 2</script>\
     <a href=\"javascript:window.hit = 3\">\u{241b}[31m\u{241b}]0;title\u{2407}\u{27e8}202E\u{27e9}txt.exe\u{2400}&amp;";

#[test]
fn what_agents_and_scripts_write_is_text_and_nothing_else() {
    let served = Served::default();
    let text = json!(HOSTILE);
    let body = format!(
        "const text = {text}; phase(text); log(text); await agent(text, {{label: text}}); throw new Error(text)"
    );
    let meta = format!("export const meta = {{ name: 'hostile', description: {text} }}\n{body}");
    let run = submit(&served, &RunSpec { script: Payload::text(meta), ..skein_tests::system::spec("") });
    ended(&served, &run);
    let browser = at(&served, &format!("/runs/{run}/agents/1"));
    browser.until("document.querySelector('.prompt pre') && document.querySelector('#error pre, .error pre')");
    browser.until("document.querySelector('#agents a') && document.querySelector('#logs .said')");
    for place in [".prompt pre", ".error pre", "#logs .said", ".about", "#agents a", "#agent-title", "#phases tbody th"]
    {
        browser.until(&format!("document.querySelector({})?.textContent", json!(place)));
        let shown = browser.tell(&format!("return document.querySelector({}).textContent", json!(place)));
        let shown = shown.as_str().unwrap_or_default();
        // A title is cut.
        assert!(shown.contains(&SEEN[..100]), "{place}: {shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{7}', '\u{0}']), "{place}: {shown:?}");
    }
    for place in [".prompt pre", "#logs .said", ".about"] {
        let shown = browser.tell(&format!("return document.querySelector({}).textContent", json!(place)));
        assert_eq!(shown, json!(SEEN), "{place}");
    }
    assert_eq!(browser.tell("return window.hit ?? null"), Value::Null);
    let made = "return document.querySelectorAll('main img, main script, main iframe, a[href^=javascript]').length";
    assert_eq!(browser.tell(made), json!(0));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    // And were a script of ours careless, the browser would not let it.
    let careless = "try { document.body.innerHTML = '<img>'; return 'taken' } catch (error) { return error.name }";
    assert_eq!(browser.tell(careless), json!("TypeError"));
    assert!(!browser.complaints().is_empty(), "what the policy refuses stands in the log");
}

#[test]
fn the_keyboard_alone_reaches_a_run_its_agents_one_of_them_and_the_log() {
    let served = Served::default();
    let body = "for (let i = 0; i < 40; i++) { log('line', i); await agent('prompt ' + i, {label: 'agent ' + i}) }";
    let run = submit(&served, &skein_tests::system::spec(body));
    ended(&served, &run);
    let browser = Browser::start();
    browser.open(&served.url());
    browser.until("document.activeElement.id === 'token'");
    browser.write(&served.token());
    browser.press(&[keys::ENTER]);
    browser.until(&format!("document.querySelector('tr[data-run={run}]')"));
    browser.tab_to(&format!("tr[data-run={run}] a"));
    browser.press(&[keys::ENTER]);
    browser
        .until("document.activeElement.tagName === 'H1' && document.querySelectorAll('#agents tr.agent').length > 20");
    browser.tab_to("#filter-state");
    // A select takes the first letter of what it offers.
    browser.write("E");
    browser.until("document.querySelector('#agents-shown').innerText.startsWith('0 of 40 agents.')");
    browser.press(&[keys::HOME]);
    browser.until("document.querySelector('#agents-shown').innerText.startsWith('40 agents.')");
    browser.tab_to("#agents a");
    browser.press(&[keys::DOWN, keys::DOWN]);
    browser.until("document.activeElement.innerText === 'agent 2'");
    let outline = browser.tell("return getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, json!("solid"), "who has the keyboard is seen");
    browser.press(&[keys::ENTER]);
    browser.until("document.activeElement.id === 'agent-title' && document.querySelector('.prompt pre')");
    assert_eq!(browser.text("#agent-title"), "Agent 3: agent 2");
    assert_eq!(browser.text(".prompt pre"), "prompt 2");
    browser.tab_to(".agent-detail .close");
    browser.tab_to(".prompt pre");
    browser.tab_to(".output pre");
    browser.press(&[keys::ESCAPE]);
    browser.until("document.activeElement.innerText === 'agent 2' && !document.querySelector('#agent')");
    browser.tab_to("#logs");
    assert!(browser.text("#logs").contains("line 39"));
    // Once around, and by the first link past everything that comes before.
    browser.tab_to("#skip");
    browser.press(&[keys::ENTER]);
    browser.until("document.activeElement.id === 'main'");
    browser.tab_to("nav a");
    browser.press(&[keys::ENTER]);
    browser.until("document.activeElement.tagName === 'H1' && document.activeElement.innerText === 'Runs'");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_page_goes_on_where_it_was_when_its_server_comes_again() {
    let mut served = Served::default();
    let body = "for (let i = 0; i < 60; i++) { log('line', i); await agent('a' + i) }; return 1";
    let browser = at(&served, "");
    let run = submit(&served, &slow(body, 100));
    browser.open(&format!("{}/#/runs/{run}", served.url()));
    browser.until("Number(document.querySelector('#count-done')?.innerText) > 5");
    pause(&served, &run);
    served.kill_and_begin_again();
    browser.until("document.querySelector('#connection').dataset.state === 'again'");
    browser.until("document.querySelector('#connection').dataset.state === 'live'");
    eventually("it is taken up", || Some(view(&served, &run)).filter(|view| view["status"] == "paused"));
    browser.until("document.querySelector('.title .word')?.innerText === 'paused'");
    resume(&served, &run);
    browser.until("document.querySelector('.title .word')?.innerText === 'completed'");
    let end = ended(&served, &run);
    shows(&browser, &end);
    let lines = served.ask("GET", &format!("/runs/{run}/logs"), "").json();
    let expected: Vec<&Value> = lines["lines"].as_array().expect("lines").iter().map(|line| &line["text"]).collect();
    let shown = browser.tell("return [...document.querySelectorAll('#logs .said')].map((line) => line.innerText)");
    assert_eq!(shown, json!(expected), "each line once");
}

#[test]
fn a_stream_is_read_however_it_is_cut() {
    let served = Served::default();
    let browser = Browser::start();
    browser.open(&served.url());
    let text = ": skein\n\nid: 1.0\nevent: journal\ndata: {\"a\":\ndata:1}\n\nevent: view\r\ndata: x: y\r\n\r\ndata\n\nid: 9\n\n";
    let expected = json!([["1.0", "journal", "{\"a\":\n1}"], [null, "view", "x: y"], [null, "message", ""]]);
    let read = format!(
        "return import('/web/stream.js').then(({{ Pieces }}) => Array.from({{ length: {text}.length }}, (_, cut) => {{
             const pieces = new Pieces();
             const found = [{text}.slice(0, cut), {text}.slice(cut)].flatMap((part) => [...pieces.push(part)]);
             return found.map(({{ id, name, data }}) => [id, name, data]);
         }}))",
        text = json!(text)
    );
    let found = browser.tell(&read);
    assert_eq!(found.as_array().map(Vec::len), Some(text.len()));
    for (cut, pieces) in found.as_array().expect("a list").iter().enumerate() {
        assert_eq!(*pieces, expected, "cut at {cut}");
    }
}
