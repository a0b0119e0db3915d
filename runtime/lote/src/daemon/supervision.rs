//! What systemd is told: that the daemon is ready, what it waits for, that it is alive.
//!
//! Where the daemon was started by something else, nothing is told to anybody.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// So often within the time after which systemd takes the daemon for dead.
const SIGNS_PER_TIMEOUT: u32 = 3;

/// The daemon does its work from now on.
pub(super) fn tell_ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon waits for something; `systemctl status` shows for what.
pub(super) fn tell_waiting(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The daemon ends by itself.
pub(super) fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told how the daemon does");
    }
}

/// Gives signs of life until `stop`, if systemd asks for them (`WatchdogSec=`).
///
/// A sign says that tasks run: a daemon that cannot run this one runs none. A store that is away
/// takes nothing from it, because another daemon could not reach that either.
pub(super) async fn give_signs_of_life(stop: CancellationToken) {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(pause(timeout));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        tell(&[NotifyState::Watchdog]);
    }
}

/// Between two signs; never nothing, which no timer takes.
fn pause(timeout: Duration) -> Duration {
    (timeout / SIGNS_PER_TIMEOUT).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_signs_fit_into_the_time_limit() {
        assert_eq!(pause(Duration::from_secs(30)), Duration::from_secs(10));
        assert!(!pause(Duration::ZERO).is_zero());
    }
}
