//! What is measured: figures, samples of jobs, what workspaces have used.

use std::sync::Arc;

use lote_api::{Telemetry, TelemetrySource};
use lote_model::allocation::{Allocation, AllocationPhase, Grant};
use lote_model::daily_usage::{DailyUsage, RunUsage, UsedAmounts};
use lote_model::fair_share::Usage;
use lote_model::id::{JobUid, NodeName};
use lote_model::key;
use lote_model::leader::{GpuCounts, LeaderFigures, NodeCounts};
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::WorkspacePath;
use lote_model::plan::AllocatedGpu;
use lote_model::sample::{GpuSample, JobSample, NodeSample};
use serde_json::{Value, json};

use crate::daemon::{Daemon, NODE, job_path, job_url, running};
use crate::resources::node_record;

/// A node that measures one GPU and every job, on a daemon that leads or does not.
struct Measured {
    leads: bool,
}

fn gpu_sample() -> GpuSample {
    GpuSample {
        utilization: Some(93),
        memory_used_bytes: Some(40 << 30),
        power_milliwatts: Some(412_500),
        energy_millijoules: Some(7_000_000),
        ..GpuSample::default()
    }
}

impl Telemetry for Measured {
    fn node(&self) -> Option<NodeSample> {
        Some(NodeSample {
            at: "2018-07-02T10:00:00Z".parse().unwrap(),
            gpus: [("GPU-1".to_owned(), gpu_sample())].into(),
        })
    }

    fn job(&self, _: &JobUid) -> Option<Vec<JobSample>> {
        Some(vec![JobSample {
            at: "2018-07-02T10:00:00Z".parse().unwrap(),
            cpu_seconds: Some(12.5),
            memory_bytes: Some(1 << 30),
            gpus: [("GPU-1".to_owned(), gpu_sample())].into(),
        }])
    }

    fn leader(&self) -> Option<LeaderFigures> {
        self.leads.then(|| LeaderFigures {
            passes: 7,
            jobs_queued: [("lab/ws/c".to_owned(), 3)].into(),
            nodes: NodeCounts {
                busy: 1,
                ..NodeCounts::default()
            },
            gpus: GpuCounts {
                held: 1,
                ..GpuCounts::default()
            },
            ..LeaderFigures::default()
        })
    }
}

fn measured(leads: bool) -> Daemon {
    let daemon = Daemon::start_configured(move |config| {
        config.telemetry = TelemetrySource::new(Arc::new(Measured { leads }));
    });
    let mut record = node_record(NODE, false);
    record["gpus"] = json!([{"uuid": "GPU-1", "model": "H100", "minor": 3, "memoryMib": 81920, "conditions": [
        {"code": "GpuThrottled", "message": "m", "blocksJobs": false, "since": "2018-07-02T10:00:00Z"}]}]);
    daemon.write(&format!("nodes/{NODE}"), &record);
    daemon
}

fn lines(text: &str, prefix: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with(prefix));
    lines.map(str::to_owned).collect()
}

#[test]
fn figures_have_the_names_that_dashboards_know() {
    let daemon = measured(true);
    let allocation = Allocation {
        job: job_path("train"),
        uid: JobUid::new("u"),
        attempt: 1,
        rank: 0,
        phase: AllocationPhase::Run,
        grant: Grant {
            exclusive: true,
            gpus: vec![AllocatedGpu {
                uuid: "GPU-1".into(),
                minor: 3,
                memory_mib: 81_920,
            }],
            cpu_millis: 1000,
            numa_nodes: Vec::new(),
            memory_bytes: None,
            processes_max: None,
            ports: Vec::new(),
        },
        granted_at: daemon.now(),
        boot_id: "b".into(),
    };
    daemon.write(
        &key::allocation(&NodeName::new(NODE), &allocation.uid),
        &allocation,
    );
    let reply = daemon.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").starts_with("text/plain"));
    let text = reply.text();
    let gpu = format!(
        "{{Hostname=\"{NODE}\",UUID=\"GPU-1\",device=\"nvidia3\",gpu=\"0\",hpc_job=\"{}\",modelName=\"H100\"}}",
        job_path("train")
    );
    for (name, value) in [
        ("DCGM_FI_DEV_GPU_UTIL", "93"),
        ("DCGM_FI_DEV_FB_USED", "40960"),
        ("DCGM_FI_DEV_POWER_USAGE", "412.5"),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "7000000"),
    ] {
        assert_eq!(
            lines(text, &format!("{name}{{")),
            [format!("{name}{gpu} {value}")]
        );
    }
    // What the driver does not tell is no figure at all.
    assert!(lines(text, "DCGM_FI_DEV_GPU_TEMP{").is_empty());
    for line in [
        format!("lote_condition{{UUID=\"GPU-1\",code=\"GpuThrottled\",node=\"{NODE}\"}} 1"),
        "lote_leader 1".to_owned(),
        "lote_jobs_queued{cluster=\"lab/ws/c\"} 3".to_owned(),
        "lote_nodes{state=\"busy\"} 1".to_owned(),
        "lote_gpus{state=\"held\"} 1".to_owned(),
        "lote_scheduler_passes_total 7".to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    // The first request is counted by the second.
    let text = daemon.get("/metrics");
    let count = lines(text.text(), "lote_http_request_seconds_count");
    assert_eq!(
        count,
        ["lote_http_request_seconds_count{code=\"200\",method=\"GET\"} 1"]
    );
}

#[test]
fn only_the_leader_tells_of_queues() {
    let text = measured(false).get("/metrics");
    assert!(text.text().contains("lote_leader 0"));
    assert!(lines(text.text(), "lote_jobs_queued").is_empty());
}

#[test]
fn a_running_job_s_samples_are_told_node_by_node() {
    let daemon = measured(true);
    daemon.furnish();
    let record = daemon.submit("j");
    let url = format!("{}/samples", job_url("j"));
    assert_eq!(daemon.get(&url).expect(200), json!({"value": []}));
    let mut status = running(&record, daemon.now());
    status.nodes = vec![NodeName::new(NODE), NodeName::new("gone")];
    daemon.set_status(&status, "j");
    let told = daemon.get(&url).expect(200);
    assert_eq!(told["value"][0]["node"], NODE);
    assert_eq!(told["value"][0]["samples"][0]["cpuSeconds"], 12.5);
    assert_eq!(
        told["value"][0]["samples"][0]["gpus"]["GPU-1"]["utilization"],
        93
    );
    // A node that cannot be asked hides nothing of the others.
    assert_eq!(told["value"][1]["node"], "gone");
    assert_eq!(told["value"][1]["samples"], json!([]));
    assert!(told["value"][1]["error"].is_string(), "{told}");
}

fn workspace(group: &str, name: &str) -> WorkspacePath {
    WorkspacePath {
        group: GroupName::new(group).unwrap(),
        workspace: ResourceName::new(name).unwrap(),
    }
}

fn amounts(node_seconds: f64) -> UsedAmounts {
    UsedAmounts {
        node_seconds,
        gpu_seconds: node_seconds * 8.0,
        ..UsedAmounts::default()
    }
}

/// One day that is added up, and one run from it into the next day that is not.
fn use_some(daemon: &Daemon, of: &WorkspacePath) {
    let day = DailyUsage {
        runs_ended: 2,
        amounts: amounts(100.0),
    };
    daemon.write(&key::daily_usage(of, "2018-07-01".parse().unwrap()), &day);
    let run = RunUsage {
        since: "2018-07-01T18:00:00Z".parse().unwrap(),
        until: "2018-07-02T06:00:00Z".parse().unwrap(),
        amounts: amounts(43_200.0),
    };
    let usage = Usage {
        node_seconds: 43_200.0,
        at: run.until,
        run: Some(run),
    };
    daemon.write(&key::share_of_run(of, &JobUid::new("u"), 1), &usage);
    let sum = Usage { run: None, ..usage };
    daemon.write(&key::share(of), &sum);
}

fn row(group: &str, name: &str, day: &str, runs: u32, node_seconds: f64) -> Value {
    json!({"group": group, "workspace": name, "day": day, "runsEnded": runs, "nodeSeconds": node_seconds,
        "gpuSeconds": node_seconds * 8.0, "cpuSeconds": 0.0})
}

#[test]
fn what_is_not_added_up_yet_counts_too() {
    let daemon = Daemon::start();
    use_some(&daemon, &workspace("lab", "ws"));
    let rows = |query: &str| daemon.get(&format!("/v1/usage{query}")).expect(200)["value"].clone();
    let first = row("lab", "ws", "2018-07-01", 2, 21_700.0);
    let second = row("lab", "ws", "2018-07-02", 1, 21_600.0);
    assert_eq!(rows(""), json!([first, second]));
    assert_eq!(rows("?from=2018-07-02"), json!([second]));
    assert_eq!(rows("?to=2018-07-01"), json!([first]));
    assert_eq!(rows("?to=2018-06-30"), json!([]));
    daemon
        .get("/v1/usage?from=tomorrow")
        .expect_error(400, "InvalidParameter");
    daemon
        .get("/v1/usage?from=2018-07-02&to=2018-07-01")
        .expect_error(400, "InvalidParameter");
    // This month's GPU hours are among the usages.
    let usages = daemon.get("/v1/usages").expect(200);
    let hours = usages["value"].as_array().unwrap().iter();
    let mut hours = hours.filter(|usage| usage["name"]["value"] == "GPU hours of this month");
    assert_eq!(hours.next().unwrap()["currentValue"], 96);
}
