//! `lote node` with a command: draining, resuming, removing.

use serde_json::{Value, json};

use crate::stub::{Reply, Request, Stub};
use crate::terminal::run;

fn node(state: &str, jobs: u32) -> Value {
    json!({"id": "/v1/nodes/gpu1", "name": "gpu1", "type": "Lote/nodes",
        "properties": {"vmSize": "cpu", "state": state, "jobs": jobs}})
}

#[test]
fn a_drain_says_what_goes_on() {
    for (jobs, said) in [
        (0, "node gpu1 gets no new jobs, and has none"),
        (1, "node gpu1 gets no new jobs; 1 job goes on there"),
        (3, "node gpu1 gets no new jobs; 3 jobs go on there"),
    ] {
        let stub = Stub::start(move |_| Reply::json(200, &node("draining", jobs)));
        let run = run(&stub.url, "node drain gpu1 --reason disk");
        assert_eq!((run.code, run.out.as_str()), (0, ""), "{}", run.err);
        assert!(run.err.contains(said), "{}", run.err);
        let sent = &stub.requests()[0];
        assert_eq!(sent.line(), "POST /v1/nodes/gpu1/drain");
        let body: Value = serde_json::from_str(&sent.body).unwrap();
        assert_eq!(body, json!({"properties": {"reason": "disk"}}));
    }
    let stub = Stub::start(|_| Reply::json(200, &node("drained", 0)));
    let run = run(&stub.url, "node drain gpu1 -o json");
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(answer["properties"]["state"], "drained");
    assert_eq!(stub.requests()[0].body, r#"{"properties":{}}"#);
}

#[test]
fn a_node_takes_jobs_again() {
    let stub = Stub::start(|_| Reply::json(200, &node("ready", 0)));
    let run = run(&stub.url, "node resume gpu1");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("takes jobs again"), "{}", run.err);
    assert_eq!(stub.requests()[0].line(), "POST /v1/nodes/gpu1/resume");
}

#[test]
fn a_node_is_removed_once_somebody_is_sure() {
    let gone = Stub::start(|_| Reply::Whole(200, Vec::new(), String::new()));
    for verb in ["remove", "delete"] {
        let asked = run(&gone.url, &format!("node {verb} gpu1"));
        assert_eq!(asked.code, 2, "it asks first: {}", asked.err);
        let done = run(&gone.url, &format!("node {verb} gpu1 --yes"));
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(done.err.contains("removed node gpu1"), "{}", done.err);
    }
    let lines: Vec<String> = gone.requests().iter().map(Request::line).collect();
    assert_eq!(lines, ["DELETE /v1/nodes/gpu1", "DELETE /v1/nodes/gpu1"]);

    let none = Stub::start(|_| Reply::Whole(204, Vec::new(), String::new()));
    let run = run(&none.url, "node remove gpu1 -y");
    assert!(run.err.contains("was not there"), "{}", run.err);

    let busy = "node gpu1 is alive; stop its daemon, or drain it";
    let refusing = Stub::start(|_| Reply::error(409, "NodeInUse", busy));
    let refused = crate::terminal::run(&refusing.url, "node remove gpu1 -y");
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains(busy), "{}", refused.err);
}
