//! A job that goes back to the queue (capabilities §5.1, and §15 question 8).

use lote_model::job::JobStatus;
use lote_model::state::ExecutionState;
use serde_json::{Value, json};

use crate::daemon::{Daemon, job_url, rm_job, running};

#[test]
fn a_job_that_waits_again_has_no_execution_info_and_later_the_latest_start() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    daemon.advance(60);
    let again = JobStatus {
        attempt: 1,
        ..JobStatus::queued(&record)
    };
    daemon.set_status(&again, "j");
    let seen = || -> [Value; 2] {
        [job_url("j"), rm_job("j", "")]
            .map(|url| daemon.get(&url).expect(200)["properties"].clone())
    };
    for properties in seen() {
        assert_eq!(properties["executionState"], "queued");
        assert!(properties["executionInfo"].is_null(), "{properties}");
        assert_eq!(properties["lote"]["attempt"], 1);
    }
    daemon.advance(60);
    let restarted = JobStatus {
        attempt: 2,
        ..running(&record, daemon.now())
    };
    daemon.set_status(&restarted, "j");
    for properties in seen() {
        assert_eq!(
            properties["executionInfo"],
            json!({"startTime": "2018-07-02T10:02:00Z"})
        );
    }
}

#[test]
fn a_container_s_failure_is_told_as_the_original_told_it() {
    use lote_model::job::ErrorRecord;
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    let error = ErrorRecord::new("FailedStartingContainer", "Failed to start the container")
        .with("imageName", "ubuntu");
    let failed = JobStatus {
        state: ExecutionState::Failed,
        start_time: Some(daemon.now()),
        end_time: Some(daemon.now()),
        exit_code: Some(-1),
        errors: vec![error],
        ..JobStatus::queued(&record)
    };
    daemon.set_status(&failed, "j");
    daemon.advance(10);
    let info = daemon.get(&rm_job("j", "")).expect(200)["properties"]["executionInfo"].clone();
    insta::assert_json_snapshot!("container-failed", info);
}
