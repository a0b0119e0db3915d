//! Lists in pages, followed as clients do: verbatim.

use serde_json::{Value, json};

use crate::daemon::{Daemon, VERSION, rm, running};

fn names(page: &Value) -> Vec<String> {
    page["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["name"].as_str().unwrap().to_owned())
        .collect()
}

/// All names of a list, page by page.
fn follow(daemon: &Daemon, method: &str, first: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(url) = next {
        let page = daemon.request(method, &url, &[], b"").expect(200);
        pages.push(names(&page));
        next = page
            .get("nextLink")
            .map(|link| link.as_str().unwrap().to_owned());
        if let Some(link) = &next {
            assert!(
                link.starts_with("http://") && link.contains("api-version=2018-05-01"),
                "{link}"
            );
        }
    }
    pages
}

#[test]
fn every_list_has_pages() {
    let daemon = Daemon::start();
    daemon.furnish();
    for index in 0..5 {
        daemon.submit(&format!("j{index}"));
        daemon
            .put(
                &rm(&format!("/workspaces/w{index}")),
                &json!({"location": "l"}),
            )
            .expect(200);
        daemon
            .put(
                &rm(&format!("/workspaces/ws/experiments/e{index}")),
                &json!({}),
            )
            .expect(200);
        daemon
            .put(
                &rm(&format!("/workspaces/ws/clusters/c{index}")),
                &crate::daemon::cluster_body(),
            )
            .expect(200);
    }
    let pages = follow(
        &daemon,
        "GET",
        &rm("/workspaces/ws/experiments/e/jobs?maxresults=2"),
    );
    assert_eq!(pages, [vec!["j0", "j1"], vec!["j2", "j3"], vec!["j4"]]);
    let all =
        format!("/subscriptions/s/providers/Microsoft.BatchAI/workspaces?{VERSION}&maxresults=4");
    for (url, count) in [
        (rm("/workspaces?maxresults=4"), 6),
        (all, 6),
        (rm("/workspaces/ws/experiments?maxresults=4"), 6),
        (rm("/workspaces/ws/clusters?maxresults=4"), 6),
    ] {
        let pages = follow(&daemon, "GET", &url);
        assert_eq!((pages.len(), pages.concat().len()), (2, count), "{url}");
    }
    let exact = daemon
        .get(&rm("/workspaces/ws/experiments/e/jobs?maxresults=5"))
        .expect(200);
    assert!(exact.get("nextLink").is_none(), "no empty last page");
    for bad in ["0", "1001", "x"] {
        let error = daemon
            .get(&rm(&format!("/workspaces?maxresults={bad}")))
            .expect_error(400, "InvalidParameter");
        assert_eq!(error["target"], "maxresults");
    }
}

#[test]
fn an_empty_list_is_a_list() {
    let daemon = Daemon::start();
    daemon.furnish();
    assert_eq!(
        daemon
            .get(&rm("/workspaces/ws/experiments/e/jobs"))
            .expect(200),
        json!({"value": []})
    );
}

#[test]
fn statuses_find_their_jobs_on_every_page() {
    let daemon = Daemon::start();
    daemon.furnish();
    for index in 0..6 {
        let record = daemon.submit(&format!("j{index}"));
        if index % 2 == 0 {
            daemon.set_status(&running(&record, daemon.now()), &format!("j{index}"));
        }
        // Left over from jobs that are gone; they must not push others out.
        daemon.set_status(&running(&record, daemon.now()), &format!("i{index}"));
    }
    let mut states = Vec::new();
    let mut next = Some(rm("/workspaces/ws/experiments/e/jobs?maxresults=2"));
    while let Some(url) = next {
        let page = daemon.get(&url).expect(200);
        states.extend(
            page["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|job| job["properties"]["executionState"].clone()),
        );
        next = page
            .get("nextLink")
            .map(|link| link.as_str().unwrap().to_owned());
    }
    assert_eq!(
        json!(states),
        json!([
            "running", "queued", "running", "queued", "running", "queued"
        ])
    );
}

#[test]
fn a_made_up_continuation_stays_in_its_list() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("j");
    for token in ["%2F", "zzz", "..%2F..%2Fws2", "%00"] {
        let page = daemon
            .get(&rm(&format!(
                "/workspaces/ws/experiments/e/jobs?$skiptoken={token}"
            )))
            .expect(200);
        assert!(names(&page).iter().all(|name| name == "j"), "{page}");
    }
}
