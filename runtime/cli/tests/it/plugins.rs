//! `lote plugin list|show`.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::stub::{Reply, Stub};
use crate::terminal::run;

fn plugin(version: &str, is_default: bool) -> Value {
    json!({"id": format!("/v1/plugins/ray@{version}"), "name": "ray", "type": "Lote/plugins",
        "properties": {"name": "ray", "settingsMember": "pluginSettings", "version": version,
            "summary": "A head and its workers", "digest": "ab".repeat(32), "contract": "0.1.0",
            "origin": format!("/opt/ray@{version}.wasm"), "isDefault": is_default}})
}

fn list() -> Value {
    json!({"value": [plugin("0.2.0", true), plugin("0.1.0", false)],
        "rejected": [{"origin": "/opt/x.wasm", "reason": "plugin x is not on the list"}]})
}

#[test]
fn a_list_tells_what_is_not_loaded_and_why() {
    let stub = Stub::start(|_| Reply::json(200, &list()));
    let shown = run(&stub.url, "plugin list");
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(
        shown
            .out
            .contains("/opt/x.wasm: plugin x is not on the list"),
        "{}",
        shown.out
    );
    let data = run(&stub.url, "plugin list -o json");
    assert_eq!(serde_json::from_str::<Value>(&data.out).unwrap(), list());
}

#[test]
fn a_plugin_is_shown_by_its_name_or_one_version_of_it() {
    let stub = Stub::start(|_| Reply::json(200, &list()));
    for (name, version) in [("ray", "0.2.0"), ("ray@0.1.0", "0.1.0")] {
        let shown = run(&stub.url, &format!("plugin show {name} -o json"));
        let value: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(value["properties"]["version"], version);
    }
    let none = run(&stub.url, "plugin show ray@3.0.0");
    assert_eq!(none.code, 3, "{}", none.err);
    let wrong = run(&stub.url, "plugin show Ray!");
    assert_eq!(wrong.code, 2, "{}", wrong.err);
}

/// The daemon looks at its folder every second.
#[test]
fn who_waits_is_answered_once_it_is_loaded() {
    let asked = AtomicU32::new(0);
    let stub = Stub::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => Reply::json(200, &json!({"value": [], "rejected": []})),
        _ => Reply::json(200, &list()),
    });
    let shown = run(&stub.url, "plugin show ray@0.1.0 --wait");
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("0.1.0"), "{}", shown.out);
    assert_eq!(stub.requests().len(), 3);
}
