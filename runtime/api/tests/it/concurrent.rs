//! Many clients at once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::daemon::{Daemon, cluster_body, job_body, job_url, rm};

/// Runs the same request on many threads at once; the statuses and bodies.
fn together<T: Send>(count: usize, request: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|index| {
                scope.spawn({
                    let request = &request;
                    move || request(index)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn the_same_put_creates_one_job() {
    let daemon = Daemon::start();
    daemon.furnish();
    let uids: BTreeSet<String> =
        together(16, |_| daemon.put(&job_url("j"), &job_body()).expect(200))
            .iter()
            .map(|job| {
                job["properties"]["lote"]["uid"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
    assert_eq!(uids.len(), 1);
}

#[test]
fn different_puts_of_one_name_leave_one_winner() {
    let daemon = Daemon::start();
    daemon.furnish();
    let statuses = together(12, |index| {
        let mut body = job_body();
        body["properties"]["nodeCount"] = json!(index + 1);
        daemon.put(&job_url("j"), &body).status
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 409).count(),
        11,
        "{statuses:?}"
    );
}

#[test]
fn workspaces_made_together_get_different_user_ids() {
    let daemon = Daemon::start();
    together(12, |index| {
        daemon
            .put(
                &rm(&format!("/workspaces/w{index}")),
                &json!({"location": "l"}),
            )
            .expect(200);
    });
    let ids: BTreeSet<u64> = (0..12)
        .map(|index| {
            let record: serde_json::Value =
                daemon.read(&format!("workspaces/lab/w{index}")).unwrap();
            record["unixId"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(ids, (2_000_000..2_000_012).collect());
}

#[test]
fn jobs_are_accepted_while_their_cluster_is_scaled() {
    let daemon = Daemon::start();
    daemon.furnish();
    together(8, |index| {
        for round in 0..5_u32 {
            if index % 2 == 0 {
                daemon
                    .put(&job_url(&format!("j{index}-{round}")), &job_body())
                    .expect(200);
            } else {
                let target = round + u32::try_from(index).unwrap();
                let scale = json!({"properties": {"scaleSettings": {"manual": {"targetNodeCount": target}}}});
                daemon
                    .patch(&rm("/workspaces/ws/clusters/c"), &scale)
                    .expect(200);
            }
        }
    });
    let jobs = daemon
        .get(&rm("/workspaces/ws/experiments/e/jobs"))
        .expect(200);
    assert_eq!(jobs["value"].as_array().unwrap().len(), 20);
}

#[test]
fn a_workspace_and_the_deletion_of_its_group_do_not_both_succeed() {
    let daemon = Daemon::start();
    for round in 0..10 {
        let group = format!("/v1/groups/g{round}");
        daemon.put(&group, &json!({})).expect(200);
        let statuses = together(2, |index| match index {
            0 => {
                daemon
                    .put(&format!("{group}/workspaces/w"), &json!({}))
                    .status
            }
            _ => daemon.delete(&group).status,
        });
        let group_is_there = daemon.get(&group).status == 200;
        let workspace_is_there = daemon.get(&format!("{group}/workspaces/w")).status == 200;
        assert_eq!(group_is_there, workspace_is_there, "{statuses:?}");
    }
    daemon
        .put(&rm("/workspaces/ws"), &json!({"location": "l"}))
        .expect(200);
    daemon
        .put(&rm("/workspaces/ws/clusters/c"), &cluster_body())
        .expect(200);
}
