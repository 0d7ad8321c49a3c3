//! The benchmark: measures the workloads of `docs/bench.md` and prints them beside their bars. It asserts no time.

use clap::Parser as _;
use skein_tests::bench::{Arguments, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Arguments::parse())
}
