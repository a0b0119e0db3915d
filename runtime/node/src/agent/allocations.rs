//! Follows the allocations of this node and keeps one task for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lote_model::allocation::{Allocation, AllocationPhase};
use lote_model::id::JobUid;
use lote_model::key;
use lote_store::{Event, ListRequest, Revision, StoreError, Versioned, Watch, WatchBatch};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Node, sweep, task};

/// Pause after a failed call of the store.
const RETRY: Duration = Duration::from_millis(500);

/// What the leader wants of one allocation now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    /// What to do; `None` once the allocation is gone.
    pub(super) phase: Option<AllocationPhase>,
    /// The revision of the allocation, which guards the node's reports.
    pub(super) revision: Revision,
}

/// The tasks of this node by job.
struct Tasks {
    node: Arc<Node>,
    directives: HashMap<JobUid, (u32, watch::Sender<Directive>)>,
    swept: bool,
}

/// Works until `stop` is cancelled.
pub(super) async fn follow(node: Arc<Node>, stop: CancellationToken) {
    let mut tasks = Tasks {
        node,
        directives: HashMap::new(),
        swept: false,
    };
    while !stop.is_cancelled() {
        tokio::select! {
            result = tasks.list_and_watch() => {
                if let Err(error) = result {
                    tracing::warn!(%error, "lost sight of this node's allocations; looking again");
                    tokio::time::sleep(RETRY).await;
                }
            }
            () = stop.cancelled() => {}
        }
    }
}

impl Tasks {
    async fn list_and_watch(&mut self) -> Result<(), StoreError> {
        let prefix = key::allocations_of(&self.node.config.name);
        let listing = self.node.store.list(ListRequest::prefix(&prefix)).await?;
        let mut present = Vec::new();
        for item in &listing.items {
            present.extend(self.put(item));
        }
        self.directives.retain(|uid, (_, directive)| {
            let keep = present.contains(uid);
            if !keep {
                withdraw(directive);
            }
            keep
        });
        if !std::mem::replace(&mut self.swept, true) {
            let expected = present.iter().map(JobUid::to_string).collect();
            tokio::spawn(sweep::remove_strays(Arc::clone(&self.node), expected));
        }
        let watch = self.node.store.watch(&prefix, listing.revision + 1).await?;
        self.follow_watch(watch).await
    }

    async fn follow_watch(&mut self, mut watch: Watch) -> Result<(), StoreError> {
        loop {
            let WatchBatch { events, .. } = watch.next().await?;
            for event in events {
                match event {
                    Event::Put(item) => {
                        self.put(&item);
                    }
                    Event::Delete { key, .. } => self.delete(&key),
                }
            }
        }
    }

    /// Takes in an allocation; a new one gets a task. Gives its job.
    fn put(&mut self, item: &Versioned) -> Option<JobUid> {
        let allocation: Allocation = match serde_json::from_slice(&item.value) {
            Ok(allocation) => allocation,
            Err(error) => {
                tracing::error!(key = item.key, %error, "an allocation cannot be read; ignoring it");
                return None;
            }
        };
        let uid = allocation.uid.clone();
        let directive = Directive {
            phase: Some(allocation.phase),
            revision: item.mod_revision,
        };
        match self.directives.get(&uid) {
            Some((attempt, sender)) if *attempt == allocation.attempt => {
                sender.send_replace(directive);
            }
            _ => {
                let (sender, receiver) = watch::channel(directive);
                self.directives
                    .insert(uid.clone(), (allocation.attempt, sender));
                tokio::spawn(task::run(Arc::clone(&self.node), allocation, receiver));
            }
        }
        Some(uid)
    }

    fn delete(&mut self, key: &str) {
        let Some(uid) = key.rsplit('/').next() else {
            return;
        };
        if let Some((_, directive)) = self.directives.remove(&JobUid::new(uid)) {
            withdraw(&directive);
        }
    }
}

fn withdraw(directive: &watch::Sender<Directive>) {
    directive.send_modify(|directive| directive.phase = None);
}
