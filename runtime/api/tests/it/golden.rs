//! Whole bodies as on the wire (capabilities, appendix A).

use std::path::Path;

use lote_model::accounting::Account;
use lote_model::job::{ErrorRecord, JobStatus, STDOUTERR};
use lote_model::state::ExecutionState;
use serde_json::json;

use crate::daemon::{Daemon, NODE, job_body, job_url, location, redacted, rm, rm_job, running};

#[test]
fn the_resources() {
    let daemon = Daemon::start();
    daemon.furnish();
    let body = |path: &str| redacted(&daemon, &daemon.get(path).expect(200));
    insta::assert_json_snapshot!("workspace", body(&rm("/workspaces/ws")));
    insta::assert_json_snapshot!("experiment", body(&rm("/workspaces/ws/experiments/e")));
    insta::assert_json_snapshot!("cluster", body(&rm("/workspaces/ws/clusters/c")));
    daemon.write("nodes/a", &crate::resources::node_record("a", true));
    insta::assert_json_snapshot!("node", body("/v1/nodes/a"));
}

#[test]
fn jobs_in_their_states() {
    let daemon = Daemon::start();
    daemon.furnish();
    let mut wanted = job_body();
    wanted["properties"]["customToolkitSettings"] = json!(null);
    wanted["properties"]["pyTorchSettings"] = json!({"pythonScriptFilePath": "train.py"});
    wanted["properties"]["environmentVariables"] = json!([{"name": "A", "value": "b"}]);
    daemon.put(&rm_job("j", ""), &wanted).expect(200);
    let record = daemon.job("j");
    let body = |path: &str| redacted(&daemon, &daemon.get(path).expect(200));
    insta::assert_json_snapshot!("job-queued", body(&rm_job("j", "")));
    daemon.advance(20);
    daemon.set_status(&running(&record, daemon.now()), "j");
    daemon.advance(100);
    let failed = JobStatus {
        state: ExecutionState::Failed,
        state_since: daemon.now(),
        end_time: Some(daemon.now()),
        exit_code: Some(3),
        errors: vec![
            ErrorRecord::new("JobFailed", "Job failed with non-zero exit code").with("node", NODE),
        ],
        directories: vec![location(STDOUTERR, NODE, Path::new("/logs/x/stdouterr"))],
        account: Some(Account {
            cpu_seconds: 1.5,
            memory_peak_bytes: 4096,
            node_seconds: 100.0,
            gpu_seconds: 0.0,
            ..Account::default()
        }),
        ..running(&record, "2018-07-02T10:00:20Z".parse().unwrap())
    };
    daemon.set_status(&failed, "j");
    insta::assert_json_snapshot!("job-held-back", body(&rm_job("j", "")));
    daemon.advance(2);
    insta::assert_json_snapshot!("job-failed", body(&rm_job("j", "")));
    insta::assert_json_snapshot!("job-failed-v1", body(&job_url("j")));
}

#[test]
fn refusals() {
    let daemon = Daemon::start();
    daemon.furnish();
    insta::assert_json_snapshot!("job-not-found", daemon.get(&rm_job("j9", "")).expect(404));
    let mut body = job_body();
    body["properties"]["nodeCount"] = json!(0);
    body["properties"]["stdOutErrPathPrefix"] = json!("");
    insta::assert_json_snapshot!(
        "two-findings",
        daemon.put(&rm_job("j", ""), &body).expect(400)
    );
}
