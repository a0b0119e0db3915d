//! Notices that a file system of a running job is gone.
//!
//! Where Lote's own client is the file system, its end is the end of the mount: every call fails
//! from then on. It cannot be put back under processes that have it open, so their job is over.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;

use super::client::{self, Client};
use super::layout::Layout;
use super::making::client_log;
use super::state::Made;

/// The code of a job that lost a file system.
const MOUNT_LOST: &str = "MountLost";

/// Returns when a file system of the job is gone: which one, and why.
pub(crate) async fn loss(layout: &Layout, made: &[Made], node: &NodeName) -> ErrorRecord {
    let ends = clients(made).map(|(number, client)| async move {
        client.ended().await;
        number
    });
    let mut ends: FuturesUnordered<_> = ends.collect();
    match ends.next().await {
        Some(number) => error(layout, made, number, node),
        None => std::future::pending().await,
    }
}

/// The same, if it is gone already.
pub(crate) fn lost(layout: &Layout, made: &[Made], node: &NodeName) -> Option<ErrorRecord> {
    let (number, _) = clients(made).find(|(_, client)| !client.is_alive())?;
    Some(error(layout, made, number, node))
}

fn clients(made: &[Made]) -> impl Iterator<Item = (usize, Client)> {
    let clients = made.iter().map(|made| made.client);
    let numbered = clients.enumerate();
    numbered.filter_map(|(number, client)| Some((number, client?)))
}

fn error(layout: &Layout, made: &[Made], number: usize, node: &NodeName) -> ErrorRecord {
    let relative = made.get(number).map_or("", |made| &made.relative);
    let message = format!(
        "the file system at '{relative}' was lost on node {node} while the job ran: its NFS client \
         (lote nfs-mount) has ended, and everything that uses it fails from then on; what it said \
         last is below, and the machine's log tells if memory ran out"
    );
    let error = ErrorRecord::new(MOUNT_LOST, message)
        .with("node", node.as_str())
        .with("relativeMountPath", relative);
    let said = client::said(&client_log(&layout.directory, number));
    if said.is_empty() {
        error
    } else {
        error.with("stderr", said.join("\n"))
    }
}
