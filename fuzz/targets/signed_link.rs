//! Tokens in download links: no text opens that was not sealed with the key,
//! whatever was sealed is read without trouble, and one changed byte closes it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lote_api::fuzzing::{open_link, seal};
use serde_json::Value;

const KEY: [u8; 32] = [7; 32];

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(open_link(&KEY, text), None, "a stranger's token opened");
    }
    let Ok(payload) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let token = seal(&KEY, &payload);
    if let Some(file) = open_link(&KEY, &token) {
        assert!(!file.starts_with('/'), "{file:?}");
        assert!(file.split('/').all(|part| part != ".."), "{file:?}");
    }
    assert_eq!(open_link(&[8; 32], &token), None, "another key opened it");
    assert_eq!(open_link(&KEY, &changed(&token, data)), None);
});

/// The token with one letter replaced, which one the data says.
fn changed(token: &str, data: &[u8]) -> String {
    let at = data
        .iter()
        .fold(0, |sum, &byte| (sum * 31 + usize::from(byte)) % token.len());
    let other = if token.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let mut changed = token.to_owned();
    changed.replace_range(at..=at, other);
    changed
}
