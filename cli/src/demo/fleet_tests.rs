//! What `skein demo` promises about its fleet.

use std::path::PathBuf;

use super::*;

/// A folder of its own for one test, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skein-demo-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn small(seed: u64) -> FleetSettings {
    FleetSettings { seed, hosts: 5, apps: 12, lines: 400 }
}

/// Path and text of every file below a folder, in order.
fn contents(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_seed_gives_the_same_bytes_each_time_and_another_seed_gives_others() {
    let (one, same, other) = (Folder::new("one"), Folder::new("same"), Folder::new("other"));
    let planted = generate(&small(7), &one.0).unwrap();
    assert_eq!(generate(&small(7), &same.0).unwrap(), planted);
    generate(&small(8), &other.0).unwrap();
    assert_eq!(contents(&one.0), contents(&same.0));
    assert_ne!(contents(&one.0), contents(&other.0));
}

#[test]
fn seed_1_plants_the_documented_incident() {
    let folder = Folder::new("documented");
    let planted = generate(&small(1), &folder.0).unwrap();
    assert_eq!((planted.kind, planted.service.as_str()), ("fullgc", "spring-boot-api-03"));
    assert_eq!((planted.addr.as_str(), planted.at.as_str()), ("10.20.2.23:8080", "2026-11-20T02:47:23"));
    let gc = folder.read("hosts/spring-boot-api-03/var/log/spring-boot/gc.log");
    let pause = gc.lines().find(|line| line.contains("Pause Full (G1 Compaction Pause)")).unwrap();
    assert!(pause.starts_with("[2026-11-20T02:47:23.000+0800]") && pause.contains(" 8000."), "{pause}");
}

#[test]
fn the_planted_count_is_the_number_of_502s_in_the_window() {
    for seed in 1..=4 {
        let folder = Folder::new(&format!("count-{seed}"));
        let planted = generate(&small(seed), &folder.0).unwrap();
        let in_window = |line: &&str| line.contains("[20/Nov/2026:02:") && line.contains(" HTTP/1.1\" 502 ");
        let hosts = 1..=5;
        let found: usize = hosts
            .map(|host| {
                folder.read(&format!("hosts/nginx-00{host}/var/log/nginx/access.log")).lines().filter(in_window).count()
            })
            .sum();
        assert_eq!(planted.total_502, found as u64, "seed {seed}");
        assert!(found > 10, "seed {seed}: an incident shows");
    }
}

#[test]
fn the_inventory_names_every_host_folder() {
    let folder = Folder::new("inventory");
    generate(&small(2), &folder.0).unwrap();
    let inventory: Value = serde_json::from_str(&folder.read("inventory.json")).unwrap();
    let names: Vec<&str> =
        inventory["hosts"].as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5 + 12 + 3);
    for name in names {
        assert!(folder.0.join("hosts").join(name).is_dir(), "{name}");
    }
}

#[test]
fn the_culprit_is_never_one_of_the_innocent() {
    for seed in 0..200 {
        for apps in [2, 3, 50] {
            let plan = plan(&FleetSettings { seed, apps, ..FleetSettings::default() }, &mut Random::new(seed)).unwrap();
            let innocent = [plan.innocent.deploy.0, plan.innocent.system_gc.0, plan.innocent.pool_blip.0];
            assert!(!innocent.contains(&plan.culprit), "seed {seed}, {apps} services");
            assert!(plan.pauses.iter().all(|pause| pause.length_ms > READ_TIMEOUT_S * 1000), "seed {seed}");
        }
    }
}

#[test]
fn sizes_that_make_no_fleet_are_refused() {
    for settings in [
        FleetSettings { hosts: 0, ..small(1) },
        FleetSettings { apps: 1, ..small(1) },
        FleetSettings { apps: 51, ..small(1) },
    ] {
        assert_eq!(generate(&settings, Path::new("unused")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
