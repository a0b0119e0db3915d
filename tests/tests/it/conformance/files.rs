//! Lines 8 to 10: pages, output files, when an end is told.

use std::collections::BTreeSet;
use std::time::Duration;

use lote_tests::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{Lab, VERSION, cluster, files_of, job, job_path, job_with, url, workspace};

/// Follows a list to its end with the method of its first request; gives the
/// names on each page.
fn pages(lab: &Lab, method: &str, rest: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(url(rest));
    while let Some(link) = next {
        let page = lab.client.send(method, &link, None);
        assert_eq!(page.status, 200, "{link}: {page:?}");
        let values = page.json["value"].as_array().expect("a list");
        pages.push(values.iter().map(name).collect());
        next = page.json["nextLink"].as_str().map(str::to_owned);
        if let Some(link) = &next {
            assert!(
                link.starts_with(&lab.daemon.url()),
                "{link} is not absolute"
            );
            assert!(
                link.contains(VERSION) && link.contains("maxresults="),
                "{link}"
            );
        }
        assert!(pages.len() < 100, "the list does not end");
    }
    pages
}

fn name(entry: &Value) -> String {
    entry["name"].as_str().expect("a name").to_owned()
}

#[test]
fn line_08_next_links_are_complete_and_post_lists_are_followed_by_post() {
    let lab = Lab::open();
    let empty = pages(&lab, "GET", "/experiments/exp/jobs");
    assert_eq!(empty, [Vec::<String>::new()]);
    assert_eq!(lab.get("/experiments/exp/jobs").json, json!({"value": []}));
    for number in 0..5 {
        lab.submit(&format!("j{number}"), &job("true"));
        lab.put(&format!("/experiments/e{number}"), &json!({}));
        let mut none = cluster();
        none["properties"]["scaleSettings"]["manual"]["targetNodeCount"] = json!(0);
        lab.put(&format!("/clusters/c{number}"), &none);
    }
    let all = |first: &str, more: &str| {
        let mut names: Vec<String> = (0..5).map(|n| format!("{first}{n}")).collect();
        names.extend((!more.is_empty()).then(|| more.to_owned()));
        names.sort();
        names
    };
    for (list, expected) in [
        ("/experiments/exp/jobs?maxresults=2", all("j", "")),
        ("/experiments?maxresults=2", all("e", "exp")),
        ("/clusters?maxresults=2", all("c", "box")),
    ] {
        let pages = pages(&lab, "GET", list);
        assert!(
            pages.len() >= 3 && pages.iter().all(|page| page.len() <= 2),
            "{pages:?}"
        );
        assert_eq!(pages.concat(), expected, "{list}");
    }
    lab.wait_for_end("j0");
    let files = pages(&lab, "POST", &files_of("j0", "stdouterr", "&maxresults=1"));
    assert!(files.iter().all(|page| page.len() <= 1), "{files:?}");
    assert_eq!(
        files.concat(),
        ["execution.log", "stderr.txt", "stdout.txt"]
    );
}

#[test]
fn line_09_an_early_list_is_empty_and_links_serve_ranges_without_login() {
    let lab = Lab::open();
    lab.submit("blocker", &job("sleep 1000"));
    lab.wait_for_state("blocker", &["running"]);
    lab.submit("j", &job("printf 0123456789"));
    let early = lab.post(&files_of("j", "stdouterr", ""));
    assert_eq!((early.status, &early.json), (200, &json!({"value": []})));
    lab.delete(&job_path("blocker"));
    assert_eq!(lab.wait_for_end("j")["executionState"], "succeeded");
    let link = lab.link("j", "stdouterr", "stdout.txt").expect("a link");
    assert_eq!(lab.client.get(&link).text, "0123456789");
    for (first, status, text) in [(0, 206, "0123456789"), (7, 206, "789"), (9, 206, "9")] {
        let part = lab.client.get_from(&link, first);
        assert_eq!(
            (part.status, part.text.as_str()),
            (status, text),
            "from {first}"
        );
        assert_eq!(part.header("content-range"), format!("bytes {first}-9/10"));
    }
    let nothing = lab.client.get_from(&link, 10);
    assert_eq!(nothing.status, 416, "{nothing:?}");
    assert_eq!(nothing.header("content-range"), "bytes */10");
    let entry = &lab.files("j", "stdouterr")[2];
    assert_eq!(
        (&entry["name"], &entry["fileType"]),
        (&json!("stdout.txt"), &json!("file"))
    );
    assert_eq!(entry["properties"]["contentLength"], 10);
}

/// A script for the interpreter `bash`, made by the job's preparation.
fn ranks(count: u32, script: &str) -> Value {
    json!({"properties": {
        "cluster": {"id": workspace("/clusters/box")},
        "nodeCount": 1,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs",
        "jobPreparation": {"commandLine":
            format!("cat > $AZ_BATCHAI_JOB_TEMP/run <<'END'\n{script}\nEND")},
        "pyTorchSettings": {
            "pythonScriptFilePath": "$AZ_BATCHAI_JOB_TEMP/run",
            "pythonInterpreterPath": "/bin/bash",
            "communicationBackend": "gloo",
            "processCount": count,
        },
    }})
}

#[test]
fn line_09_the_files_of_each_launcher_have_their_names() {
    let lab = Lab::open();
    lab.submit(
        "one",
        &job_with("true", json!({"jobPreparation": {"commandLine": "true"}})),
    );
    lab.submit("ranks", &ranks(2, "echo rank $AZ_BATCHAI_TASK_INDEX"));
    for (name, own) in [
        ("one", vec!["stderr.txt", "stdout.txt"]),
        (
            "ranks",
            vec![
                "stderr-0.txt",
                "stderr-1.txt",
                "stdout-0.txt",
                "stdout-1.txt",
            ],
        ),
    ] {
        assert_eq!(
            lab.wait_for_end(name)["executionState"],
            "succeeded",
            "{name}"
        );
        let listed: BTreeSet<String> = lab
            .files(name, "stdouterr")
            .iter()
            .map(super::files::name)
            .collect();
        let always = [
            "execution.log",
            "stderr-job_prep.txt",
            "stdout-job_prep.txt",
        ];
        let expected: BTreeSet<String> = always
            .iter()
            .chain(&own)
            .map(|&name| name.to_owned())
            .collect();
        assert_eq!(listed, expected, "{name}");
    }
    for rank in 0..2 {
        let said = lab.read("ranks", "stdouterr", &format!("stdout-{rank}.txt"));
        assert_eq!(said, format!("rank {rank}\n"));
    }
}

/// Prints until the very end, so that an end told too early is seen.
const TALKER: &str =
    "echo out > $AZ_BATCHAI_OUTPUT_MODEL/m; for i in $(seq 500); do echo line $i; done; echo last";

fn talker() -> Value {
    job_with(
        TALKER,
        json!({"outputDirectories":
        [{"id": "MODEL", "pathPrefix": "$AZ_BATCHAI_MOUNT_ROOT/logs"}]}),
    )
}

#[test]
fn line_10_an_end_is_told_when_the_output_is_complete() {
    let lab = Lab::open();
    for number in 0..5 {
        let name = format!("j{number}");
        lab.submit(&name, &talker());
        // Our own prefix tells the end at once, so it is the harder case.
        let own = format!("/v1/groups/Lab/workspaces/Ws{}", job_path(&name));
        assert_eq!(lab.client.wait_for_end(&own)["executionState"], "succeeded");
        assert_complete(&lab.read(&name, "stdouterr", "stdout.txt"));
        assert_eq!(lab.read(&name, "MODEL", "m"), "out\n");
    }
}

#[test]
fn line_10_a_client_that_stops_at_the_end_has_read_everything() {
    let lab = Lab::open();
    let mut body = talker();
    body["properties"]["customToolkitSettings"]["commandLine"] =
        json!(format!("sleep 1; {TALKER}"));
    lab.submit("j", &body);
    let link = wait_for("stdout.txt to be listed", PATIENCE, || {
        lab.link("j", "stdouterr", "stdout.txt")
    });
    let mut seen = String::new();
    // The command line client's loop: read, ask for the state, stop at the end
    // without another read, else sleep for a second.
    loop {
        let part = lab.client.get_from(&link, seen.len());
        assert!([206, 416].contains(&part.status), "{part:?}");
        if part.status == 206 {
            seen.push_str(&part.text);
        }
        let state = lab.get(&job_path("j")).json["properties"]["executionState"].clone();
        if ["succeeded", "failed"].iter().any(|end| state == *end) {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_complete(&seen);
}

#[track_caller]
fn assert_complete(output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(
        (lines.len(), lines.last()),
        (501, Some(&"last")),
        "{output}"
    );
}
