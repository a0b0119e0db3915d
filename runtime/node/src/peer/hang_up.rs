//! Ends a command when nobody listens to it any more. What it has made a daemon of goes on: it is
//! not in the command's process group.

use std::sync::Arc;
use std::time::Duration;

use lote_model::problem::explain;
use lote_rsh::protocol::StartId;
use nix::sys::signal::Signal;

use super::member::Member;
use super::process::record_of;
use crate::launch::{Attached, Supervised, attach};

/// How long a command may take to end after SIGHUP and SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// How long a command goes on when a daemon is being restarted or the network is down. The
/// program `lote-rsh` tries as long to find it again.
const UNATTENDED_MAX: Duration = Duration::from_mins(5);

/// Sends the command SIGHUP, SIGTERM and, after the grace period, SIGKILL.
pub(super) async fn hang_up(process: &Supervised) {
    for signal in [Signal::SIGHUP, Signal::SIGTERM] {
        send(process, signal);
    }
    if tokio::time::timeout(GRACE, process.wait()).await.is_err() {
        send(process, Signal::SIGKILL);
    }
}

/// Passes a signal on to the command's process group.
pub(super) fn send(process: &Supervised, signal: Signal) {
    if let Err(error) = process.signal(signal) {
        tracing::warn!(
            error = explain(&error),
            "cannot signal a remotely started command"
        );
    }
}

/// Hangs up on a running command unless somebody attends to it in time.
pub(super) fn unless_attended(member: &Arc<Member>, id: StartId) {
    let attention = member.attend(id);
    let member = Arc::clone(member);
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(UNATTENDED_MAX) => {}
            () = attention.replaced.cancelled() => return,
            () = member.over().cancelled() => return,
        }
        let record = record_of(&member.parts.records, id);
        if let Ok(Attached::Running(process)) = attach(&record) {
            tracing::info!(job = %member.parts.uid, "nobody asks for a remotely started command any more");
            hang_up(&process).await;
        }
        member.leave(&id, &attention);
    });
}
