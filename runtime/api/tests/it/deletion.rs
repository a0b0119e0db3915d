//! Containers go when everything in them is gone.

use lote_store::{Store, Transaction};
use serde_json::json;

use crate::daemon::{Daemon, LAB, job_body, job_url, rm, wait_until};

fn is_marked(daemon: &Daemon, job: &str) -> bool {
    daemon.job(job).delete_requested_at.is_some()
}

#[test]
fn an_empty_container_goes_at_once() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon
        .delete(&rm("/workspaces/ws/experiments/e"))
        .expect(200);
    daemon
        .delete(&rm("/workspaces/ws/experiments/e"))
        .expect(204);
    daemon.put("/v1/groups/lab", &json!({})).expect(200);
    daemon.put(&format!("{LAB}/empty"), &json!({})).expect(200);
    daemon.delete(&format!("{LAB}/empty")).expect(200);
    daemon
        .get(&format!("{LAB}/empty"))
        .expect_error(404, "WorkspaceNotFound");
}

#[test]
fn an_experiment_goes_after_its_jobs() {
    let daemon = Daemon::start();
    daemon.furnish();
    for job in ["a", "b"] {
        daemon.submit(job);
    }
    let reply = daemon.delete(&rm("/workspaces/ws/experiments/e"));
    reply.expect(202);
    let operation = reply.header("azure-asyncoperation").to_owned();
    wait_until("the jobs are marked", || {
        is_marked(&daemon, "a") && is_marked(&daemon, "b")
    });
    let experiment = daemon.get(&rm("/workspaces/ws/experiments/e")).expect(200);
    assert_eq!(experiment["properties"]["provisioningState"], "deleting");
    daemon
        .put(&job_url("c"), &job_body())
        .expect_error(409, "ExperimentBeingDeleted");
    daemon
        .put(&rm("/workspaces/ws/experiments/e"), &json!({}))
        .expect_error(409, "ExperimentBeingDeleted");
    daemon.erase("a");
    assert_eq!(daemon.get(&operation).expect(200)["status"], "InProgress");
    daemon.erase("b");
    wait_until("the experiment is gone", || {
        daemon.get(&rm("/workspaces/ws/experiments/e")).status == 404
    });
    assert_eq!(daemon.get(&operation).expect(200)["status"], "Succeeded");
    daemon
        .put(&rm("/workspaces/ws/experiments/e"), &json!({}))
        .expect(200);
}

#[test]
fn a_workspace_goes_after_everything_in_it_even_over_a_restart() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("a");
    let reply = daemon.delete(&rm("/workspaces/ws"));
    reply.expect(202);
    let operation = reply.header("azure-asyncoperation").to_owned();
    daemon.restart();
    wait_until("the job is marked", || is_marked(&daemon, "a"));
    let cluster = || daemon.get(&rm("/workspaces/ws/clusters/c"));
    wait_until("the cluster is marked", || {
        cluster().expect(200)["properties"]["provisioningState"] == "deleting"
    });
    daemon
        .put(
            &rm("/workspaces/ws/clusters/d"),
            &crate::daemon::cluster_body(),
        )
        .expect_error(409, "WorkspaceBeingDeleted");
    daemon
        .put(&rm("/workspaces/ws/experiments/x"), &json!({}))
        .expect_error(409, "WorkspaceBeingDeleted");
    daemon
        .put(&rm("/workspaces/ws"), &json!({"location": "local"}))
        .expect_error(409, "WorkspaceBeingDeleted");
    daemon
        .patch(&rm("/workspaces/ws"), &json!({"tags": {}}))
        .expect_error(409, "WorkspaceBeingDeleted");
    daemon.erase("a");
    wait_until("the experiment is gone", || {
        daemon.get(&rm("/workspaces/ws/experiments/e")).status == 404
    });
    daemon.commit(Transaction::new().delete("clusters/lab/ws/c"));
    wait_until("the workspace is gone", || {
        daemon.get(&rm("/workspaces/ws")).status == 404
    });
    assert_eq!(daemon.get(&operation).expect(200)["status"], "Succeeded");
}

#[test]
fn what_was_marked_while_nobody_looked_is_cleaned_up() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    for index in 0..150 {
        daemon.submit(&format!("j{index}"));
    }
    daemon.stop();
    // A daemon died right after it had marked the experiment.
    let key = "experiments/lab/ws/e";
    let mut record: serde_json::Value = daemon.read(key).unwrap();
    record["deleteRequestedAt"] = json!("2018-07-02T10:00:00Z");
    daemon.write(key, &record);
    daemon.restart();
    wait_until("all jobs are marked", || {
        (0..150).all(|index| is_marked(&daemon, &format!("j{index}")))
    });
    daemon.commit(Transaction::new().delete_prefix("jobs/lab/ws/e/"));
    wait_until("the experiment is gone", || {
        daemon.get(&rm("/workspaces/ws/experiments/e")).status == 404
    });
}

#[test]
fn a_failing_store_delays_a_deletion_and_loses_nothing() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("a");
    daemon
        .delete(&rm("/workspaces/ws/experiments/e"))
        .expect(202);
    wait_until("the job is marked", || is_marked(&daemon, "a"));
    daemon.store.break_down(true);
    let erase = Transaction::new().delete("jobs/lab/ws/e/a");
    daemon
        .runtime
        .block_on(daemon.store.inner().commit(erase))
        .unwrap();
    daemon
        .get(&rm("/workspaces/ws/experiments/e"))
        .expect_error(503, "StoreUnavailable");
    daemon.store.break_down(false);
    wait_until("the experiment is gone", || {
        daemon.get(&rm("/workspaces/ws/experiments/e")).status == 404
    });
}
