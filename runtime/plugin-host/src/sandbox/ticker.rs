//! The clock behind deadlines: a thread that counts an engine's epochs up.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::Engine;

/// Ticks without a call before the thread sleeps until the next one. An idle
/// daemon then has no wake-ups, a busy one does not wake the thread for every call.
const IDLE_TICKS: u32 = 20;

/// The thread. It ends with this value.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
}

/// While this lives, epochs are counted.
pub(crate) struct Ticking<'a> {
    shared: &'a Shared,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    calls: usize,
    asleep: bool,
    stopped: bool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let counted = Arc::clone(&shared);
        // Weak: the thread must not keep the engine and its code alive.
        let engine = engine.weak();
        std::thread::Builder::new()
            .name("plugin-ticker".to_owned())
            .spawn(move || {
                while counted.wait_for_tick(tick) {
                    let Some(engine) = engine.upgrade() else {
                        return;
                    };
                    engine.increment_epoch();
                }
            })?;
        Ok(Self { shared })
    }

    pub(crate) fn begin_call(&self) -> Ticking<'_> {
        let mut state = self.shared.lock();
        state.calls += 1;
        if std::mem::take(&mut state.asleep) {
            self.shared.changed.notify_all();
        }
        Ticking {
            shared: &self.shared,
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.shared.lock().calls -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one tick while calls run, and for a call when none has for a
    /// while. False: the ticker is gone.
    fn wait_for_tick(&self, tick: Duration) -> bool {
        let mut state = self.lock();
        for _ in 0..IDLE_TICKS {
            let waited = self
                .changed
                .wait_timeout_while(state, tick, |state| !state.stopped);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.stopped || state.calls > 0 {
                return !state.stopped;
            }
        }
        state.asleep = true;
        let waited = self
            .changed
            .wait_while(state, |state| state.asleep && !state.stopped);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        !state.stopped
    }
}
