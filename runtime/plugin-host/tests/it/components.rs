//! Where the built components are, and inputs for calls.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lote_model::plan::{AllocationInput, JobInput};
use lote_plugin_host::{Host, Plugin};
use lote_plugin_sdk::testkit;
use serde_json::{Value, json};

/// One host for all tests: each component is compiled once.
pub(crate) fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::new(None).unwrap())
}

/// The bytes of a built component: `pytorch`, `test/hostile`.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run `cargo xtask plugins` first",
            path.display()
        )
    })
}

pub(crate) fn load(name: &str) -> Plugin {
    host().load(name, &bytes(name)).unwrap()
}

fn folder() -> PathBuf {
    let default = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or(root, PathBuf::from)
            .join("plugins")
    };
    std::env::var_os("LOTE_PLUGIN_DIR").map_or_else(default, PathBuf::from)
}

pub(crate) fn job(settings: Value) -> JobInput {
    JobInput {
        id: "j1".to_owned(),
        node_count: 1,
        settings,
        mounts: vec![],
        variables: vec![],
    }
}

/// One node with two GPUs.
pub(crate) fn allocation() -> AllocationInput {
    serde_json::from_value(testkit::allocation(1, &json!({"gpusPerNode": 2}))).unwrap()
}
