//! The worker's own memory after a task that returned much: given back, instead of kept for the next such task.
//!
//! The allocator of glibc takes the largest block that was ever freed for what is usual, and from then on keeps twice as
//! much, on every thread (mallopt(3), `M_MMAP_THRESHOLD`). One task with a large output would so cost tens of megabytes
//! for ever.
#![allow(unsafe_code)]

/// Blocks of at least this size go back when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK_BYTES: i32 = 256 << 10;

/// From now on, in the whole process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn keep_no_large_blocks() {
    // SAFETY: it sets a parameter of the allocator, under the allocator's own lock.
    let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES) } == 1;
    if !is_set {
        tracing::debug!("the allocator keeps large blocks");
    }
}

/// Other allocators need no telling.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn keep_no_large_blocks() {}
