//! Reading single keys and lists.

use std::sync::Arc;

use super::{apply, put, value_of};
use crate::{ListRequest, Listing, Store, StoreError, Transaction, Versioned, get_json, list_json};

pub(super) async fn an_absent_key_reads_as_nothing(store: Arc<dyn Store>) {
    put(&*store, "a/b", "1").await;
    for key in ["a", "a/", "a/b/", "a/b0", "b"] {
        assert_eq!(store.get(key).await.unwrap(), None, "{key}");
    }
}

pub(super) async fn a_key_counts_its_versions(store: Arc<dyn Store>) {
    let first = put(&*store, "a", "1").await;
    put(&*store, "other", "1").await;
    let second = put(&*store, "a", "2").await;
    let expected = Versioned {
        key: "a".to_owned(),
        value: "2".into(),
        create_revision: first,
        mod_revision: second,
        version: 2,
    };
    assert_eq!(store.get("a").await.unwrap(), Some(expected));
    assert_eq!(second, first + 2);
    assert_eq!(store.revision().await.unwrap(), second);

    apply(&*store, Transaction::new().delete("a")).await;
    assert_eq!(store.get("a").await.unwrap(), None);
    let third = put(&*store, "a", "3").await;
    let again = store.get("a").await.unwrap().unwrap();
    assert_eq!(
        (again.create_revision, again.mod_revision, again.version),
        (third, third, 1)
    );
}

async fn keys(store: &dyn Store, request: ListRequest) -> Vec<String> {
    let listing = store.list(request).await.unwrap();
    listing.items.into_iter().map(|item| item.key).collect()
}

pub(super) async fn lists_are_in_byte_order_under_the_prefix(store: Arc<dyn Store>) {
    let all = [
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a/é",
        "a/\u{10FFFF}",
        "a/\u{10FFFF}x",
        "a0",
        "b",
    ];
    for key in all.iter().rev() {
        put(&*store, key, "1").await;
    }
    assert_eq!(keys(&*store, ListRequest::prefix("")).await, all);
    assert_eq!(keys(&*store, ListRequest::prefix("a/")).await, all[1..7]);
    assert_eq!(
        keys(&*store, ListRequest::prefix("a/\u{10FFFF}")).await,
        all[5..7]
    );
    assert_eq!(keys(&*store, ListRequest::prefix("c")).await, [""; 0]);
    let after = |after: &str| ListRequest {
        after: Some(after.to_owned()),
        ..ListRequest::prefix("a/")
    };
    assert_eq!(keys(&*store, after("a/b")).await, all[3..7]);
    assert_eq!(
        keys(&*store, after("a/a-key-that-is-not-there")).await,
        all[2..7]
    );
    assert_eq!(keys(&*store, after("a")).await, all[1..7]);
    assert_eq!(keys(&*store, after("b")).await, [""; 0]);
}

pub(super) async fn pages_join_to_the_whole(store: Arc<dyn Store>) {
    const COUNT: usize = 1000;
    for page in 0..COUNT / 100 {
        let puts = (0..100).fold(Transaction::new(), |transaction, index| {
            transaction.put(format!("k/{page}/{index:02}"), "1")
        });
        apply(&*store, puts).await;
    }
    let whole = store.list(ListRequest::prefix("k/")).await.unwrap();
    assert_eq!((whole.items.len(), whole.more), (COUNT, false));
    for limit in [1, 7, 256, 257, 999, 1000, 2000] {
        let pages = all_pages(&*store, limit).await;
        let (last, full) = pages.split_last().unwrap();
        assert!(
            full.iter()
                .all(|page| page.items.len() == limit && page.more),
            "limit {limit}"
        );
        assert!(last.items.len() <= limit && !last.more, "limit {limit}");
        let joined: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
        assert_eq!(joined, whole.items, "limit {limit}");
    }
}

async fn all_pages(store: &dyn Store, limit: usize) -> Vec<Listing> {
    let mut pages = Vec::new();
    let mut request = ListRequest {
        limit: Some(limit),
        ..ListRequest::prefix("k/")
    };
    loop {
        let page = store.list(request.clone()).await.unwrap();
        request.after = page.items.last().map(|item| item.key.clone());
        let more = page.more;
        pages.push(page);
        if !more {
            return pages;
        }
    }
}

pub(super) async fn keys_only_leaves_values_out(store: Arc<dyn Store>) {
    let revision = put(&*store, "a", "1").await;
    let request = ListRequest {
        keys_only: true,
        ..ListRequest::prefix("")
    };
    let listing = store.list(request).await.unwrap();
    let expected = Versioned {
        key: "a".to_owned(),
        value: "".into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
    };
    assert_eq!(
        listing,
        Listing {
            items: vec![expected],
            revision,
            more: false
        }
    );
}

pub(super) async fn an_empty_key_is_refused(store: Arc<dyn Store>) {
    assert!(matches!(store.get("").await, Err(StoreError::EmptyKey)));
    let refused = store.commit(Transaction::new().put("", "1")).await;
    assert!(matches!(refused, Err(StoreError::EmptyKey)));
}

pub(super) async fn values_are_typed_by_the_json_helpers(store: Arc<dyn Store>) {
    apply(
        &*store,
        Transaction::new().put_json("n/1", &vec![1, 2]).unwrap(),
    )
    .await;
    let revision = apply(
        &*store,
        Transaction::new().put_json("n/2", &vec![3]).unwrap(),
    )
    .await;
    let entry = get_json::<Vec<u32>>(&*store, "n/1").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.version), (vec![1, 2], 1));
    let request = ListRequest {
        keys_only: true,
        ..ListRequest::prefix("n/")
    };
    let listing = list_json::<Vec<u32>>(&*store, request).await.unwrap();
    let values: Vec<_> = listing.items.into_iter().map(|entry| entry.value).collect();
    assert_eq!(
        (values, listing.revision),
        (vec![vec![1, 2], vec![3]], revision)
    );
    let wrong = get_json::<String>(&*store, "n/2").await;
    assert!(matches!(wrong, Err(StoreError::Decode { key, .. }) if key == "n/2"));
    assert_eq!(value_of(&*store, "n/2").await.as_deref(), Some("[3]"));
}
