//! A disk that is full and a store that cannot be written: the person is told, and what was stored stays.
#![expect(clippy::expect_used, reason = "a test says what it expects")]

use skein_tests::Skein;
use std::path::Path;
use std::process::Command;

/// A small file system of its own, unmounted with the test. The tests run as root or these two cannot.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn tmpfs<'a>(path: &'a Path, options: &str) -> Mount<'a> {
        std::fs::create_dir_all(path).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(path).status();
        assert!(mounted.expect("mount runs").success(), "mounting needs root");
        Mount(path)
    }

    fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0).status();
        assert!(done.expect("mount runs").success());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _left_for_the_system = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_interrupts_the_run_and_says_so_and_room_lets_it_go_on() {
    let skein = Skein::new();
    let store = skein.store();
    let mount = Mount::tmpfs(&store, "size=1500k");
    // Random, because a store that compresses would find room for anything else.
    let body = "let n = 0;
        const noise = () => Array.from({ length: 2500 }, () => random().toString(36).slice(2)).join('')
        for (let i = 0; i < 60; i++) { await agent(noise()); n++ }
        return n";
    let script = skein.workflow("w.js", body);
    let ended = skein.run_json(&script, &["--runner", "simulated"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("full") && ended.stderr.contains("skein resume"), "{}", ended.stderr);
    mount.remount("size=64m");
    let run = skein.only_run();
    let view = skein.run(["resume", &run, "--json"]).completed();
    assert_eq!(view["result"], 60);
    drop(mount);
}

#[test]
fn a_read_only_store_refuses_runs_and_still_shows_them() {
    let skein = Skein::new();
    let store = skein.store();
    let mount = Mount::tmpfs(&store, "size=64m");
    let script = skein.workflow("w.js", "return 42");
    let view = skein.run_json(&script, &[]).completed();
    mount.remount("ro");
    let ended = skein.run_json(&script, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("read-only"), "{}", ended.stderr);
    let result = skein.run(["result", view["run"].as_str().expect("an id")]);
    assert_eq!((result.code, result.stdout.trim()), (Some(0), "42"), "{}", result.stderr);
    mount.remount("rw");
    drop(mount);
}
