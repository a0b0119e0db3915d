//! A machine for the tests.

use lote_model::node::NodeRecord;

/// One with a name and addresses.
pub(super) fn node() -> NodeRecord {
    serde_json::from_value(serde_json::json!({
        "name": "n1", "address": "10.0.0.7", "macAddress": "aa:bb:cc:dd:ee:ff", "size": "cpu",
        "version": "0", "bootId": "b", "cpuCores": 1, "memoryBytes": 1, "portsFirst": 1,
        "portsCount": 1, "workDirectory": "/w", "isolation": [],
        "startedAt": "2026-08-04T12:00:00Z",
    }))
    .unwrap()
}
