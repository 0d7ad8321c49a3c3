//! Lineage: whether a process is one of an attempt's, or was started by one (A5).

use super::descendants::{Marked, Process, marked};
use std::io;

/// More ancestors than any process has; whoever has more is not let in.
const ANCESTORS_MAX: usize = 1000;

/// Looks at the process and everybody it descends from: at its top, a keeper or a mark in an environment tells.
/// What an attempt leaves behind becomes a child of its keeper, so nobody escapes by losing a parent.
///
/// # Errors
/// The process or one of its ancestors went away meanwhile: nobody can say.
pub fn descends_from_attempt(process: i32) -> io::Result<bool> {
    let mut next = process;
    for _ in 0..ANCESTORS_MAX {
        if next <= 1 {
            return Ok(false);
        }
        if is_keeper(next)? || matches!(marked(next), Marked::By(_)) {
            return Ok(true);
        }
        next = Process::read(next).ok_or(io::ErrorKind::NotFound)?.parent;
    }
    Ok(true)
}

/// A keeper is this program with `keeper` for its only argument; what it starts cannot change that.
fn is_keeper(process: i32) -> io::Result<bool> {
    let command_line = std::fs::read(format!("/proc/{process}/cmdline"))?;
    let mut arguments = command_line.split(|byte| *byte == 0).skip(1);
    Ok(arguments.next() == Some(b"keeper") && arguments.all(<[u8]>::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a05_this_process_is_nobodys_and_a_marked_child_is() {
        let own = i32::try_from(std::process::id()).expect("fits");
        assert!(!descends_from_attempt(own).expect("can be looked at"));
        let mut child = std::process::Command::new("sleep")
            .arg("86400")
            .envs([("SKEIN_RUN", "wf_1"), ("SKEIN_AGENT", "1"), ("SKEIN_ATTEMPT", "1")])
            .spawn()
            .expect("starts");
        let pid = i32::try_from(child.id()).expect("fits");
        // For an instant a program that is being started has no environment yet.
        while marked(pid) == Marked::Unclear {
            std::thread::yield_now();
        }
        let is_descendant = descends_from_attempt(pid);
        child.kill().expect("ends");
        child.wait().expect("ended");
        assert!(is_descendant.expect("can be looked at"));
    }

    #[test]
    fn a05_a_process_that_is_gone_is_an_error() {
        assert!(descends_from_attempt(i32::MAX).is_err());
    }
}
