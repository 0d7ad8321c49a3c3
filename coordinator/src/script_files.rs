//! Reads the files that `workflow({scriptPath})` names: below the folders that the run was submitted with, and nowhere
//! else (C40, R2a).

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// A longer file is no script; the script host has a cap of its own below it.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const NOT_THERE: &str = "there is no such file below the project or the script's folder";

/// The text of a script, or for the script that asked why there is none. A relative path counts from the first root
/// that has it. Links are followed first, so that none leads out of the roots.
///
/// # Errors
/// A sentence: it is not there, not below a root, or not a text file.
pub fn read_script(roots: &[String], path: &str) -> Result<String, String> {
    let file = locate(roots, Path::new(path))?;
    let mut bytes = Vec::new();
    let opened = open_located(&file).and_then(|file| {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(metadata);
        }
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(metadata)
    });
    match opened {
        Ok(metadata) if !metadata.is_file() => Err(String::from("it is not a file")),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => Err(format!("it is larger than {FILE_BYTES_MAX} bytes")),
        Ok(_) => String::from_utf8(bytes).map_err(|_| String::from("it is not UTF-8 text")),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

/// Opens the very file that was located: it may have been replaced since by a link or a pipe.
fn open_located(located: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(located, flags, Mode::empty())?);
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if opened == located { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn locate(roots: &[String], path: &Path) -> Result<PathBuf, String> {
    let roots: Vec<PathBuf> = roots.iter().filter_map(|root| Path::new(root).canonicalize().ok()).collect();
    let found: Vec<PathBuf> = roots.iter().filter_map(|root| root.join(path).canonicalize().ok()).collect();
    // What lies outside is not told apart from what is not there: a script shall not look around by asking.
    let allowed = found.into_iter().find(|file| roots.iter().any(|root| file.starts_with(root)));
    let file = allowed.ok_or_else(|| String::from(NOT_THERE))?;
    // A pipe would make the reader wait for its writer.
    if file.is_file() { Ok(file) } else { Err(String::from("it is not a file")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Place {
            let dir = tempfile::tempdir().expect("a folder");
            for (name, text) in
                [("project/a.js", "a"), ("script/a.js", "other"), ("script/b.js", "b"), ("out.js", "out")]
            {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().expect("a parent")).expect("creates");
                std::fs::write(path, text).expect("writes");
            }
            Place { dir }
        }

        fn path(&self, name: &str) -> String {
            self.dir.path().join(name).to_string_lossy().into_owned()
        }

        fn read(&self, path: &str) -> Result<String, String> {
            read_script(&[self.path("project"), self.path("script"), self.path("gone")], path)
        }

        fn link(&self, to: &str, at: &str) {
            std::os::unix::fs::symlink(self.path(to), self.path(at)).expect("links");
        }
    }

    #[test]
    fn r02a_a_relative_path_counts_from_the_first_root_that_has_it() {
        let place = Place::new();
        for (path, text) in [("a.js", "a"), ("./b.js", "b"), ("../script/a.js", "other")] {
            assert_eq!(place.read(path).as_deref(), Ok(text), "{path}");
        }
        assert_eq!(place.read(&place.path("script/b.js")).as_deref(), Ok("b"));
        assert_eq!(place.read("c.js"), Err(NOT_THERE.to_owned()));
    }

    #[test]
    fn r02a_nothing_outside_of_the_roots_is_read_not_even_through_a_link() {
        let place = Place::new();
        place.link("out.js", "project/link.js");
        place.link("", "project/up");
        place.link("script/b.js", "project/inner.js");
        for path in ["../out.js", "link.js", "up/out.js", &place.path("out.js"), "/etc/passwd"] {
            assert_eq!(place.read(path), Err(NOT_THERE.to_owned()), "{path}");
        }
        assert_eq!(place.read("inner.js").as_deref(), Ok("b"), "a link from one root into another");
    }

    #[test]
    fn r02a_what_is_no_text_file_is_refused_and_nothing_waits() {
        let place = Place::new();
        std::fs::write(place.path("project/bytes.js"), [0xff, 0xfe]).expect("writes");
        std::fs::File::create(place.path("project/big.js")).expect("creates").set_len(5 << 20).expect("grows");
        assert_eq!(place.read("bytes.js"), Err("it is not UTF-8 text".to_owned()));
        assert_eq!(place.read("big.js"), Err("it is larger than 4194304 bytes".to_owned()));
        assert_eq!(place.read("."), Err("it is not a file".to_owned()));
        let socket = std::os::unix::net::UnixListener::bind(place.path("project/socket.js")).expect("binds");
        assert_eq!(place.read("socket.js"), Err("it is not a file".to_owned()));
        drop(socket);
    }
}
