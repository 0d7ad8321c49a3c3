//! Stands in for the `skein` binary in the tests of this crate: it can be a keeper and nothing else.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("keeper") => skein_worker::keeper_main(),
        _ => std::process::exit(2),
    }
}
