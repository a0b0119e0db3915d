//! What users see when something is wrong.

use serde_json::json;

use crate::stub::{Reply, Stub};
use crate::terminal::{Terminal, run};

#[test]
fn no_daemon_says_how_to_start_one() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let run = run(&url, "job list");
    assert_eq!(run.code, 4);
    assert!(
        run.err.contains(&format!("no daemon answers at {url}")),
        "{}",
        run.err
    );
    assert!(run.err.contains("lote node"), "{}", run.err);
    assert_eq!(run.out, "");
}

#[test]
fn a_missing_job_has_its_own_exit_code() {
    let stub =
        Stub::start(|_| Reply::error(404, "JobNotFound", "The specified job j9 is not found"));
    for line in [
        "job show j9",
        "job logs j9",
        "job wait j9",
        "job terminate j9",
        "job plan j9",
    ] {
        let run = run(&stub.url, line);
        assert_eq!(run.code, 3, "{line}");
        assert!(
            run.err.contains("The specified job j9 is not found"),
            "{line}: {}",
            run.err
        );
        assert!(run.err.contains("lote job list"), "{line}: {}", run.err);
    }
}

#[test]
fn a_refused_job_file_shows_every_finding() {
    let stub = Stub::start(|_| {
        Reply::json(
            400,
            &json!({"error": {
            "code": "InvalidParameter", "message": "nodeCount must be at least 1", "target": "/properties/nodeCount",
            "details": [{"code": "InvalidParameter", "message": "unknown member", "target": "/properties/x"}]}}),
        )
    });
    let terminal = Terminal::new();
    let file = terminal.home.path().join("job.json");
    std::fs::write(&file, r#"{"properties": {"nodeCount": 0, "x": 1}}"#).unwrap();
    let run = terminal.run(&stub.url, &format!("job create j -f {}", file.display()));
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(run.err);
}

#[test]
fn files_that_are_none_are_refused_here() {
    let stub = Stub::start(|_| Reply::json(200, &json!({})));
    let terminal = Terminal::new();
    let file = terminal.home.path().join("job.yaml");
    std::fs::write(&file, "a: [").unwrap();
    let run = terminal.run(&stub.url, &format!("job create -f {}", file.display()));
    assert_eq!(run.code, 1);
    assert!(run.err.contains("cannot be read as YAML"), "{}", run.err);
    let missing = terminal.home.path().join("missing.json");
    let run = terminal.run(&stub.url, &format!("job create -f {}", missing.display()));
    assert!(
        run.err.contains("cannot read") && run.err.contains("missing.json"),
        "{}",
        run.err
    );
    assert!(stub.requests().is_empty());
}

#[test]
fn a_stranger_at_the_address_is_recognised() {
    let stub = Stub::start(|_| Reply::Whole(200, Vec::new(), "<html>hello</html>".into()));
    let run = run(&stub.url, "cluster list");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("not that of a Lote daemon"), "{}", run.err);
}

#[test]
fn a_missing_token_says_how_to_give_one() {
    let stub = Stub::start(|_| Reply::error(401, "Unauthorized", "a token is needed"));
    let run = run(&stub.url, "node list");
    assert_eq!(run.code, 1);
    assert!(run.err.contains("--token"), "{}", run.err);
}

#[test]
fn wrong_names_are_found_before_anything_is_sent() {
    let stub = Stub::start(|_| Reply::json(200, &json!({})));
    for line in [
        "job show a/b",
        "workspace show ..",
        "-g a/b job list",
        "cluster show ä",
    ] {
        let run = run(&stub.url, line);
        assert_eq!(run.code, 2, "{line}: {}", run.err);
    }
    assert!(stub.requests().is_empty());
}

#[test]
fn nothing_is_deleted_unasked() {
    let stub = Stub::start(|_| Reply::Whole(204, Vec::new(), String::new()));
    for line in [
        "job delete j",
        "workspace delete w",
        "experiment delete e",
        "cluster delete c",
        "file-server delete f",
    ] {
        let refused = run(&stub.url, line);
        assert_eq!(refused.code, 2, "{line}");
        assert!(refused.err.contains("--yes"), "{}", refused.err);
        assert!(stub.requests().is_empty());
    }
    let run = run(&stub.url, "job delete j --yes");
    assert_eq!((run.code, stub.requests().len()), (0, 1), "{}", run.err);
}

#[test]
fn a_file_that_a_job_does_not_have() {
    let stub = Stub::start(|_| {
        Reply::json(
            200,
            &json!({"value": [{"name": "a.txt", "fileType": "file"}]}),
        )
    });
    let run = run(&stub.url, "job files get j b.txt -d MODEL");
    assert_eq!(run.code, 3);
    assert!(run.err.contains("there is a.txt"), "{}", run.err);
}

#[test]
fn a_wait_that_takes_too_long() {
    let stub = Stub::start(|_| {
        Reply::json(
            200,
            &json!({"name": "j", "properties": {"nodeCount": 1, "executionState": "queued",
            "cluster": {"id": "/c"}}}),
        )
    });
    let run = run(&stub.url, "job wait j --timeout 0s");
    assert_eq!(run.code, 124, "{}", run.err);
    assert!(run.err.contains("still queued"), "{}", run.err);
}
