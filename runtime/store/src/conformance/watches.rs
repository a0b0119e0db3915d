//! Watching.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{apply, next, put, text};
use crate::{Event, ListRequest, Store, Transaction, Versioned, WatchBatch, Write};

/// The events as `key=value`, or `key` for a deletion.
fn told(batch: &WatchBatch) -> Vec<String> {
    let tell = |event: &Event| match event {
        Event::Put(versioned) => {
            assert_eq!(versioned.mod_revision, batch.revision);
            format!("{}={}", versioned.key, text(versioned))
        }
        Event::Delete { key, mod_revision } => {
            assert_eq!(*mod_revision, batch.revision);
            key.clone()
        }
    };
    batch.events.iter().map(tell).collect()
}

pub(super) async fn history_comes_first_then_what_happens(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    put(&*store, "a", "2").await;
    apply(&*store, Transaction::new().delete("a")).await;
    let mut all = store.watch("", first).await.unwrap();
    let mut some = store.watch("", first + 2).await.unwrap();
    let live = put(&*store, "b", "3").await;
    for (revision, expected) in (first..).zip(["a=1", "a=2", "a", "b=3"]) {
        let batch = next(&mut all).await;
        assert_eq!(
            (batch.revision, told(&batch)),
            (revision, vec![expected.to_owned()])
        );
    }
    assert_eq!(next(&mut some).await.revision, first + 2);
    let WatchBatch { revision, events } = next(&mut some).await;
    let expected = Versioned {
        key: "b".to_owned(),
        value: "3".into(),
        create_revision: live,
        mod_revision: live,
        version: 1,
    };
    assert_eq!((revision, events), (live, vec![Event::Put(expected)]));
}

pub(super) async fn only_the_prefix_is_told(store: Arc<dyn Store>) {
    let mut watch = store.watch("a/", 0).await.unwrap();
    put(&*store, "a", "1").await;
    put(&*store, "a0", "1").await;
    let both = Transaction::new()
        .put("b", "1")
        .put("a/x", "1")
        .put("a0", "2");
    let revision = apply(&*store, both).await;
    let batch = next(&mut watch).await;
    assert_eq!(
        (batch.revision, told(&batch)),
        (revision, vec!["a/x=1".to_owned()])
    );
}

pub(super) async fn a_batch_keeps_the_order_of_the_writes(store: Arc<dyn Store>) {
    apply(
        &*store,
        Transaction::new()
            .put("p/2", "1")
            .put("p/1", "1")
            .put("z", "1"),
    )
    .await;
    let mut watch = store.watch("", 0).await.unwrap();
    let mixed = Transaction::new()
        .put("y", "2")
        .delete_prefix("p/")
        .delete("z")
        .put("b", "2");
    apply(&*store, mixed).await;
    assert_eq!(
        told(&next(&mut watch).await),
        ["y=2", "p/1", "p/2", "z", "b=2"]
    );
}

pub(super) async fn zero_starts_after_the_call(store: Arc<dyn Store>) {
    put(&*store, "a", "1").await;
    let mut watch = store.watch("", 0).await.unwrap();
    let revision = put(&*store, "a", "2").await;
    assert_eq!(next(&mut watch).await.revision, revision);
}

pub(super) async fn a_future_revision_is_waited_for(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "1").await;
    let mut watch = store.watch("", revision + 3).await.unwrap();
    for _ in 0..4 {
        put(&*store, "a", "2").await;
    }
    assert_eq!(next(&mut watch).await.revision, revision + 3);
    assert_eq!(next(&mut watch).await.revision, revision + 4);
}

/// How often each of the writers below writes.
const WRITES: u32 = 60;

/// While others write, takes a list and follows it by a watch; the two together must always be
/// what the store holds.
pub(super) async fn a_list_and_a_watch_leave_no_gap(store: Arc<dyn Store>) {
    let writers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(write_some(Arc::clone(&store), n)))
        .collect();
    let mut followers = Vec::new();
    for _ in 0..4 {
        followers.push(tokio::spawn(follow(Arc::clone(&store), 4 * WRITES)));
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let listing = store.list(ListRequest::prefix("w/")).await.unwrap();
    let held: BTreeMap<_, _> = listing
        .items
        .iter()
        .map(|item| (item.key.clone(), text(item)))
        .collect();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), held);
    }
}

async fn write_some(store: Arc<dyn Store>, writer: u32) {
    for index in 0..WRITES {
        let write = match index % 3 {
            2 => Write::delete(format!("w/{writer}/{}", (index - 2) % 9)),
            _ => Write::put(format!("w/{writer}/{}", index % 9), index.to_string()),
        };
        // The count of finished writes ends the followers.
        let done = Write::put(format!("w/{writer}/done"), (index + 1).to_string());
        apply(&*store, Transaction::new().write(write).write(done)).await;
    }
}

async fn follow(store: Arc<dyn Store>, writes: u32) -> BTreeMap<String, String> {
    let listing = store.list(ListRequest::prefix("w/")).await.unwrap();
    let mut state: BTreeMap<_, _> = listing
        .items
        .iter()
        .map(|item| (item.key.clone(), text(item)))
        .collect();
    let mut watch = store.watch("w/", listing.revision + 1).await.unwrap();
    let mut last = listing.revision;
    let done = |state: &BTreeMap<String, String>| {
        let counts = state.iter().filter(|(key, _)| key.ends_with("done"));
        counts
            .map(|(_, count)| count.parse::<u32>().unwrap())
            .sum::<u32>()
    };
    while done(&state) < writes {
        let batch = next(&mut watch).await;
        assert!(batch.revision > last, "{} after {last}", batch.revision);
        last = batch.revision;
        for event in batch.events {
            match event {
                Event::Put(versioned) => state.insert(versioned.key.clone(), text(&versioned)),
                Event::Delete { key, .. } => state.remove(&key),
            };
        }
    }
    state
}

pub(super) async fn cancelling_a_wait_loses_nothing(store: Arc<dyn Store>) {
    let mut watch = store.watch("", 0).await.unwrap();
    let mut values = Vec::new();
    for index in 0..20 {
        let value = index.to_string();
        let write = put(&*store, "a", &value);
        tokio::pin!(write);
        // The wait is given up whenever the write is done first.
        tokio::select! {
            biased;
            batch = watch.next() => values.extend(told(&batch.unwrap())),
            _ = &mut write => continue,
        }
        write.await;
    }
    put(&*store, "a", "last").await;
    while values.last().is_none_or(|value| value != "a=last") {
        values.extend(told(&next(&mut watch).await));
    }
    let expected = (0..20).map(|index| format!("a={index}"));
    assert_eq!(
        values,
        expected.chain(["a=last".to_owned()]).collect::<Vec<_>>()
    );
}
