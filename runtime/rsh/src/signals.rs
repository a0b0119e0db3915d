//! Signals that are passed on instead of ending this process.
#![allow(
    unsafe_code,
    reason = "the standard library knows no signals, and this program uses nothing else"
)]

use std::mem::MaybeUninit;

/// Linux's numbers on every architecture that Lote runs on: hang-up, interrupt, quit, two for the
/// user, terminate.
const PASSED_ON: [i32; 6] = [1, 2, 3, 10, 12, 15];

const SIG_BLOCK: i32 = 0;

/// What the C library calls `sigset_t`: 1024 bits on Linux.
#[repr(C)]
struct Set([u64; 16]);

unsafe extern "C" {
    fn sigemptyset(set: *mut Set) -> i32;
    fn sigaddset(set: *mut Set, signal: i32) -> i32;
    fn pthread_sigmask(how: i32, set: *const Set, old: *mut Set) -> i32;
    fn sigwait(set: *const Set, signal: *mut i32) -> i32;
}

/// The signals that are held back in all threads and fetched one by one.
pub(crate) struct Signals(Set);

/// Holds the signals back that are passed on. Before there is another thread.
pub(crate) fn hold_back() -> Signals {
    let mut set = MaybeUninit::<Set>::uninit();
    // SAFETY: the first call initialises the set, whose size is that of the C library's type; the
    // others read it. No pointer is kept.
    let set = unsafe {
        sigemptyset(set.as_mut_ptr());
        for signal in PASSED_ON {
            sigaddset(set.as_mut_ptr(), signal);
        }
        pthread_sigmask(SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        set.assume_init()
    };
    Signals(set)
}

impl Signals {
    /// Waits for the next one.
    pub(crate) fn next(&self) -> Option<u8> {
        let mut signal = 0;
        // SAFETY: both pointers are valid for the call, and the set is initialised.
        let failed = unsafe { sigwait(&raw const self.0, &raw mut signal) };
        u8::try_from(signal).ok().filter(|_| failed == 0)
    }
}
