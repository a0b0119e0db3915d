//! Jobs that prove by themselves that they run once at a time.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use lote_test_hosts::{HostDaemon, Lab};
use lote_tests::client::{Client, DEFAULT_WORKSPACE};
use lote_tests::wait_for;
use serde_json::{Value, json};

/// The cluster that the jobs run on.
pub(crate) const CLUSTER: &str = "c";

/// Processors that each part of a job takes: so many that a host with two holds two, and the jobs
/// of a load need every host.
const CORES: f64 = 0.7;

/// Longer than any loss takes to be noticed and made good.
pub(crate) const RECOVERY: Duration = Duration::from_mins(4);

/// Jobs whose every process holds a lock of the kernel that all hosts share. A second process of
/// the same job and rank finds it taken, and says so in a file.
pub(crate) struct Load {
    folder: PathBuf,
    experiment: String,
    jobs: Vec<String>,
}

impl Load {
    /// Makes the cluster with room for every host, and a folder that all jobs can write to.
    pub(crate) fn new(lab: &Lab) -> Self {
        let client = lab.client();
        cluster(&client, CLUSTER, lab.daemons.len());
        Self {
            folder: shared_folder(lab),
            experiment: client.experiment("load"),
            jobs: Vec::new(),
        }
    }

    /// The body of a job whose processes run for `seconds` on `nodes` nodes.
    fn body(&self, name: &str, nodes: usize, seconds: f64) -> Value {
        let folder = self.folder.display();
        // The rank is not in the environment of a custom job on one node.
        let line = format!(
            "exec 9> {folder}/{name}.lock; \
             flock -n 9 || {{ echo {name} >> {folder}/twice; exit 9; }}; \
             echo begun >> {folder}/{name}.starts; sleep {seconds}; echo done >> {folder}/{name}.ends"
        );
        json!({"properties": {
            "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
            "nodeCount": nodes,
            "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
            "customToolkitSettings": {"commandLine": line},
            "lote": {"resources": {"cpusPerNode": CORES, "memory": "64m"}, "gracePeriod": "PT2S",
                     "attemptsMax": 20},
        }})
    }

    /// Submits jobs one after the other, each to the next daemon that answers. Only what was
    /// acknowledged counts.
    pub(crate) fn submit(&mut self, daemons: &[HostDaemon], count: usize, seconds: f64) {
        let clients: Vec<Client> = daemons.iter().map(HostDaemon::client).collect();
        self.submit_to(&clients, count, seconds);
    }

    /// The same, to all daemons but one: a paused daemon takes requests and answers none.
    pub(crate) fn submit_to_others(
        &mut self,
        daemons: &[HostDaemon],
        but: usize,
        count: usize,
        seconds: f64,
    ) {
        let others = daemons
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != but);
        let clients: Vec<Client> = others.map(|(_, daemon)| daemon.client()).collect();
        self.submit_to(&clients, count, seconds);
    }

    fn submit_to(&mut self, clients: &[Client], count: usize, seconds: f64) {
        for _ in 0..count {
            let number = self.jobs.len();
            let name = format!("j{number}");
            let nodes = 1 + usize::from(number % 5 == 4);
            let path = format!("{}/jobs/{name}", self.experiment);
            let body = self.body(&name, nodes, seconds).to_string();
            let mut attempt = number;
            wait_for("some daemon to accept a job", RECOVERY, || {
                attempt += 1;
                let client = &clients[attempt % clients.len()];
                let answer = client.try_send("PUT", &path, Some(&body))?;
                (answer.status == 200).then_some(())
            });
            self.jobs.push(path);
        }
    }

    /// Waits until every job has succeeded, asking whoever answers, and checks that no two
    /// processes of one ran at once.
    pub(crate) fn assert_all_succeed(&self, daemons: &[HostDaemon]) {
        let clients: Vec<Client> = daemons.iter().map(HostDaemon::client).collect();
        for path in &self.jobs {
            let mut seen = Value::Null;
            let mut turn = 0;
            let start = std::time::Instant::now();
            loop {
                turn += 1;
                let answer = clients[turn % clients.len()].try_send("GET", path, None);
                if let Some(answer) = answer.filter(|answer| answer.status != 503) {
                    assert_eq!(answer.status, 200, "{path} is lost: {answer:?}");
                    seen = answer.json["properties"].clone();
                    let state = seen["executionState"].as_str().unwrap_or_default();
                    assert_ne!(state, "failed", "{path}: {seen:#}");
                    if state == "succeeded" {
                        break;
                    }
                }
                assert!(start.elapsed() < RECOVERY, "{path} does not end: {seen:#}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        self.assert_never_twice();
        for path in &self.jobs {
            let name = path.rsplit('/').next().unwrap();
            let ends = fs::read_to_string(self.folder.join(format!("{name}.ends")));
            assert!(ends.is_ok(), "{name} succeeded without having run");
        }
    }

    /// No process found the lock of its job taken.
    pub(crate) fn assert_never_twice(&self) {
        let twice = fs::read_to_string(self.folder.join("twice")).unwrap_or_default();
        assert!(twice.is_empty(), "these jobs ran twice at once: {twice}");
    }

    /// How often each job was started.
    pub(crate) fn starts(&self) -> BTreeMap<String, usize> {
        let count = |path: &String| {
            let name = path.rsplit('/').next().unwrap().to_owned();
            let starts = fs::read_to_string(self.folder.join(format!("{name}.starts")));
            (name, starts.unwrap_or_default().lines().count())
        };
        self.jobs.iter().map(count).collect()
    }

    /// Waits until some job runs on a host.
    pub(crate) fn wait_until_running_on(&self, daemon: &HostDaemon) {
        let marker = self.folder.display().to_string();
        wait_for("a job to run on a host", RECOVERY, || {
            (!daemon.host.processes_mentioning(&marker).is_empty()).then_some(())
        });
    }
}

/// Nothing of any job is left on any host.
pub(crate) fn assert_nothing_left(daemons: &[HostDaemon]) {
    for daemon in daemons {
        let work = format!("{}/work", daemon.seen_data().display());
        let what = format!("{} to be clean", daemon.name());
        wait_for(&what, RECOVERY, || {
            let processes = daemon.host.processes_mentioning(&work);
            let runs = fs::read_dir(daemon.data().join("run"));
            let runs = runs.map_or(0, |runs| {
                let folders = runs.flatten();
                folders.filter(|run| run.path().is_dir()).count()
            });
            (processes.is_empty() && runs == 0).then_some(())
        });
    }
}

/// A folder that the jobs of all hosts can write to, as on a shared file system.
pub(crate) fn shared_folder(lab: &Lab) -> PathBuf {
    let folder = lab.folder().join("shared");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    folder
}

/// Makes a cluster that grows to `nodes` nodes as it has work.
pub(crate) fn cluster(client: &Client, name: &str, nodes: usize) -> String {
    let path = format!("{DEFAULT_WORKSPACE}/clusters/{name}");
    let body = json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": nodes}},
        "userAccountSettings": {"adminUserName": "op"},
    }});
    let answer = client.put(&path, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    path
}
