//! Long-running operations, as the old clients poll them.

use crate::daemon::{Daemon, Reply, job_url, rm, rm_job, running, succeeded};

/// The two URLs of an accepted operation.
fn urls(reply: &Reply) -> (String, String) {
    assert_eq!(
        (reply.status, reply.bytes.len()),
        (202, 0),
        "{}",
        reply.text()
    );
    assert_eq!(reply.header("retry-after"), "1");
    (
        reply.header("azure-asyncoperation").to_owned(),
        reply.header("location").to_owned(),
    )
}

#[test]
fn a_deletion_goes_on_until_the_leader_has_erased_the_job() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("j");
    let (status, result) = urls(&daemon.delete(&rm_job("j", "")));
    let prefix = format!(
        "http://{}/subscriptions/sub/providers/Microsoft.BatchAI/locations/local",
        daemon.address
    );
    assert!(
        status.starts_with(&format!("{prefix}/operationresults/")),
        "{status}"
    );
    assert!(
        result.starts_with(&format!("{prefix}/operationstatuses/")),
        "{result}"
    );
    assert!(status.ends_with("?api-version=2018-05-01"));
    assert_eq!(
        daemon.get(&rm_job("j", "")).expect(200)["properties"]["provisioningState"],
        "deleting"
    );
    daemon.restart();
    let reply = daemon.get(&status);
    let body = reply.expect(200);
    assert_eq!(
        (body["status"].as_str(), reply.header("retry-after")),
        (Some("InProgress"), "1")
    );
    assert_eq!(body["id"], status.as_str());
    assert!(status.contains(body["name"].as_str().unwrap()));
    assert_eq!(body["startTime"], "2018-07-02T10:00:00Z");
    let again = daemon.get(&result);
    assert_eq!(
        (again.status, again.header("location")),
        (202, result.as_str())
    );
    daemon.advance(3);
    daemon.erase("j");
    let body = daemon.get(&status).expect(200);
    assert_eq!(
        (body["status"].as_str(), body["endTime"].as_str()),
        (Some("Succeeded"), Some("2018-07-02T10:00:03Z"))
    );
    assert_eq!(body["properties"]["resourceId"], "lab$ws$e$j");
    daemon.get(&result).expect(200);
    daemon.delete(&rm_job("j", "")).expect(204);
    // The name taken again does not bring the old operation back to life.
    daemon.submit("j");
    assert_eq!(daemon.get(&status).expect(200)["status"], "Succeeded");
}

#[test]
fn a_termination_ends_when_the_job_is_shown_as_ended() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    let (old, _) = urls(&daemon.post(&rm_job("j", "/terminate")));
    let (new, _) = urls(&daemon.post(&format!("{}/terminate", job_url("j"))));
    assert!(new.starts_with(&daemon.url("/v1/operations/")), "{new}");
    let status = |url: &str| daemon.get(url).expect(200)["status"].clone();
    assert_eq!(status(&old), "InProgress");
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    assert_eq!(
        (status(&new), status(&old)),
        ("Succeeded".into(), "InProgress".into())
    );
    assert_eq!(
        daemon.get(&rm_job("j", "")).expect(200)["properties"]["executionState"],
        "terminating"
    );
    daemon.advance(2);
    assert_eq!(status(&old), "Succeeded");
    assert_eq!(
        daemon.get(&rm_job("j", "")).expect(200)["properties"]["executionState"],
        "succeeded"
    );
}

#[test]
fn made_up_ids_are_no_operations() {
    let daemon = Daemon::start();
    for id in [
        "x",
        "0",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "%C3%A4",
    ] {
        daemon
            .get(&format!("/v1/operations/{id}"))
            .expect_error(404, "OperationNotFound");
        daemon
            .get(&format!("/v1/operations/{id}/result"))
            .expect_error(404, "OperationNotFound");
    }
}

#[test]
fn a_cluster_s_deletion_waits_for_the_leader() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/clusters/c");
    let (status, _) = urls(&daemon.delete(&url));
    assert_eq!(
        daemon.get(&url).expect(200)["properties"]["provisioningState"],
        "deleting"
    );
    daemon
        .put(&job_url("j"), &crate::daemon::job_body())
        .expect_error(409, "ClusterBeingDeleted");
    daemon
        .put(&url, &crate::daemon::cluster_body())
        .expect_error(409, "ClusterBeingDeleted");
    assert_eq!(daemon.get(&status).expect(200)["status"], "InProgress");
    daemon.commit(lote_store::Transaction::new().delete("clusters/lab/ws/c"));
    assert_eq!(daemon.get(&status).expect(200)["status"], "Succeeded");
    daemon.delete(&url).expect(204);
}
