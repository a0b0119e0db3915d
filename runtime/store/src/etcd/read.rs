//! Reading keys.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, GetOptions, GetResponse, KvClient};

use super::failure::{EtcdError, Failure, Meaning};
use super::keys::{self, KeyRange, KeySpace};
use super::members::{Members, Repeat};
use crate::api::{ListRequest, Listing, Revision, Versioned};
use crate::error::StoreError;

/// How long a member may take to answer a read.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// Keys per answer. More would keep etcd busy for too long at a time.
const PAGE: usize = 1000;

/// How often a list is started again when the history went on under it.
const LIST_ATTEMPTS: usize = 5;

/// A client that takes answers as large as a page of large values.
fn kv(client: &Client) -> KvClient {
    client
        .kv_client()
        .max_decoding_message_size(i32::MAX as usize)
}

/// The newest revision.
pub(super) async fn revision(members: &Members, space: &KeySpace) -> Result<Revision, StoreError> {
    let key = space.outside("");
    let ask = |client: Client| {
        let key = key.clone();
        async move {
            let options = GetOptions::new().with_count_only();
            kv(&client).get(key, Some(options)).await
        }
    };
    let answer = members.call(READ_LIMIT, Repeat::Harmless, ask).await;
    Ok(revision_of(&answer.map_err(Failure::into_read_error)?))
}

/// One key.
pub(super) async fn get(
    members: &Members,
    space: &KeySpace,
    key: &str,
) -> Result<Option<Versioned>, StoreError> {
    let key = space.outside(key);
    let ask = |client: Client| {
        let key = key.clone();
        async move { kv(&client).get(key, None).await }
    };
    let answer = members.call(READ_LIMIT, Repeat::Harmless, ask).await;
    let mut answer = answer.map_err(Failure::into_read_error)?;
    Ok(answer.take_kvs().pop().map(|entry| space.versioned(entry)))
}

/// The keys of a range, page by page, all at the revision of the first page.
pub(super) async fn list(
    members: &Members,
    space: &KeySpace,
    request: &ListRequest,
) -> Result<Listing, StoreError> {
    for _ in 0..LIST_ATTEMPTS {
        match list_once(members, space, request).await {
            Err(failure) if failure.meaning == Meaning::Compacted => {}
            listed => return listed.map_err(Failure::into_read_error),
        }
    }
    Err(StoreError::Unavailable {
        source: Arc::new(EtcdError::CompactedWhileReading),
    })
}

async fn list_once(
    members: &Members,
    space: &KeySpace,
    request: &ListRequest,
) -> Result<Listing, Failure> {
    let mut range = range(space, request);
    let limit = request.limit.unwrap_or(usize::MAX);
    let mut listing = Listing {
        items: Vec::new(),
        revision: 0,
        more: false,
    };
    loop {
        let size = (limit - listing.items.len()).min(PAGE);
        let mut page = page(members, &range, size, request.keys_only, listing.revision).await?;
        if listing.revision == 0 {
            listing.revision = revision_of(&page);
        }
        let entries = page.take_kvs();
        let last = entries.last().map(|entry| entry.key().to_vec());
        // Nothing is asked for with a limit of zero, which etcd takes for none.
        let taken = entries.into_iter().take(size);
        listing
            .items
            .extend(taken.map(|entry| space.versioned(entry)));
        listing.more = page.more() || (size == 0 && last.is_some());
        match last {
            Some(last) if page.more() && listing.items.len() < limit => {
                range.start = keys::following(last);
            }
            _ => return Ok(listing),
        }
    }
}

/// What is left of the prefix after the key to start from.
fn range(space: &KeySpace, request: &ListRequest) -> KeyRange {
    let mut range = space.under(&request.prefix);
    if let Some(after) = &request.after {
        range.start = range.start.max(keys::following(space.outside(after)));
    }
    range
}

/// One answer of etcd; at the newest revision if `at` is 0.
async fn page(
    members: &Members,
    range: &KeyRange,
    size: usize,
    keys_only: bool,
    at: Revision,
) -> Result<GetResponse, Failure> {
    let ask = |client: Client| {
        let KeyRange { start, end } = range.clone();
        let mut options = GetOptions::new()
            .with_range(end)
            .with_limit(i64::try_from(size.max(1)).unwrap_or(i64::MAX))
            .with_revision(keys::signed(at));
        if keys_only {
            options = options.with_keys_only();
        }
        async move { kv(&client).get(start, Some(options)).await }
    };
    members.call(READ_LIMIT, Repeat::Harmless, ask).await
}

fn revision_of(answer: &GetResponse) -> Revision {
    answer
        .header()
        .map_or(0, |header| keys::revision(header.revision()))
}
