//! Paths below an output directory: what is accepted cannot leave it.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use lote_api::fuzzing::relative_path;

fuzz_target!(|text: &str| {
    let Some(path) = relative_path(text) else {
        return;
    };
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    assert!(Path::new(&path).components().all(stays), "{path:?}");
    assert!(!path.contains('\0'), "{path:?}");
    assert_eq!(relative_path(&path).as_ref(), Some(&path), "{path:?}");
});
