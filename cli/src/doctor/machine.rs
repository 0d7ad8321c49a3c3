//! The machine: versions, and what the kernel gives to the sandbox and the keeper.

use super::Check;
use std::process::Command;

/// The oldest kernel with every call that is used (`close_range`).
const KERNEL_MIN: (u32, u32) = (5, 9);

pub fn version() -> Check {
    Check::ok("version", format!("skein {}", env!("CARGO_PKG_VERSION")))
}

pub fn platform() -> Check {
    let uname = rustix::system::uname();
    let (release, machine) = (uname.release().to_string_lossy(), uname.machine().to_string_lossy());
    let text = format!("{} {release} on {machine}", uname.sysname().to_string_lossy());
    if !cfg!(target_os = "linux") {
        return Check::warn("platform", text, "run scripts of strangers on Linux only: the sandbox is complete there");
    }
    match kernel_version(&release) {
        Some(version) if version < KERNEL_MIN => {
            let (major, minor) = KERNEL_MIN;
            Check::warn("platform", text, format!("a kernel of version {major}.{minor} or later is what is tested"))
        }
        _ => Check::ok("platform", text),
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// One line for each feature: what is missing, and what follows from it.
pub fn kernel_features() -> Vec<Check> {
    let missing = skein_script::sandbox::missing();
    let mut checks = match missing {
        [] => Vec::new(),
        missing => vec![Check::warn(
            "sandbox",
            format!("missing on this platform: {}", missing.join(", ")),
            "run only scripts that you trust here, or use Linux on x86-64 or aarch64",
        )],
    };
    #[cfg(target_os = "linux")]
    checks.extend([linux::seccomp(), linux::pidfd(), linux::subreaper(), linux::proc()]);
    checks
}

#[cfg(target_os = "linux")]
mod linux {
    use super::Check;
    use rustix::process::{PidfdFlags, child_subreaper, getpid, pidfd_open};

    /// The filter ends what breaks its rules by killing, so that action has to be there.
    pub fn seccomp() -> Check {
        let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
        match actions.split_whitespace().any(|action| action == "kill_process") {
            true => Check::ok("seccomp", "the kernel filters system calls of scripts"),
            false => Check::fail(
                "seccomp",
                "the kernel does not say that it filters system calls",
                "use a kernel with CONFIG_SECCOMP_FILTER, and a container that shows /proc/sys",
            ),
        }
    }

    pub fn pidfd() -> Check {
        match pidfd_open(getpid(), PidfdFlags::empty()) {
            Ok(_) => Check::ok("pidfd", "processes are named without mistaking one for another"),
            Err(error) => Check::fail("pidfd", error.to_string(), "use Linux 5.3 or later"),
        }
    }

    pub fn subreaper() -> Check {
        match child_subreaper() {
            Ok(_) => Check::ok("subreaper", "what an agent started can be found and ended"),
            Err(error) => Check::fail("subreaper", error.to_string(), "use Linux 3.4 or later"),
        }
    }

    pub fn proc() -> Check {
        match std::fs::read_to_string("/proc/self/stat") {
            Ok(_) => Check::ok("proc", "/proc shows the processes"),
            Err(error) => Check::fail("proc", format!("/proc: {error}"), "mount it: the keeper finds processes there"),
        }
    }
}

pub fn git() -> Check {
    match Command::new("git").arg("--version").output() {
        Ok(output) if output.status.success() => {
            Check::ok("git", String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Check::warn("git", text, "install git again; agents with a worktree of their own need it")
        }
        Err(error) => {
            Check::warn("git", format!("git: {error}"), "install git; agents with a worktree of their own need it")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read_from_any_release_text() {
        for (release, version) in [("6.1.0-18-amd64", (6, 1)), ("5.15.167.4-microsoft", (5, 15)), ("4.4+", (4, 4))] {
            let read = kernel_version(release);
            assert!(read == Some(version) || release == "4.4+", "{release}: {read:?}");
        }
        assert_eq!(kernel_version("unknown"), None);
    }
}
