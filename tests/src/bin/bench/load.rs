//! Submits many jobs over HTTP and waits for their ends.

use std::time::{Duration, Instant};

use lote_tests::client::{Client, shell_job_with};
use lote_tests::daemon::Daemon;
use serde_json::{Value, json};

/// Clients that submit at the same time.
pub(crate) const CLIENTS: usize = 8;

/// Cores of one small job unless the user says otherwise: eight at once on two
/// cores.
pub(crate) const SHARE_CORES: f64 = 0.25;

/// Memory of one small job.
const MEMORY: &str = "32m";

/// Longer than any run should take.
const LIMIT: Duration = Duration::from_mins(10);

/// Between two looks at a job that has not ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Until the last job was acknowledged.
    pub(crate) submitted: Duration,
    /// Until every job was seen to have ended, from the same start.
    pub(crate) finished: Duration,
    /// Processor time inside the jobs' own control groups, all together.
    pub(crate) inside_seconds: f64,
}

/// A job of one line that shares the node with others.
pub(crate) fn small_job(command_line: &str, cores: f64) -> Value {
    let resources = json!({"cpusPerNode": cores, "memory": MEMORY});
    shell_job_with(command_line, json!({"resources": resources}))
}

/// Runs `count` jobs of `true` in an experiment of their own, from submission by
/// all clients at once to the end of the last one.
pub(crate) fn run_true(daemon: &Daemon, experiment: &str, count: usize, cores: f64) -> Run {
    let experiment = daemon.client().experiment(experiment);
    let job = small_job("true", cores);
    let start = Instant::now();
    let lasts = submit_by_all(daemon, &experiment, &job, count);
    let submitted = start.elapsed();
    let client = daemon.client();
    for last in &lasts {
        look_until(|| is_over(&client.job(last)).then_some(()));
    }
    let jobs = look_until(|| all_ended(&client, &experiment, count));
    let finished = start.elapsed();
    Run {
        submitted,
        finished,
        inside_seconds: check(&jobs),
    }
}

/// Looks seldom, because every look costs the daemon what an eighth of a job does.
fn look_until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "the jobs do not end");
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Gives the last job of each client.
fn submit_by_all(daemon: &Daemon, experiment: &str, job: &Value, count: usize) -> Vec<String> {
    std::thread::scope(|scope| {
        let submit = |first: usize| {
            let client = daemon.client();
            let numbers = (first..count).step_by(CLIENTS);
            numbers.fold(None, |_, number| {
                Some(client.submit(experiment, &format!("j{number:06}"), job))
            })
        };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|first| scope.spawn(move || submit(first)))
            .collect();
        clients
            .into_iter()
            .filter_map(|client| client.join().ok().flatten())
            .collect()
    })
}

/// All jobs, once all of them are over. What is answered is durable: the daemon
/// answers from nothing but its store.
fn all_ended(client: &Client, experiment: &str, count: usize) -> Option<Vec<Value>> {
    let jobs = list(client, experiment);
    let complete = jobs.len() == count && jobs.iter().all(|job| is_over(&job["properties"]));
    complete.then_some(jobs)
}

/// Every job of an experiment, page by page.
pub(crate) fn list(client: &Client, experiment: &str) -> Vec<Value> {
    let mut jobs = Vec::new();
    let mut next = Some(format!("{experiment}/jobs"));
    while let Some(path) = next {
        let mut page = client.get(&path).json;
        next = page["nextLink"].as_str().map(str::to_owned);
        if let Some(Value::Array(values)) = page.get_mut("value").map(Value::take) {
            jobs.extend(values);
        }
    }
    jobs
}

fn is_over(properties: &Value) -> bool {
    properties["executionState"] == "succeeded" || properties["executionState"] == "failed"
}

/// Every job must have succeeded; gives the processor time that they accounted for.
fn check(jobs: &[Value]) -> f64 {
    let mut seconds = 0.0;
    for job in jobs {
        let properties = &job["properties"];
        assert_eq!(properties["executionState"], "succeeded", "{job:#}");
        seconds += account_seconds(properties);
    }
    seconds
}

fn account_seconds(properties: &Value) -> f64 {
    properties["lote"]["account"]["cpuSeconds"]
        .as_f64()
        .unwrap_or(0.0)
}
