//! The original job factory: thirty submitters at once, three thousand jobs.
//! Nothing is lost, nothing is doubled, and whoever looks meanwhile sees what
//! was acknowledged.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lote_tests::client::{Answer, Client, shell_job, shell_job_with};
use lote_tests::daemon::Daemon;
use lote_tests::processes::resident_bytes;
use serde_json::{Value, json};

const SUBMITTERS: usize = 30;

const JOBS: usize = 3_000;

/// How often the factory repeats what failed with a status of the server's.
const REPEATS: usize = 5;

/// Between two attempts. The factory waits 5 s.
const REPEAT_PAUSE: Duration = Duration::from_millis(500);

/// Between two lists while jobs are submitted and run. The factory waits 45 s.
const LIST_PAUSE: Duration = Duration::from_millis(500);

/// Values on a page: an odd number, so that pages end anywhere.
const PAGE: usize = 97;

/// How long all of it may take on a machine that does other work as well.
const LIMIT: Duration = Duration::from_mins(12);

/// What the daemon may be in memory afterwards.
const RESIDENT_MAX: u64 = 256 << 20;

/// A job's name as the factory makes it: a prefix and 16 hexadecimal digits
/// that say nothing about the order of submission.
fn name(number: usize) -> String {
    let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("sweep_{scattered:016x}")
}

/// A job that leaves one line in a file that all of them share. It asks for
/// little, so that many run at once.
fn job(name: &str) -> Value {
    let command = format!("echo {name} >> $AZ_BATCHAI_MOUNT_ROOT/runs");
    let resources = json!({"cpusPerNode": 0.2, "memory": "32m"});
    shell_job_with(&command, json!({"resources": resources}))
}

/// The names that were acknowledged so far.
type Acknowledged = Mutex<BTreeSet<String>>;

/// Set when this ends, by a panic as well, so that nobody waits for ever.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn thirty_submitters_lose_nothing_and_double_nothing() {
    let daemon = if nix::unistd::geteuid().is_root() {
        Daemon::start(&[])
    } else {
        Daemon::start(&["--isolation", "none"])
    };
    let experiment = daemon.client().experiment("sweep");
    let acknowledged = Acknowledged::default();
    let start = Instant::now();
    let submitted = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (daemon, experiment, acknowledged) = (&daemon, &experiment, &acknowledged);
        let watcher = scope.spawn(move || {
            let mut lists = 0;
            while !submitted.load(Ordering::Relaxed) {
                list_consistently(&daemon.client(), experiment, acknowledged);
                lists += 1;
                std::thread::sleep(LIST_PAUSE);
            }
            lists
        });
        let over = SetAtEnd(submitted);
        submit_all(daemon, experiment, acknowledged);
        drop(over);
        println!("submitted after {:?}", start.elapsed());
        assert!(watcher.join().expect("every list is right") > 0);
    });
    let jobs = wait_for_all(&daemon.client(), &experiment, &acknowledged, start);
    println!("finished after {:?}", start.elapsed());
    check_ends(&daemon, &experiment, &jobs);
    let resident = resident_bytes(daemon.pid());
    println!("resident: {} MiB", resident >> 20);
    assert!(resident <= RESIDENT_MAX, "{} MiB", resident >> 20);
}

fn submit_all(daemon: &Daemon, experiment: &str, acknowledged: &Acknowledged) {
    let next = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SUBMITTERS {
            scope.spawn(move || {
                let client = daemon.client();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= JOBS {
                        return;
                    }
                    submit(&client, experiment, number, acknowledged);
                }
            });
        }
    });
}

/// Submits one job as the factory does, and reads it back. Every tenth is sent
/// twice, as by a factory that did not get the first answer.
fn submit(client: &Client, experiment: &str, number: usize, acknowledged: &Acknowledged) {
    let name = name(number);
    let path = format!("{experiment}/jobs/{name}");
    let body = json!({"properties": job(&name)});
    let first = put_repeatedly(client, &path, &body);
    if number.is_multiple_of(10) {
        let again = put_repeatedly(client, &path, &body);
        assert_eq!(uid(&again), uid(&first), "the same job");
    }
    acknowledged.lock().unwrap().insert(name.clone());
    let read = client.get(&path);
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.json["name"], *name);
    assert_eq!(uid(&read), uid(&first), "{read:?}");
}

fn uid(answer: &Answer) -> &str {
    let segment = &answer.json["properties"]["jobOutputDirectoryPathSegment"];
    segment.as_str().expect("every job has a path of its own")
}

/// Repeats what fails with a status of the server's; anything else is raised.
fn put_repeatedly(client: &Client, path: &str, body: &Value) -> Answer {
    let mut answer = client.put(path, body);
    for _ in 0..REPEATS {
        if answer.status < 500 {
            break;
        }
        println!("repeated after {}: {}", answer.status, answer.text);
        std::thread::sleep(REPEAT_PAUSE);
        answer = client.put(path, body);
    }
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer
}

/// One list, page by page: in order, nothing twice, and with everything that
/// was acknowledged before it began. Gives all jobs.
fn list_consistently(client: &Client, experiment: &str, acknowledged: &Acknowledged) -> Vec<Value> {
    let expected = acknowledged.lock().unwrap().clone();
    let mut jobs: Vec<Value> = Vec::new();
    let mut next = Some(format!("{experiment}/jobs?maxresults={PAGE}"));
    while let Some(path) = next {
        let page = client.get(&path);
        assert_eq!(page.status, 200, "{page:?}");
        let values = page.json["value"].as_array().expect("a page of values");
        next = page.json["nextLink"].as_str().map(str::to_owned);
        let full = values.len() == PAGE;
        assert!(
            full || (values.len() < PAGE && next.is_none()),
            "a short page is the last"
        );
        jobs.extend_from_slice(values);
    }
    let names: Vec<&str> = jobs.iter().filter_map(|job| job["name"].as_str()).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "in order, nothing twice");
    let names: BTreeSet<&str> = names.into_iter().collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|name| !names.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "acknowledged, not listed: {missing:?}");
    jobs
}

fn wait_for_all(
    client: &Client,
    experiment: &str,
    acknowledged: &Acknowledged,
    start: Instant,
) -> Vec<Value> {
    loop {
        let jobs = list_consistently(client, experiment, acknowledged);
        let is_over = |job: &Value| {
            let state = &job["properties"]["executionState"];
            state == "succeeded" || state == "failed"
        };
        let waiting = jobs.iter().filter(|job| !is_over(job)).count();
        if jobs.len() == JOBS && waiting == 0 {
            return jobs;
        }
        assert!(start.elapsed() < LIMIT, "{waiting} jobs have not ended");
        std::thread::sleep(LIST_PAUSE);
    }
}

/// Every job ran once and succeeded, and says the same when asked for alone.
fn check_ends(daemon: &Daemon, experiment: &str, jobs: &[Value]) {
    let client = daemon.client();
    for job in jobs {
        let properties = &job["properties"];
        assert_eq!(properties["executionState"], "succeeded", "{job:#}");
        assert_eq!(properties["lote"]["attempt"], 1, "{job:#}");
    }
    for job in jobs.iter().step_by(7) {
        let alone = client.get(&format!(
            "{experiment}/jobs/{}",
            job["name"].as_str().unwrap()
        ));
        assert_eq!(alone.json, *job);
    }
    let runs = runs(&client);
    let mut lines: Vec<&str> = runs.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (0..JOBS).map(name).collect();
    expected.sort_unstable();
    assert_eq!(lines.len(), JOBS, "one line for every job");
    assert!(lines == expected, "every job left its own line");
}

/// What all jobs left, read by a job because the folder is theirs.
fn runs(client: &Client) -> String {
    let experiment = client.experiment("check");
    let show = shell_job("cat $AZ_BATCHAI_MOUNT_ROOT/runs");
    let job = client.submit(&experiment, "show", &show);
    client.wait_for_end(&job);
    client.stdout(&job)
}
