//! What is sent, and what of the answers is shown.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::stub::{Reply, Request, Stub};
use crate::terminal::{Terminal, run, run as run_line};

const WORKSPACE: &str = "/v1/groups/default/workspaces/default";

fn job(name: &str) -> Value {
    json!({"name": name, "properties": {"nodeCount": 1, "toolType": "custom", "executionState": "queued",
        "cluster": {"id": format!("{WORKSPACE}/clusters/local")}}})
}

fn body(request: &Request) -> Value {
    serde_json::from_str(&request.body).unwrap()
}

#[test]
fn a_job_file_goes_to_the_default_cluster_and_experiment() {
    let stub = Stub::start(|request| match request.line().as_str() {
        "PUT /v1/groups/default/workspaces/default/experiments/default/jobs/from-file" => {
            Reply::json(200, &job("from-file"))
        }
        _ => Reply::error(404, "NotFound", "no"),
    });
    let terminal = Terminal::new();
    let file = terminal.home.path().join("job.yaml");
    std::fs::write(&file, "name: from-file\nproperties:\n  nodeCount: 1\n").unwrap();
    let run = terminal.run(
        &stub.url,
        &format!("--token secret job create -f {}", file.display()),
    );
    assert_eq!(
        (run.code, run.out.as_str()),
        (0, "from-file\n"),
        "{}",
        run.err
    );
    let sent = &stub.requests()[0];
    assert_eq!(sent.token.as_deref(), Some("Bearer secret"));
    assert_eq!(
        body(sent),
        json!({"properties": {"nodeCount": 1, "cluster": {"id": format!("{WORKSPACE}/clusters/local")}}})
    );
}

#[test]
fn the_default_experiment_is_made_when_a_job_needs_it() {
    let made = AtomicUsize::new(0);
    let stub = Stub::start(move |request| {
        let line = request.line();
        if line.ends_with("/experiments/default") {
            made.fetch_add(1, Ordering::SeqCst);
            return Reply::json(200, &json!({"name": "default", "properties": {}}));
        }
        if made.load(Ordering::SeqCst) == 0 {
            return Reply::error(
                404,
                "ExperimentNotFound",
                "The specified experiment default is not found",
            );
        }
        Reply::json(200, &job("x"))
    });
    let run = run(&stub.url, "run --detach --name x -- date");
    assert_eq!((run.code, run.out.as_str()), (0, "x\n"), "{}", run.err);
    let lines: Vec<String> = stub.requests().iter().map(Request::line).collect();
    let experiment = format!("PUT {WORKSPACE}/experiments/default");
    let job = format!("{experiment}/jobs/x");
    assert_eq!(lines, [job.clone(), experiment, job]);
    let sent = body(&stub.requests()[2]);
    assert_eq!(
        sent["properties"]["lote"]["workingDirectory"],
        "/home/u/code"
    );
    assert_eq!(
        sent["properties"]["customToolkitSettings"]["commandLine"],
        "date"
    );
}

#[test]
fn another_experiment_is_not_made_by_a_slip() {
    let stub = Stub::start(|_| {
        Reply::error(
            404,
            "ExperimentNotFound",
            "The specified experiment typo is not found",
        )
    });
    let run = run(&stub.url, "run -e typo -- date");
    assert_eq!(run.code, 3);
    assert!(run.err.contains("lote experiment create"), "{}", run.err);
    assert_eq!(stub.requests().len(), 1);
}

#[test]
fn lists_go_on_over_pages_and_keep_the_token() {
    let stub = Stub::start(|request| {
        if request.target.contains("skip") {
            Reply::json(200, &json!({"value": [job("b")]}))
        } else {
            Reply::json(
                200,
                &json!({"value": [job("a")],
                "nextLink": format!("{WORKSPACE}/experiments/default/jobs?skip=1")}),
            )
        }
    });
    let run = run(&stub.url, "--token t job list");
    assert_eq!(run.code, 0, "{}", run.err);
    insta::assert_snapshot!(run.out);
    assert!(
        stub.requests()
            .iter()
            .all(|request| request.token.as_deref() == Some("Bearer t"))
    );
}

#[test]
fn links_to_other_hosts_do_not_get_the_token() {
    let storage = Stub::start(|_| Reply::Whole(200, Vec::new(), "weights".into()));
    let link = format!("{}/model.pt", storage.url);
    let stub = Stub::start(move |_| {
        Reply::json(
            200,
            &json!({"value": [{"name": "model.pt", "fileType": "file", "downloadUrl": link}]}),
        )
    });
    let terminal = Terminal::new();
    let target = terminal.home.path().join("here.pt");
    let run = terminal.run(
        &stub.url,
        &format!(
            "--token t job files get j a/model.pt -d MODEL -O {}",
            target.display()
        ),
    );
    assert_eq!(run.code, 0, "{}", run.err);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "weights");
    assert_eq!(storage.requests()[0].token, None);
    assert!(
        stub.requests()[0]
            .target
            .contains("outputdirectoryid=MODEL&directory=a")
    );
    let listed = run_line(&stub.url, "job files j -d MODEL -p a");
    assert!(listed.out.contains("model.pt"), "{}", listed.err);
    assert_eq!(
        terminal.run(&stub.url, "job files get j model.pt -O -").out,
        "weights"
    );
}

#[test]
fn answers_are_passed_on_as_json_and_yaml() {
    let stub = Stub::start(|_| {
        Reply::json(
            200,
            &json!({"name": "j", "unknown": {"to": ["this", "client"]}}),
        )
    });
    let as_json = run(&stub.url, "job show j -o json").out;
    assert_eq!(
        serde_json::from_str::<Value>(&as_json).unwrap()["unknown"]["to"][0],
        "this"
    );
    insta::assert_snapshot!(run(&stub.url, "job show j -o yaml").out);
}

#[test]
fn operations_are_waited_for() {
    let polls = AtomicUsize::new(0);
    let stub = Stub::start(move |request| match request.method.as_str() {
        "POST" | "DELETE" => Reply::Whole(
            202,
            vec![("Azure-AsyncOperation", "/v1/operations/1".into())],
            String::new(),
        ),
        _ if polls.fetch_add(1, Ordering::SeqCst) % 3 < 2 => {
            Reply::json(200, &json!({"status": "InProgress"}))
        }
        _ => Reply::json(200, &json!({"status": "Succeeded"})),
    });
    let run_line = |line: &str| run(&stub.url, line);
    let run = run_line("job terminate j");
    assert_eq!((run.code, run.err.as_str()), (0, "terminated job 'j'\n"));
    assert_eq!(stub.requests_of("GET /v1/operations/1").len(), 3);
    assert_eq!(
        run_line("cluster delete c --yes").err,
        "deleted cluster 'c'\n"
    );
    assert_eq!(
        run_line("job terminate j --no-wait").err,
        "job 'j' is being terminated\n"
    );
}

#[test]
fn a_failed_operation_is_a_failure() {
    let stub = Stub::start(|request| match request.method.as_str() {
        "DELETE" => Reply::Whole(
            202,
            vec![("Azure-AsyncOperation", "/v1/operations/1".into())],
            String::new(),
        ),
        _ => Reply::json(
            200,
            &json!({"status": "Failed", "error": {"code": "C", "message": "it is held"}}),
        ),
    });
    let run = run(&stub.url, "cluster delete c --yes");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("it is held"), "{}", run.err);
}

#[test]
fn clusters_are_created_and_scaled() {
    let stub = Stub::start(|_| {
        Reply::json(
            200,
            &json!({"name": "c", "properties": {"vmSize": "CPU", "provisioningState": "succeeded",
            "allocationState": "resizing", "currentNodeCount": 0}}),
        )
    });
    assert_eq!(
        run(&stub.url, "cluster create c --size cpu --target 2").code,
        0
    );
    assert_eq!(
        run(&stub.url, "cluster auto-scale c --min 0 --max 3").code,
        0
    );
    let requests = stub.requests();
    assert_eq!(requests[0].line(), format!("PUT {WORKSPACE}/clusters/c"));
    assert_eq!(
        body(&requests[0])["properties"]["scaleSettings"],
        json!({"manual": {"targetNodeCount": 2}})
    );
    assert_eq!(requests[1].method, "PATCH");
    assert_eq!(
        body(&requests[1]),
        json!({"properties": {"scaleSettings": {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 3}}}})
    );
}

#[test]
fn a_file_can_be_planned_before_submission() {
    let plan = json!({"job": "x", "attempt": 1, "imagined": true, "plugin": "custom 0.1.0", "preparation": null,
        "workingDirectory": null, "nodes": [{"rank": 0, "name": "a", "address": "127.0.0.1"}],
        "processes": [{"name": "command", "node": 0, "command": {"shell": "date"}, "variables": [], "gpus": "all",
                       "part": "primary", "onFailure": "failJob", "stage": 0}]});
    let stub = Stub::start(move |_| Reply::json(200, &plan));
    let terminal = Terminal::new();
    let file = terminal.home.path().join("date.toml");
    std::fs::write(&file, "[properties]\nnodeCount = 1\n").unwrap();
    let run = terminal.run(&stub.url, &format!("job plan {}", file.display()));
    assert_eq!(run.code, 0, "{}", run.err);
    insta::assert_snapshot!(run.out);
    assert_eq!(stub.requests()[0].method, "POST");
    assert_eq!(terminal.run(&stub.url, "job plan j1").code, 0);
    assert_eq!(
        stub.requests_of(&format!("GET {WORKSPACE}/experiments/default/jobs/j1/plan"))
            .len(),
        1
    );
}
