//! Quotas: exact, and in words that help.

use serde_json::json;

use crate::daemon::{Daemon, LAB, cluster_body, rm};

fn small() -> Daemon {
    let daemon = Daemon::start_configured(|config| {
        config.quotas.clusters = 3;
        config.quotas.workspaces_per_group = 2;
        config.quotas.nodes_per_cluster = 4;
    });
    daemon.furnish();
    daemon
}

#[test]
fn one_cluster_too_many_is_told_the_numbers() {
    let daemon = small();
    let put = |cluster: &str| {
        daemon.put(
            &rm(&format!("/workspaces/ws/clusters/{cluster}")),
            &cluster_body(),
        )
    };
    put("d").expect(200);
    put("e").expect(200);
    insta::assert_json_snapshot!("cluster-quota-reached", put("f").expect(409));
    put("e").expect(200);
    daemon.commit(lote_store::Transaction::new().delete("clusters/lab/ws/d"));
    put("f").expect(200);
}

#[test]
fn the_last_place_is_given_once() {
    let daemon = small();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let put = |number: usize| {
            let url = rm(&format!("/workspaces/ws/clusters/x{number}"));
            daemon.put(&url, &cluster_body()).status
        };
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || put(number)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let created = statuses.iter().filter(|&&status| status == 200).count();
    let refused = statuses.iter().filter(|&&status| status == 409).count();
    assert_eq!((created, refused), (2, 6), "one cluster was there before");
    let listed = daemon.get(&rm("/workspaces/ws/clusters")).expect(200);
    assert_eq!(listed["value"].as_array().unwrap().len(), 3);
}

#[test]
fn a_cluster_asks_for_no_more_nodes_than_it_may() {
    let daemon = small();
    let mut body = cluster_body();
    body["properties"]["scaleSettings"] = json!({"manual": {"targetNodeCount": 5}});
    let error = daemon
        .put(&rm("/workspaces/ws/clusters/big"), &body)
        .expect_error(409, "ClusterQuotaReached");
    assert_eq!(
        error["target"],
        "/properties/scaleSettings/manual/targetNodeCount"
    );
    let scale = json!({"properties": {"scaleSettings": {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 5}}}});
    let revision = daemon.revision();
    daemon
        .patch(&rm("/workspaces/ws/clusters/c"), &scale)
        .expect_error(409, "ClusterQuotaReached");
    assert_eq!(daemon.revision(), revision);
}

#[test]
fn a_group_holds_so_many_workspaces() {
    let daemon = small();
    daemon.put(&format!("{LAB}/two"), &json!({})).expect(200);
    let error = daemon
        .put(&format!("{LAB}/three"), &json!({}))
        .expect_error(409, "WorkspaceQuotaReached");
    assert!(
        error["message"].as_str().unwrap().contains("'lab' has 2"),
        "{error}"
    );
    daemon.put(&format!("{LAB}/two"), &json!({})).expect(200);
    daemon.put("/v1/groups/other", &json!({})).expect(200);
    daemon
        .put("/v1/groups/other/workspaces/three", &json!({}))
        .expect(200);
}
