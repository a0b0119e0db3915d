//! From a store in use to lines.
//!
//! Pages are read one after another while others write. What they change is watched from the
//! revision before the first page and follows the pages, up to one revision, at which all lines
//! together are the state.

use crate::api::{ListRequest, Revision, Store, Watch};
use crate::dump::EXPORT_SYNC;
use crate::dump::line::{self, End, Header};
use crate::error::StoreError;
use crate::transaction::Transaction;

/// How many values are read at once; the largest take 1.5 MiB each.
const PAGE: usize = 64;

/// An export under way.
#[derive(Debug)]
pub struct Export {
    left_out: &'static [&'static str],
    stage: Stage,
    changes: Watch,
    id: String,
    lines: u64,
}

#[derive(Debug)]
enum Stage {
    Header(Header),
    Pages { after: Option<String> },
    Changes { until: Revision },
    Done,
}

impl Export {
    /// Begins. `id` is that of no other export. Keys that start with one of `left_out` are not
    /// told: those that are bound to leases, and mean nothing once their owner is gone.
    pub async fn begin(
        store: &dyn Store,
        header: Header,
        id: String,
        left_out: &'static [&'static str],
    ) -> Result<Self, StoreError> {
        let revision = store.revision().await?;
        Ok(Self {
            left_out,
            changes: store.watch("", revision + 1).await?,
            id,
            stage: Stage::Header(header),
            lines: 0,
        })
    }

    /// The next lines; none after the last. Fails with [`StoreError::Compacted`] if it took so
    /// long that the history of what changed meanwhile is gone; begin again.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            let lines = match &self.stage {
                Stage::Header(header) => {
                    let mut line = header.write()?;
                    line.push(b'\n');
                    self.stage = Stage::Pages { after: None };
                    line
                }
                Stage::Pages { after } => {
                    let after = after.clone();
                    self.page(store, after).await?
                }
                Stage::Changes { until } => {
                    let until = *until;
                    self.change(until).await?
                }
                Stage::Done => return Ok(None),
            };
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    async fn page(
        &mut self,
        store: &dyn Store,
        after: Option<String>,
    ) -> Result<Vec<u8>, StoreError> {
        let listing = store
            .list(ListRequest {
                after,
                limit: Some(PAGE),
                ..ListRequest::default()
            })
            .await?;
        let mut lines = Vec::new();
        for versioned in &listing.items {
            if self.is_told(&versioned.key) {
                line::put(versioned, &mut lines)?;
                self.lines += 1;
            }
        }
        self.stage = if listing.more {
            Stage::Pages {
                after: listing.items.last().map(|last| last.key.clone()),
            }
        } else {
            Stage::Changes {
                until: self.mark_end(store).await?,
            }
        };
        Ok(lines)
    }

    /// Makes a revision that the watch will tell.
    async fn mark_end(&self, store: &dyn Store) -> Result<Revision, StoreError> {
        let transaction = Transaction::new().put_json(EXPORT_SYNC, &self.id)?;
        Ok(store.commit(transaction).await?.revision())
    }

    async fn change(&mut self, until: Revision) -> Result<Vec<u8>, StoreError> {
        let batch = loop {
            match self.changes.next().await {
                Err(StoreError::Unavailable { source }) => {
                    tracing::debug!(%source, "an export waits for the store");
                }
                batch => break batch?,
            }
        };
        let mut lines = Vec::new();
        if batch.revision <= until {
            for event in &batch.events {
                if self.is_told(event.key()) {
                    line::event(event, &mut lines)?;
                    self.lines += 1;
                }
            }
        }
        if batch.revision >= until {
            let end = End {
                lines: self.lines,
                revision: until,
            };
            lines.extend(line::end(end)?);
            self.stage = Stage::Done;
        }
        Ok(lines)
    }

    fn is_told(&self, key: &str) -> bool {
        key != EXPORT_SYNC && !self.left_out.iter().any(|prefix| key.starts_with(prefix))
    }
}
