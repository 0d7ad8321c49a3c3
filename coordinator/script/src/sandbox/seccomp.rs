//! The system calls that an interpreter needs which holds a socket and nothing else.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Allowed with any arguments.
const PLAIN: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Allowed unless the memory becomes executable.
const PROTECTING: &[libc::c_long] = &[libc::SYS_mmap, libc::SYS_mprotect];

/// Every other call kills the process from here on.
pub(super) fn apply() -> io::Result<()> {
    let Some(architecture) = architecture() else { return Ok(()) };
    let program = compile(architecture).map_err(|error| io::Error::other(error.to_string()))?;
    apply_filter(&program).map_err(|error| io::Error::other(error.to_string()))
}

fn architecture() -> Option<TargetArch> {
    if cfg!(target_arch = "x86_64") {
        Some(TargetArch::x86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(TargetArch::aarch64)
    } else {
        None
    }
}

fn compile(architecture: TargetArch) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().map(|call| (*call, Vec::new())).collect();
    for call in PROTECTING {
        let executable = libc::PROT_EXEC as u64;
        let never = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
        rules.insert(*call, vec![SeccompRule::new(vec![never])?]);
    }
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_for_both_architectures() {
        assert!(compile(TargetArch::x86_64).unwrap().len() > PLAIN.len());
        assert!(compile(TargetArch::aarch64).unwrap().len() > PLAIN.len());
    }
}
