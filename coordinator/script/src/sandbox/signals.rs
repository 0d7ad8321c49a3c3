//! A stack overflow becomes a named cause: the handler runs on a stack of its own and says so before it exits.

use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::STACK_BYTES;
use super::emergency::{Cause, end};

const HANDLER_STACK_BYTES: usize = 64 << 10;
/// How far below the limit a fault still counts as an overflow: one large frame may step over the guard page.
const BELOW: usize = 4 << 20;

/// An address near the bottom end of the main thread's stack.
static STACK_TOP: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_fault(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with SA_SIGINFO.
    let address = unsafe { (*info).si_addr() } as usize;
    let top = STACK_TOP.load(Relaxed);
    let lowest = top.saturating_sub(STACK_BYTES as usize + BELOW);
    end(if (lowest..=top).contains(&address) { Cause::Stack } else { Cause::Crash })
}

/// For the calling thread, which must be the only one. Kept over `fork`.
pub(super) fn install() -> io::Result<()> {
    let here = 0_u8;
    STACK_TOP.store((&raw const here) as usize, Relaxed);
    let memory = Box::leak(vec![0_u8; HANDLER_STACK_BYTES].into_boxed_slice());
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: HANDLER_STACK_BYTES };
    // SAFETY: the memory is leaked, so it outlives the registration; the action is fully initialised and its handler
    // has the signature that SA_SIGINFO asks for.
    unsafe {
        if libc::sigaltstack(&raw const stack, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_fault as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            if libc::sigaction(signal, &raw const action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}
