//! Daemons that hang and machines that restart without a word while jobs run.

use serde_json::json;

use crate::jobs::{MOUNTED, shell_job, shell_job_with};
use crate::site::{FILES, Site, WATCHDOG, disks, is_ready};

/// Whether the gate is open. A client of NFS remembers for a minute that a name is not there, unless it
/// reads the directory.
const IS_OPEN: &str = "ls $(dirname GATE) | grep -qx $(basename GATE)";

/// Says where it runs, and goes on until the gate is open.
fn until_open(gate: &str) -> String {
    let line = format!(
        "echo $AZ_BATCH_NODE_ID >> GATE.starts; until {IS_OPEN}; do sleep 1; done; \
         echo ended on $AZ_BATCH_NODE_ID"
    );
    line.replace("GATE", &format!("{MOUNTED}/in/{gate}"))
}

/// Stops the node's daemon from outside when the job will run, and leaves it so; once only, whoever
/// mounts again. The word that is appended is where something has to be mounted.
const STOP_DAEMON: &str = "sh -c 'mount -t tmpfs none \"$1\" && { mkdir /run/stop-daemon || exit 0; } && \
     systemd-run --on-active=8s --timer-property=AccuracySec=100ms \
     kill -STOP $(systemctl show --property=MainPID --value lote)' sh";

/// Systemd kills a daemon that gives no sign of life, and the next one goes on with what it finds.
pub(crate) fn a_daemon_hangs(site: &mut Site) {
    let mut job = shell_job(&until_open("hang-gate"), &json!({}));
    job["properties"]["mountVolumes"]["unmanagedFileSystems"] =
        json!([{"mountCommand": STOP_DAEMON, "relativeMountPath": "stopped"}]);
    site.submit("unattended", &job);
    let starts = site.until("the job to run", |site| starts(site, "hang-gate", 1));
    let name = starts.first().expect("a node");
    site.until("systemd to miss signs of life", |site| {
        let machine = site.workers.iter().find(|worker| &worker.name == name)?;
        machine.console().contains(WATCHDOG).then_some(())
    });
    site.log(&format!("the daemon of {name} hung and was killed"));
    site.put(FILES, "hang-gate");
    let output = site.succeed("unattended");
    assert_eq!(output, format!("ended on {name}\n"));
    let job = site.job_now("unattended").expect("the job");
    assert_eq!(job["lote"]["attempt"], 1, "{job:#}");
}

/// The file server that a worker is, on two disks of its own.
const SCRATCH: &str = "scratch";

/// One worker runs a job and serves the files of a job on the other. It restarts: the first job is
/// started again, the second waits for its files and goes on. Both take a worker for themselves.
pub(crate) fn a_worker_with_files_restarts(site: &mut Site) {
    let again = json!({"lote": {"attemptsMax": 5}});
    site.submit("restarted", &shell_job(&until_open("worker-gate"), &again));
    let first = site.until("the job to run", |site| starts(site, "worker-gate", 1));
    let victim = first.first().expect("a node").clone();
    let place = json!({"node": victim, "disks": disks()});
    site.create_file_server(SCRATCH, "cpu", &place);
    // A file that stays open: its handle has to be good afterwards.
    let is_open = IS_OPEN.replace("GATE", &format!("{MOUNTED}/in/gate"));
    let line = format!(
        "mkdir -p {MOUNTED}/in; exec 5>>{MOUNTED}/open-file; i=0; \
         until {is_open}; do i=$((i+1)); echo line $i; echo $i >&5; sleep 0.5; done; \
         echo in all $i; cp {MOUNTED}/open-file $AZ_BATCHAI_OUTPUT_MODEL/numbers"
    );
    let files = json!({"outputDirectories": [{"id": "MODEL", "pathPrefix": MOUNTED}]});
    site.submit("served", &shell_job_with(SCRATCH, &line, &files));
    let before = site.until("the first lines on the worker's files", |site| {
        let output = site.output("served", "stdout.txt")?;
        output.contains("line 5\n").then_some(output)
    });

    let worker = site.workers.iter().find(|worker| worker.name == victim);
    worker.expect("a worker").reset();
    site.log(&format!(
        "{victim}, which runs a job and serves the files of another, was reset"
    ));
    let all = site.until("the job to be started again", |site| {
        starts(site, "worker-gate", 2)
    });
    site.log(&format!("its job was started again on {}", all[1]));
    site.until("new lines on the worker's files", |site| {
        let now = site.output("served", "stdout.txt")?;
        (now.len() > before.len()).then_some(())
    });
    site.log("the output of the job that it serves goes on");
    site.put(FILES, "worker-gate");
    site.put(SCRATCH, "gate");

    let output = site.succeed("restarted");
    let last = format!("ended on {}", all[1]);
    assert_eq!(output.lines().last(), Some(last.as_str()));
    let output = site.succeed("served");
    let count: usize = output
        .lines()
        .last()
        .and_then(|last| last.strip_prefix("in all ")?.parse().ok())
        .expect("the end");
    let lines: Vec<String> = (1..=count).map(|i| format!("line {i}\n")).collect();
    assert_eq!(output, format!("{}in all {count}\n", lines.concat()));
    let numbers: Vec<String> = (1..=count).map(|i| format!("{i}\n")).collect();
    assert_eq!(
        site.fetch("served", "MODEL", "numbers"),
        Some(numbers.concat())
    );
    let job = site.job_now("served").expect("the job");
    assert_eq!(job["lote"]["attempt"], 1, "{job:#}");
    site.until("the worker to be back", |site| {
        site.node(&victim).filter(is_ready)
    });

    // It knows the array as its own, so the disks can be erased and used by another.
    site.ask(&["file-server", "delete", SCRATCH, "--erase-data", "--yes"]);
    site.create_file_server("anew", "cpu", &place);
}

/// The only member of the store restarts, and with it the files: what was acknowledged is there, and
/// a job that could not be watched meanwhile is started again.
pub(crate) fn the_head_restarts(site: &mut Site) {
    let again = json!({"lote": {"attemptsMax": 5}});
    site.submit("headless", &shell_job(&until_open("head-gate"), &again));
    site.until("the job to run", |site| starts(site, "head-gate", 1));
    site.head.reset();
    site.log("the machine with the store and the files was reset");
    site.until("the API to be away", |site| {
        site.lote(&["node", "list"]).err()
    });
    site.until("the API to answer again", |site| {
        site.lote(&["node", "list"]).ok()
    });
    site.log("the API answers again");
    site.put(FILES, "head-gate");
    let output = site.succeed("headless");
    let last = output.lines().last().unwrap_or_default();
    assert!(last.starts_with("ended on w"), "{output}");
    // What was there before is there again.
    assert_eq!(
        site.fetch("files", "MODEL", "model.txt").as_deref(),
        Some("42\n")
    );
}

/// The nodes on which the job of this gate was started, once it was so many times.
fn starts(site: &Site, gate: &str, times: usize) -> Option<Vec<String>> {
    let text = on_server(site, &format!("in/{gate}.starts"))?;
    let nodes: Vec<String> = text.lines().map(str::to_owned).collect();
    (nodes.len() >= times).then_some(nodes)
}

/// A file of the file server, if it is there.
fn on_server(site: &Site, path: &str) -> Option<String> {
    let target = site.folder().join("from-server");
    std::fs::remove_file(&target).ok();
    let to = target.display().to_string();
    site.lote(&["file-server", "get", FILES, path, &to]).ok()?;
    std::fs::read_to_string(&target).ok()
}

impl Site {
    /// Lets the job go that waits for a file of this name on this file server.
    fn put(&self, server: &str, name: &str) {
        let file = self.file(name, "open\n");
        self.ask(&["file-server", "put", server, &file, "in/"]);
    }
}
