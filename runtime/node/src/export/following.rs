//! The exports of this node as they are in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use lote_model::export::Export;
use lote_model::id::FileServerUid;
use lote_model::key;
use lote_model::problem::explain;
use lote_store::{
    Entry, Event, ListRequest, Revision, StoreError, Versioned, WatchBatch, list_json,
};
use tokio::sync::watch;

use super::ExportNode;

/// Pause after a failed call of the store.
const RETRY: Duration = Duration::from_millis(500);

/// All exports that the leader wants here.
pub(super) type Wanted = BTreeMap<FileServerUid, WantedExport>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedExport {
    pub(super) export: Export,
    /// The revision of its key, which guards the node's reports.
    pub(super) revision: Revision,
}

/// Keeps `wanted` as the store has it; `None` until it was read once. While the store is away,
/// what was read last stays.
pub(super) async fn follow(node: &ExportNode, wanted: watch::Sender<Option<Wanted>>) {
    loop {
        match list_and_watch(node, &wanted).await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error @ StoreError::Decode { .. }) => tracing::error!(
                error = explain(&error),
                "an export cannot be read; all stay as they were"
            ),
            Err(error) => tracing::debug!(
                error = explain(&error),
                "lost sight of this node's exports; looking again"
            ),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn list_and_watch(
    node: &ExportNode,
    wanted: &watch::Sender<Option<Wanted>>,
) -> Result<(), StoreError> {
    let prefix = key::exports_of(&node.name);
    // One that cannot be read must not look like one that is gone.
    let listing = list_json::<Export>(&*node.store, ListRequest::prefix(&prefix)).await?;
    let listed: Wanted = listing.items.into_iter().map(wanted_export).collect();
    wanted.send_if_modified(|now| {
        let is_new = now.as_ref() != Some(&listed);
        *now = Some(listed);
        is_new
    });
    let mut watch = node.store.watch(&prefix, listing.revision + 1).await?;
    loop {
        let WatchBatch { events, .. } = watch.next().await?;
        wanted.send_modify(|now| {
            let now = now.get_or_insert_default();
            for event in &events {
                apply(now, event);
            }
        });
    }
}

fn apply(wanted: &mut Wanted, event: &Event) {
    match event {
        Event::Put(item) => wanted.extend(read(item)),
        Event::Delete { key, .. } => {
            if let Some(uid) = key.rsplit('/').next() {
                wanted.remove(&FileServerUid::new(uid));
            }
        }
    }
}

fn read(item: &Versioned) -> Option<(FileServerUid, WantedExport)> {
    match Entry::<Export>::try_from(item.clone()) {
        Ok(entry) => Some(wanted_export(entry)),
        Err(error) => {
            tracing::error!(
                error = explain(&error),
                "an export cannot be read; it stays as it was"
            );
            None
        }
    }
}

fn wanted_export(entry: Entry<Export>) -> (FileServerUid, WantedExport) {
    let wanted = WantedExport {
        revision: entry.mod_revision,
        export: entry.value,
    };
    (wanted.export.uid.clone(), wanted)
}
