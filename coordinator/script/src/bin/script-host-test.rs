//! Does what the product's `main` does for the hidden subcommands, so that this crate's tests have real hosts.

#[global_allocator]
static ALLOCATOR: skein_script::sandbox::CappedAllocator = skein_script::sandbox::CappedAllocator;

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("script-zygote") => skein_script::child::zygote_main(),
        Some("script-host") => skein_script::child::host_main(),
        _ => std::process::ExitCode::from(2),
    }
}
