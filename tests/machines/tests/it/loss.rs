//! Machines that restart without a word while jobs run.

use serde_json::json;

use crate::jobs::{MOUNTED, shell_job};
use crate::site::{FILES, Site, is_ready};

/// Says where it runs, and goes on until the gate is open.
const UNTIL_OPEN: &str = "echo $AZ_BATCH_NODE_ID >> GATE.starts; until [ -e GATE ]; do sleep 1; done; \
     echo ended on $AZ_BATCH_NODE_ID";

pub(crate) fn a_worker_restarts(site: &mut Site) {
    let line = UNTIL_OPEN.replace("GATE", &format!("{MOUNTED}/in/worker-gate"));
    site.submit(
        "worker-restart",
        &shell_job(&line, &json!({"lote": {"attemptsMax": 5}})),
    );
    let first = site.until("the job to run", |site| starts(site, 1));
    let victim = first.first().expect("a node").clone();
    let worker = site.workers.iter().find(|worker| worker.name == victim);
    worker.expect("a worker").reset();
    site.log(&format!("{victim} was reset"));
    let all = site.until("the job to be started again", |site| starts(site, 2));
    site.log(&format!("the job was started again on {}", all[1]));
    open(site, "worker-gate");
    let output = site.succeed("worker-restart");
    assert_eq!(
        output.lines().last(),
        Some(format!("ended on {}", all[1]).as_str())
    );
    site.until("the worker to be back", |site| {
        site.node(&victim).filter(is_ready)
    });
    site.log(&format!("{victim} is back"));
}

/// The nodes on which the job was started, once it was so many times.
fn starts(site: &Site, times: usize) -> Option<Vec<String>> {
    let text = on_server(site, "in/worker-gate.starts")?;
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

/// Lets the job go that waits for this file.
fn open(site: &Site, gate: &str) {
    let file = site.file(gate, "open\n");
    site.ask(&["file-server", "put", FILES, &file, "in/"]);
}

pub(crate) fn the_file_server_restarts(site: &mut Site) {
    let gate = format!("{MOUNTED}/in/server-gate");
    // A file that stays open: its handle has to be good afterwards.
    let line = format!(
        "exec 5>>{MOUNTED}/in/open-file; i=0; \
         until [ -e {gate} ]; do i=$((i+1)); echo line $i; echo $i >&5; sleep 0.5; done; \
         echo in all $i; cp {MOUNTED}/in/open-file $AZ_BATCHAI_OUTPUT_MODEL/numbers"
    );
    let files = json!({"outputDirectories": [{"id": "MODEL", "pathPrefix": MOUNTED}]});
    site.submit("server-restart", &shell_job(&line, &files));
    site.until("the first lines on the file server", |site| {
        let lines = site.output("server-restart", "stdout.txt")?;
        lines.contains("line 5\n").then_some(())
    });
    site.head.reset();
    site.log("the machine with the store and the files was reset");
    site.until("the API to answer again", |site| {
        site.lote(&["node", "list"]).err()
    });
    site.until("the API to answer again", |site| {
        site.lote(&["node", "list"]).ok()
    });
    site.log("the API answers again");
    let before = site.until("the job's output", |site| {
        site.output("server-restart", "stdout.txt")
    });
    site.until("new lines on the file server", |site| {
        let now = site.output("server-restart", "stdout.txt")?;
        (now.len() > before.len()).then_some(())
    });
    site.log("the job's output goes on");
    open(site, "server-gate");
    let output = site.succeed("server-restart");
    let last = output.lines().last().expect("output");
    let all: usize = last
        .strip_prefix("in all ")
        .and_then(|count| count.parse().ok())
        .expect("the end");
    let lines: Vec<String> = (1..=all).map(|i| format!("line {i}\n")).collect();
    assert_eq!(output, format!("{}in all {all}\n", lines.concat()));
    let numbers: Vec<String> = (1..=all).map(|i| format!("{i}\n")).collect();
    assert_eq!(
        site.fetch("server-restart", "MODEL", "numbers"),
        Some(numbers.concat())
    );
    let job = site.job_now("server-restart").expect("the job");
    assert_eq!(job["lote"]["attempt"].as_u64().unwrap_or(1), 1, "{job:#}");
}
