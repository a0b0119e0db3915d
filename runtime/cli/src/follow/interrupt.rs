//! Ctrl-C: the first asks for the job's end, the second leaves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, iterator};

use crate::exit;

/// Yields once per interrupt; ends when there can be no more.
pub type Interrupts = Box<dyn Iterator<Item = ()> + Send>;

/// The process's own interrupts. From the second one on the process ends at
/// once, whatever it is doing: a daemon that hangs must not hold the user.
pub fn of_process() -> Interrupts {
    let seen = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the condition is looked at before it is set.
        let _ =
            flag::register_conditional_shutdown(signal, i32::from(exit::INTERRUPTED), seen.clone());
        let _ = flag::register(signal, seen.clone());
    }
    match iterator::Signals::new([SIGINT, SIGTERM]) {
        Ok(mut signals) => Box::new(std::iter::from_fn(move || {
            signals.forever().next().map(|_| ())
        })),
        // Without a handler a signal ends the process, as everywhere.
        Err(_) => Box::new(std::iter::empty()),
    }
}
