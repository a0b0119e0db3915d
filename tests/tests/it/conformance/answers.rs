//! Lines 1 to 4: status codes, operations, paths, bodies that are accepted.

use lote_tests::client::Answer;
use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{Lab, PROVIDER, SUBSCRIPTION, VERSION, cluster, file_server, job, job_path, url};

/// Every kind below a workspace: its path and a body.
fn kinds() -> [(&'static str, Value); 4] {
    [
        ("/clusters/other", cluster()),
        ("/fileServers/nfs", file_server()),
        ("/experiments/more", json!({})),
        ("/experiments/exp/jobs/j", job("sleep 1000")),
    ]
}

#[track_caller]
fn assert_status(answer: &Answer, allowed: &[u16], what: &str) {
    assert!(allowed.contains(&answer.status), "{what}: {answer:?}");
}

#[test]
fn line_01_put_terminate_and_delete_answer_only_their_codes() {
    let lab = Lab::open();
    for (path, body) in kinds() {
        for time in ["first", "again"] {
            let what = format!("PUT {path} {time}");
            assert_status(&lab.put(path, &body), &[200, 202], &what);
        }
    }
    lab.wait_for_state("j", &["running"]);
    lab.submit("waiting", &job("true"));
    for name in ["waiting", "j", "waiting", "j"] {
        let answer = lab.post(&format!("{}/terminate", job_path(name)));
        assert_status(&answer, &[200, 202], "terminate");
    }
    lab.wait_for_end("j");
    let ended = lab.post(&format!("{}/terminate", job_path("j")));
    assert_status(&ended, &[200], "terminate after the end");
    for (path, _) in kinds() {
        assert_status(&lab.delete(path), &[200, 202, 204], path);
        wait_for("the deletion", PATIENCE, || {
            (lab.get(path).status == 404).then_some(())
        });
        assert_status(&lab.delete(path), &[204], path);
    }
    assert_status(&lab.delete(""), &[200, 202, 204], "the workspace");
}

#[test]
fn line_01_what_is_missing_is_404_with_the_envelope() {
    let lab = Lab::open();
    let files = "/experiments/exp/jobs/no/listOutputFiles?outputdirectoryid=stdouterr";
    let login = "/listRemoteLoginInformation";
    for (method, path, code) in [
        ("GET", "/clusters/no", "ClusterNotFound"),
        ("GET", "/fileServers/no", "FileServerNotFound"),
        ("GET", "/experiments/no", "ExperimentNotFound"),
        ("GET", "/experiments/no/jobs", "ExperimentNotFound"),
        ("GET", "/experiments/exp/jobs/no", "JobNotFound"),
        ("POST", "/experiments/exp/jobs/no/terminate", "JobNotFound"),
        ("POST", files, "JobNotFound"),
        (
            "POST",
            &format!("/experiments/exp/jobs/no{login}"),
            "JobNotFound",
        ),
        ("POST", &format!("/clusters/no{login}"), "ClusterNotFound"),
    ] {
        let answer = lab.client.send(method, &url(path), None);
        assert_eq!(
            (answer.status, answer.error_code()),
            (404, code),
            "{method} {path}: {answer:?}"
        );
        assert!(answer.json["error"]["message"].is_string(), "{answer:?}");
    }
    let elsewhere = format!("{SUBSCRIPTION}/resourceGroups/Lab/{PROVIDER}/workspaces/No?{VERSION}");
    let answer = lab.client.get(&elsewhere);
    assert_eq!(
        (answer.status, answer.error_code()),
        (404, "WorkspaceNotFound")
    );
}

#[test]
fn line_02_accepted_operations_can_be_polled_to_their_end() {
    let lab = Lab::open();
    lab.submit("j", &job("sleep 1000"));
    lab.wait_for_state("j", &["running"]);
    let terminate = format!("{}/terminate", job_path("j"));
    for (method, path) in [
        ("POST", terminate.as_str()),
        ("DELETE", "/experiments/exp/jobs/j"),
        ("DELETE", "/clusters/box"),
    ] {
        let answer = lab.client.send(method, &url(path), None);
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (202, ""),
            "{answer:?}"
        );
        follow(&lab, &answer);
    }
}

/// Follows both URLs of an accepted operation, as the two clients do.
fn follow(lab: &Lab, accepted: &Answer) {
    let operation = accepted.header("azure-asyncoperation").to_owned();
    let location = accepted.header("location").to_owned();
    for link in [&operation, &location] {
        let here = format!("{}{SUBSCRIPTION}/{PROVIDER}/locations/", lab.daemon.url());
        assert!(link.starts_with(&here), "{link} is not absolute");
        assert!(link.contains(VERSION), "{link}");
    }
    assert_pace(accepted);
    wait_for("the operation to end", PATIENCE, || {
        let status = lab.client.get(&operation);
        assert_eq!(status.status, 200, "{status:?}");
        match status.json["status"].as_str() {
            Some("Succeeded") => Some(()),
            Some("InProgress") => {
                assert_pace(&status);
                let result = lab.client.get(&location);
                assert_status(&result, &[200, 202, 204], "Location");
                None
            }
            other => panic!("{other:?}: {status:?}"),
        }
    });
    assert_status(&lab.client.get(&location), &[200, 204], "Location");
}

#[track_caller]
fn assert_pace(answer: &Answer) {
    let pace = answer.header("retry-after");
    assert!(["0", "1"].contains(&pace), "Retry-After: {pace:?}");
}

#[test]
fn line_03_paths_are_read_without_case_and_ids_have_the_exact_form() {
    let lab = Lab::open();
    for (path, body) in kinds() {
        assert_eq!(lab.put(path, &body).status / 100, 2, "{path}");
    }
    let workspace = super::workspace("");
    for (rest, name, kind) in [
        ("", "Ws", ""),
        ("/clusters/box", "box", "/clusters"),
        ("/experiments/exp", "exp", "/experiments"),
        ("/experiments/exp/jobs/j", "j", "/experiments/jobs"),
        ("/fileservers/nfs", "nfs", "/fileservers"),
    ] {
        let id = format!("{workspace}{rest}");
        let type_name = format!("Microsoft.BatchAI/workspaces{kind}");
        for spelling in [id.clone(), id.to_lowercase(), id.to_uppercase()] {
            let found = lab.client.get(&format!("{spelling}?{VERSION}"));
            assert_eq!(found.status, 200, "{spelling}: {found:?}");
            assert_eq!(found.json["name"], name, "{spelling}");
            assert_eq!(found.json["type"], type_name, "{spelling}");
            // The subscription is the caller's own; all else is as it was made.
            let shown = found.json["id"].as_str().expect("an id");
            assert_eq!(shown, id, "{spelling}");
        }
    }
}

#[test]
fn line_04_requests_without_a_body_are_accepted_with_a_json_content_type() {
    let lab = Lab::open();
    // The client says `application/json` with every request.
    let made = lab.client.send("PUT", &url("/experiments/bare"), None);
    assert_eq!(made.status, 200, "{made:?}");
    lab.submit("j", &job("sleep 1000"));
    for action in [
        "listOutputFiles?outputdirectoryid=stdouterr",
        "listRemoteLoginInformation",
        "terminate",
    ] {
        let answer = lab.post(&format!("{}/{action}", job_path("j")));
        assert_eq!(answer.status / 100, 2, "{action}: {answer:?}");
    }
    let answer = lab.post("/clusters/box/listRemoteLoginInformation");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn line_04_nulls_and_unknown_members_are_tolerated() {
    let lab = Lab::open();
    let mut body = job("true");
    body["$schema"] = json!("https://schemas.example/job.json");
    body["notes"] = json!({"of": "the user"});
    for member in [
        "schedulingPriority",
        "mountVolumes",
        "containerSettings",
        "pyTorchSettings",
        "cntkSettings",
        "jobPreparation",
        "inputDirectories",
        "outputDirectories",
        "environmentVariables",
        "secrets",
        "constraints",
    ] {
        body["properties"][member] = Value::Null;
    }
    let shown = lab.submit("j", &body);
    assert_eq!(shown["properties"]["schedulingPriority"], "normal");
    let mut nulls = cluster();
    for member in [
        "vmPriority",
        "virtualMachineConfiguration",
        "nodeSetup",
        "subnet",
    ] {
        nulls["properties"][member] = Value::Null;
    }
    let made = lab.put("/clusters/other", &nulls);
    assert_eq!(made.status, 200, "{made:?}");
    // Below `properties` a member that nobody knows is a slip of the pen, which
    // is told rather than ignored.
    let mut misspelt = job("true");
    misspelt["properties"]["nodeCuont"] = json!(2);
    let refused = lab.put(&job_path("misspelt"), &misspelt);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.json["error"]["target"], "/properties/nodeCuont");
}
