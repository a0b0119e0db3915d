//! Paths and queries of requests: the form that the routes know is final, and
//! the page that a query asks for stays within its bounds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lote_api::fuzzing::{canonical_path, page_limit, sent_path};

fuzz_target!(|target: &str| {
    // As after hyper: what is no request target never reaches a handler.
    let Some(path) = sent_path(target) else {
        return;
    };
    let once = canonical_path(&path);
    assert!(once.starts_with('/'), "{once:?}");
    assert_eq!(canonical_path(&once), once);
    assert!(
        sent_path(&once).is_some(),
        "{once:?} is no request target any more"
    );
    if let Some(limit) = page_limit(target) {
        assert!((1..=1_000).contains(&limit));
    }
});
