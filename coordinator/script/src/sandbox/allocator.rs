//! A global allocator that ends a host which passes its memory cap, and costs everybody else one relaxed load.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::Relaxed};

use super::emergency::{Cause, end};

static COUNTING: AtomicBool = AtomicBool::new(false);
/// Signed: what was allocated before counting began may be freed later.
static USED: AtomicIsize = AtomicIsize::new(0);
static CAP: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Set it as `#[global_allocator]` of the binary that serves the hidden subcommands.
///
/// In a host, an allocation past the cap ends the process with the cause `memory`; elsewhere it is [`System`].
#[derive(Debug, Default, Clone, Copy)]
pub struct CappedAllocator;

pub(super) fn count() {
    COUNTING.store(true, Relaxed);
}

pub(super) fn cap(bytes: usize) {
    CAP.store(bytes, Relaxed);
}

#[inline]
fn take(bytes: usize) {
    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
    let used = USED.fetch_add(bytes, Relaxed).saturating_add(bytes);
    if usize::try_from(used).is_ok_and(|used| used > CAP.load(Relaxed)) {
        end(Cause::Memory)
    }
}

#[inline]
fn give_back(bytes: usize) {
    USED.fetch_sub(isize::try_from(bytes).unwrap_or(isize::MAX), Relaxed);
}

/// The system itself has no more: in a host that is the cap of the address space.
#[inline]
fn or_end(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() && COUNTING.load(Relaxed) && CAP.load(Relaxed) != usize::MAX {
        end(Cause::Memory)
    }
    pointer
}

// SAFETY: every method hands its arguments unchanged to `System` and returns what that returned; the counters have no
// influence on the memory.
unsafe impl GlobalAlloc for CappedAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Relaxed) {
            take(layout.size());
        }
        // SAFETY: the caller's promise about `layout`.
        or_end(unsafe { System.alloc(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Relaxed) {
            take(layout.size());
        }
        // SAFETY: the caller's promise about `layout`.
        or_end(unsafe { System.alloc_zeroed(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if COUNTING.load(Relaxed) {
            give_back(layout.size());
        }
        // SAFETY: the caller's promise about `pointer` and `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if COUNTING.load(Relaxed) {
            if size > layout.size() {
                take(size - layout.size());
            } else {
                give_back(layout.size() - size);
            }
        }
        // SAFETY: the caller's promise about `pointer`, `layout` and `size`.
        or_end(unsafe { System.realloc(pointer, layout, size) })
    }
}
