//! Usages and the catalogue of permissions.

use lote_model::cluster::ClusterStatus;
use lote_model::id::NodeName;
use lote_model::key;
use serde_json::json;

use crate::daemon::{Daemon, VERSION, cluster_body, name, rm, workspace_path};
use crate::resources::node_record;

const USAGES: &str = "/subscriptions/s/providers/Microsoft.BatchAI/locations";

#[test]
fn usages_are_what_there_is() {
    let daemon = Daemon::start();
    daemon.furnish();
    let mut spare = cluster_body();
    spare["properties"]["vmSize"] = json!("STANDARD_NC6");
    spare["properties"]["vmPriority"] = json!("lowpriority");
    daemon
        .put(&rm("/workspaces/ws/clusters/spare"), &spare)
        .expect(200);
    for (node, size) in [("a", "cpu"), ("b", "cpu"), ("gpu", "Standard_NC12")] {
        let mut record = node_record(node, false);
        record["size"] = json!(size);
        daemon.write(&format!("nodes/{node}"), &record);
    }
    for (cluster, node) in [("c", "a"), ("spare", "gpu")] {
        let status = ClusterStatus {
            nodes: [NodeName::new(node)].into(),
            ..ClusterStatus::default()
        };
        let path = workspace_path().child(name(cluster));
        daemon.write(&key::cluster_status(&path), &status);
    }
    let url = format!("{USAGES}/eastus/usages?{VERSION}");
    let usages = daemon.get(&url).expect(200);
    insta::assert_json_snapshot!("usages", usages);
    assert_eq!(daemon.get("/v1/usages").expect(200), usages);
}

#[test]
fn usages_are_asked_for_as_the_specification_says() {
    let daemon = Daemon::start();
    daemon
        .get(&format!("{USAGES}/local/usages"))
        .expect_error(400, "MissingApiVersionParameter");
    daemon
        .get(&format!("{USAGES}/a%20b/usages?{VERSION}"))
        .expect_error(404, "ResourceNotFound");
    daemon
        .post(&format!("{USAGES}/local/usages?{VERSION}"))
        .expect_error(405, "MethodNotAllowed");
}

#[test]
fn the_catalogue_has_every_permission_once() {
    let daemon = Daemon::start();
    let url = format!("/providers/microsoft.batchai/OPERATIONS?{VERSION}");
    let catalogue = daemon.get(&url).expect(200);
    assert_eq!(daemon.get("/v1/catalogue").expect(200), catalogue);
    let values = catalogue["value"].as_array().unwrap();
    let names: std::collections::BTreeSet<_> = values
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!((values.len(), names.len()), (26, 26));
    insta::assert_json_snapshot!("catalogue-names", names);
    for entry in values {
        for member in ["provider", "operation", "resource", "description"] {
            assert!(entry["display"][member].is_string(), "{entry}");
        }
    }
    daemon
        .get("/providers/Microsoft.BatchAI/operations")
        .expect_error(400, "MissingApiVersionParameter");
    daemon
        .get("/providers/Microsoft.BatchAI/operations?api-version=2017-01-01")
        .expect_error(400, "InvalidApiVersionParameter");
}
