//! The thread that waits for what the driver says unasked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::sync::mpsc;

use super::driver::{Driver, GpuEvent};

/// Lets the thread wait as long as this lives; then it ends within about a second, unless the
/// driver hangs.
#[derive(Debug)]
pub(super) struct Listening(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_unwanted: AtomicBool,
    has_ended: AtomicBool,
}

impl Listening {
    /// Whether the thread has given up, because the driver failed it.
    pub(super) fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.is_unwanted.store(true, Ordering::Relaxed);
    }
}

/// Starts to listen to a driver.
pub(super) fn listen(
    driver: Arc<dyn Driver>,
    heard: mpsc::UnboundedSender<GpuEvent>,
) -> std::io::Result<Listening> {
    let flags = Arc::new(Flags::default());
    let thread_flags = Arc::clone(&flags);
    let thread = thread::Builder::new().name("gpu-events".into());
    thread.spawn(move || {
        let mut tell = |event: Option<GpuEvent>| {
            let is_heard = event.is_none_or(|event| heard.send(event).is_ok());
            is_heard && !heard.is_closed() && !thread_flags.is_unwanted.load(Ordering::Relaxed)
        };
        if let Err(error) = driver.events(&mut tell) {
            tracing::warn!(%error, "errors of GPUs are not heard of");
        }
        thread_flags.has_ended.store(true, Ordering::Relaxed);
    })?;
    Ok(Listening(flags))
}
