//! Resource limits and privileges of a host.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::STACK_BYTES;
use crate::limits::HostLimits;

/// Room for the binary, the zygote's heap and the allocator's own waste.
const ADDRESS_SPACE_BASE: u64 = 1 << 30;

pub(super) fn apply(limits: &HostLimits) -> io::Result<()> {
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, 0)?;
    lower(Resource::Nofile, 8)?;
    lower(Resource::Nproc, 0)?;
    lower(Resource::As, limits.memory_bytes.saturating_mul(2).saturating_add(ADDRESS_SPACE_BASE))
}

/// Nobody may look into the process, and it gains no privilege by executing.
#[cfg(target_os = "linux")]
pub(super) fn drop_privileges() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// The stack of a process that is executed after this call.
pub(super) fn set_stack() -> io::Result<()> {
    let now = getrlimit(Resource::Stack);
    let current = now.maximum.map_or(STACK_BYTES, |maximum| maximum.min(STACK_BYTES));
    Ok(setrlimit(Resource::Stack, Rlimit { current: Some(current), maximum: now.maximum })?)
}

fn lower(resource: Resource, to: u64) -> io::Result<()> {
    let to = getrlimit(resource).maximum.map_or(to, |maximum| maximum.min(to));
    Ok(setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })?)
}
