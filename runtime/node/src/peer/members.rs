//! The jobs that take part here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lote_model::id::JobUid;
use tokio::sync::Notify;

use super::Member;

/// The jobs whose processes may be started from other nodes, one attempt of each.
#[derive(Debug, Default)]
pub(crate) struct Members {
    known: Mutex<HashMap<JobUid, Arc<Member>>>,
    added: Notify,
}

impl Members {
    pub(super) fn add(&self, member: &Arc<Member>) {
        self.lock()
            .insert(member.parts.uid.clone(), Arc::clone(member));
        self.added.notify_waiters();
    }

    /// Forgets a member, unless a later attempt has its place.
    pub(super) fn remove(&self, member: &Member) {
        let mut known = self.lock();
        let uid = &member.parts.uid;
        if known
            .get(uid)
            .is_some_and(|found| std::ptr::eq(Arc::as_ptr(found), member))
        {
            known.remove(uid);
        }
    }

    /// Waits until the attempt takes part here and is prepared. For one that the store says runs:
    /// this node may see that a moment later than the node that asks.
    pub(super) async fn prepared(&self, uid: &JobUid, attempt: u32) -> Arc<Member> {
        loop {
            let mut added = std::pin::pin!(self.added.notified());
            added.as_mut().enable();
            let known = self.lock().get(uid).map(Arc::clone);
            if let Some(member) = known.filter(|member| member.parts.attempt == attempt) {
                member.prepared().await;
                return member;
            }
            added.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobUid, Arc<Member>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
