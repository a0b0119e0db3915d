//! Events and logs while a job runs.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lote_model::allocation::{GangMember, NodePlan};
use lote_model::cluster::ClusterStatus;
use lote_model::duration::Seconds;
use lote_model::id::NodeName;
use lote_model::job::{JobRecord, JobStatus, STDOUTERR};
use lote_model::key;
use lote_model::plan::{Command, GpuShare, LaunchPlan, OnFailure, Part, Process};
use lote_model::report::{Report, ReportPhase};
use serde_json::{Value, json};

use crate::access::Guarded;
use crate::daemon::{
    Daemon, LAB, NODE, cluster_body, job_url, location, name, running, succeeded, workspace_path,
};
use crate::files::with_directories;

/// An answer that is read as it comes: chunk by chunk, without the framing.
pub(crate) struct Live(BufReader<TcpStream>);

impl Live {
    pub(crate) fn open(daemon: &Daemon, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("200"), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self(reader)
    }

    /// The next chunk; none at the end, which must be a proper one.
    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.0.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).expect("the body broke off");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// Reads until as many bytes have come.
    pub(crate) fn bytes(&mut self, count: usize) -> String {
        let mut text = String::new();
        while text.len() < count {
            text.push_str(&self.chunk().expect("more output"));
        }
        text
    }

    pub(crate) fn rest(&mut self) -> String {
        std::iter::from_fn(|| self.chunk()).collect()
    }

    /// The next event: name, id and data.
    fn event(&mut self) -> Option<(String, u64, Value)> {
        let text = self.chunk()?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_else(|| panic!("{text}"))
        };
        Some((
            field("event: ").into(),
            field("id: ").parse().unwrap(),
            serde_json::from_str(field("data: ")).unwrap(),
        ))
    }
}

fn events_url() -> String {
    format!("{}/events", job_url("j"))
}

#[test]
fn events_tell_every_change_until_the_end() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    let other = daemon.submit("j2");
    let mut live = Live::open(&daemon, &events_url(), "");
    let (name, _, data) = live.event().unwrap();
    assert_eq!(
        (name.as_str(), &data["state"]),
        ("status", &Value::from("queued"))
    );
    daemon.set_status(&running(&other, daemon.now()), "j2");
    daemon.set_status(&running(&record, daemon.now()), "j");
    let (name, id, data) = live.event().unwrap();
    assert_eq!(
        (name.as_str(), id, &data["state"]),
        ("status", daemon.revision(), &Value::from("running"))
    );
    daemon.write(
        &key::report(&record.uid, &NodeName::new(NODE)),
        &prepared(&record, &daemon),
    );
    assert_eq!(live.event().unwrap().0, "report");
    daemon
        .post(&format!("{}/terminate", job_url("j")))
        .expect(202);
    let (name, _, data) = live.event().unwrap();
    assert_eq!(name, "job");
    assert!(data["terminateRequestedAt"].is_string());
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    assert_eq!(live.event().unwrap().2["state"], "succeeded");
    assert!(live.event().is_none());
}

fn prepared(record: &JobRecord, daemon: &Daemon) -> Report {
    Report {
        uid: record.uid.clone(),
        node: NodeName::new(NODE),
        attempt: 1,
        rank: 0,
        phase: ReportPhase::Prepared,
        directories: vec![],
        at: daemon.now(),
    }
}

#[test]
fn nodes_that_are_not_prepared_yet_say_what_they_do() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    daemon.set_status(&running(&record, daemon.now()), "j");
    let report = |attempt, phase| Report {
        attempt,
        phase,
        ..prepared(&record, &daemon)
    };
    let told = |report: &Report| {
        daemon.write(&key::report(&record.uid, &NodeName::new(NODE)), report);
        daemon.get(&job_url("j")).expect(200)["properties"]["lote"]["preparing"].clone()
    };
    let pulling = ReportPhase::Preparing {
        doing: "pulling image docker://busybox".into(),
    };
    let preparing = told(&report(1, pulling.clone()));
    assert_eq!(
        preparing,
        json!([{"node": NODE, "doing": "pulling image docker://busybox", "at": daemon.now()}])
    );
    assert_eq!(told(&report(0, pulling.clone())), Value::Null);
    assert_eq!(told(&report(1, ReportPhase::Prepared)), Value::Null);
    told(&report(1, pulling));
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    let ended = daemon.get(&job_url("j")).expect(200);
    assert_eq!(ended["properties"]["lote"]["preparing"], Value::Null);
}

#[test]
fn events_are_resumed_in_order_and_without_gap() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    let start = daemon.revision();
    for attempt in 1..=3 {
        daemon.set_status(
            &JobStatus {
                attempt,
                ..running(&record, daemon.now())
            },
            "j",
        );
        daemon.write(
            &key::report(&record.uid, &NodeName::new(NODE)),
            &Report {
                attempt,
                ..prepared(&record, &daemon)
            },
        );
    }
    daemon.set_status(
        &JobStatus {
            attempt: 3,
            ..succeeded(&record, daemon.now())
        },
        "j",
    );
    let read = |daemon: &Daemon, query: &str, headers: &str| -> Vec<(String, u64, Value)> {
        let mut live = Live::open(daemon, &format!("{}{query}", events_url()), headers);
        std::iter::from_fn(|| live.event()).collect()
    };
    let all = read(&daemon, &format!("?from={start}"), "");
    let ids: Vec<u64> = all.iter().map(|event| event.1).collect();
    assert_eq!(ids, (start + 1..=start + 7).collect::<Vec<_>>());
    assert_eq!(
        all.iter().map(|event| event.0.as_str()).collect::<Vec<_>>(),
        [
            "status", "report", "status", "report", "status", "report", "status"
        ]
    );
    // The daemon's memory of recent changes is lost, the store's file is not.
    daemon.restart();
    let later = read(&daemon, "", &format!("Last-Event-ID: {}\r\n", start + 4));
    assert_eq!(later, all[4..]);
    assert_eq!(read(&daemon, &format!("?from={}", start + 7), ""), []);
    let present = read(&daemon, "", "");
    assert_eq!(present.last().unwrap().2["state"], "succeeded");
    daemon
        .get(&format!("{}?from=x", events_url()))
        .expect_error(400, "InvalidParameter");
}

#[test]
fn the_events_of_a_deleted_job_end() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("j");
    let mut live = Live::open(&daemon, &events_url(), "");
    live.event().unwrap();
    daemon.erase("j");
    assert_eq!(live.event().unwrap().0, "deleted");
    assert!(live.event().is_none());
    daemon.get(&events_url()).expect_error(404, "JobNotFound");
}

#[test]
fn events_of_all_resources_are_told_and_resumed() {
    let mut daemon = Daemon::start();
    daemon.furnish();
    let start = daemon.revision();
    let record = daemon.submit("J-One");
    daemon.set_status(&running(&record, daemon.now()), "J-One");
    let cluster = workspace_path().child(name("c"));
    daemon.write(&key::cluster_status(&cluster), &ClusterStatus::default());
    daemon.erase("J-One");
    let read = |daemon: &Daemon| {
        let mut live = Live::open(daemon, &format!("/v1/events?from={start}"), "");
        let events = std::iter::from_fn(|| live.event()).take(4);
        events
            .map(|(name, id, data)| (name, id - start, data["id"].as_str().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let job = job_url("j-one");
    let expected = [
        ("job", 1, job.clone()),
        ("jobStatus", 2, job.clone()),
        ("clusterStatus", 3, format!("{LAB}/ws/clusters/c")),
        ("deleted", 4, job),
    ];
    let expected = expected.map(|(name, at, id)| (name.to_owned(), at, id));
    assert_eq!(read(&daemon), expected);
    // The daemon's memory of recent changes is lost, the store's file is not.
    daemon.restart();
    assert_eq!(read(&daemon), expected);

    let mut live = Live::open(&daemon, "/v1/events", "");
    daemon.submit("J-Two");
    let (event, id, data) = live.event().unwrap();
    assert_eq!((event.as_str(), id), ("job", daemon.revision()));
    assert_eq!(data["id"], job_url("J-Two"));
    daemon
        .get("/v1/events?from=x")
        .expect_error(400, "InvalidParameter");
}

#[test]
fn events_outside_the_scope_of_a_token_are_not_told() {
    let guarded = Guarded::start();
    let token = guarded.token(&json!({
        "role": "reader", "scope": {"group": "lab", "workspace": "other"}}));
    let root = |method: &str, path: &str, body: &Value| {
        guarded
            .send(Some(&guarded.root), method, path, body)
            .expect(200);
    };
    let start = guarded.daemon.revision();
    root("PUT", &format!("{LAB}/ws/clusters/secret"), &cluster_body());
    root("PUT", &format!("{LAB}/other/clusters/c"), &cluster_body());
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let path = format!("/v1/events?from={start}");
    let mut live = Live::open(&guarded.daemon, &path, &bearer);
    let (_, _, data) = live.event().unwrap();
    assert_eq!(data["id"], format!("{LAB}/other/clusters/c"));
}

fn logs(query: &str) -> String {
    format!("{}/logs?{query}", job_url("j"))
}

#[test]
fn a_followed_file_arrives_as_it_is_written() {
    let daemon = Daemon::start();
    let (record, work) = with_directories(&daemon);
    let mut live = Live::open(&daemon, &logs("follow=true&file=stdout.txt"), "");
    let mut file = File::create(work.join("out/stdout.txt")).unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let line = format!("line {round}\n");
        let written = Instant::now();
        file.write_all(line.as_bytes()).unwrap();
        assert_eq!(live.bytes(line.len()), line);
        slowest = slowest.max(written.elapsed());
    }
    // The goal is a tenth of a second; a loaded machine gets some more.
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    file.write_all(b"last words\n").unwrap();
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    assert_eq!(live.rest(), "last words\n");
}

#[test]
fn a_job_that_waits_is_followed_from_its_first_line() {
    let daemon = Daemon::start();
    daemon.furnish();
    let record = daemon.submit("j");
    let mut live = Live::open(&daemon, &logs("follow=true&process=rank-1"), "");
    let out = daemon.folder.path().join("later");
    daemon.write(&key::plan(&record.uid, 1, 0), &two_processes(&record));
    daemon.set_status(&running(&record, daemon.now()), "j");
    let report = Report {
        directories: vec![location(STDOUTERR, NODE, &out)],
        ..prepared(&record, &daemon)
    };
    daemon.write(&key::report(&record.uid, &NodeName::new(NODE)), &report);
    fs::create_dir(&out).unwrap();
    fs::write(out.join("stdout-0.txt"), "not this\n").unwrap();
    fs::write(out.join("stdout-1.txt"), "first\n").unwrap();
    assert_eq!(live.bytes(6), "first\n");
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    assert_eq!(live.rest(), "");
    assert_eq!(daemon.get(&logs("process=1")).text(), "first\n");
    assert_eq!(daemon.get(&logs("")).text(), "not this\n");
    let error = daemon
        .get(&logs("process=rank-7&follow=true"))
        .expect_error(400, "ProcessNotFound");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("rank-0, rank-1"),
        "{error}"
    );
    daemon
        .get(&logs("stream=stderr"))
        .expect_error(404, "FileNotFound");
}

pub(crate) fn two_processes(record: &JobRecord) -> NodePlan {
    let process = |rank: u32| Process {
        name: format!("rank-{rank}"),
        node: 0,
        command: Command::Shell("true".into()),
        variables: vec![],
        working_directory: None,
        output: Some(rank.to_string()),
        gpus: GpuShare::All,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    };
    NodePlan {
        job: record.path.clone(),
        uid: record.uid.clone(),
        attempt: 1,
        rank: 0,
        gang: vec![GangMember {
            node: NodeName::new(NODE),
            address: "h".into(),
        }],
        plugin: "custom 1.0.0".into(),
        launch: LaunchPlan {
            processes: vec![process(0), process(1)],
            ..LaunchPlan::default()
        },
        primaries_elsewhere: false,
        mounts: lote_model::planned_mount::PlannedMounts::default(),
        container: None,
        user_variables: vec![],
        secret_variables: vec![],
        master_port: None,
        peer_launcher: false,
        preparation: None,
        std_out_err_path_prefix: "/x".into(),
        input_directories: vec![],
        output_directories: vec![],
        output_segment: "s".into(),
        working_directory: None,
        unix_id: record.unix_id,
        cluster: "c".into(),
        grace_period: Seconds(30),
        previous_node: None,
    }
}

#[test]
fn a_job_that_ends_without_the_file_ends_the_stream() {
    let daemon = Daemon::start();
    let (record, _) = with_directories(&daemon);
    let mut live = Live::open(&daemon, &logs("follow=true&file=never.txt"), "");
    daemon.set_status(&succeeded(&record, daemon.now()), "j");
    assert_eq!(live.rest(), "");
}

#[test]
fn wrong_log_requests_are_told() {
    let daemon = Daemon::start();
    with_directories(&daemon);
    daemon
        .get(&logs("file=../x"))
        .expect_error(400, "InvalidParameter");
    daemon
        .get(&logs("file=a&process=b"))
        .expect_error(400, "InvalidParameter");
    daemon
        .get(&logs("stream=stdin"))
        .expect_error(400, "InvalidParameter");
    daemon
        .get(&logs("follow=maybe"))
        .expect_error(400, "InvalidParameter");
    daemon
        .get(&logs("directory=NONE&file=a"))
        .expect_error(400, "InvalidOutputDirectoryId");
    daemon
        .get(&logs("file=none"))
        .expect_error(404, "FileNotFound");
}

#[test]
fn the_daemon_stops_in_spite_of_followers() {
    let mut daemon = Daemon::start();
    with_directories(&daemon);
    let _logs = Live::open(&daemon, &logs("follow=true&file=stdout.txt"), "");
    let _events = Live::open(&daemon, &events_url(), "");
    let _idle = TcpStream::connect(daemon.address).unwrap();
    let begin = Instant::now();
    daemon.stop();
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
}
