//! The files of the page are part of the program: when one comes or goes, the program is made again.

fn main() {
    println!("cargo:rerun-if-changed=web");
}
