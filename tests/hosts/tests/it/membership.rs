//! Who belongs to a cluster, and how machines come and go.

use std::fs;
use std::process::Output;

use lote_test_hosts::{HostDaemon, Lab, LabOptions};
use lote_tests::client::{Client, shell_job};
use lote_tests::{PATIENCE, wait_for};
use serde_json::json;

use crate::load::{CLUSTER, assert_nothing_left, cluster};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

/// The path of a URL, to ask another daemon for.
fn path_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a URL");
    &rest[rest.find('/').expect("a path")..]
}

#[test]
fn links_and_operations_are_those_of_the_cluster() {
    let lab = Lab::start(&LabOptions::hosts(2));
    let [one, two] = &lab.daemons[..] else {
        panic!("two hosts")
    };
    let client = one.client();
    let path = cluster(&client, CLUSTER, 2);
    let experiment = client.experiment("e");
    let mut body = shell_job("echo hello");
    body["cluster"] = json!({"id": path});
    let job = client.submit(&experiment, "j", &body);
    client.wait_for_end(&job);
    let listing = client.post(&format!(
        "{job}/listOutputFiles?outputdirectoryid=stdouterr"
    ));
    let files = listing.json["value"].as_array().unwrap().clone();
    let file = files.iter().find(|file| file["name"] == "stdout.txt");
    let link = file.unwrap()["downloadUrl"].as_str().unwrap();
    // Whoever has a link needs no token, and no certain daemon.
    for daemon in [one, two] {
        let answer = Client::new(daemon.url()).get(path_of(link));
        assert_eq!((answer.status, &*answer.text), (200, "hello\n"), "{link}");
    }
    let gone = client.delete(&job);
    assert_eq!(gone.status, 202, "{gone:?}");
    let operation = path_of(gone.header("azure-asyncoperation")).to_owned();
    wait_for("the other daemon to know that it is done", PATIENCE, || {
        let answer = two.client().get(&operation);
        assert_eq!(answer.status, 200, "{answer:?}");
        let is_done = answer.json["status"] == "Succeeded" || answer.json["status"] == "succeeded";
        is_done.then_some(())
    });
}

#[test]
fn only_the_clusters_key_opens_the_cluster() {
    let mut lab = Lab::start(&LabOptions::hosts(2));
    let id = lab
        .join_token(&json!({}))
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    let second = &mut lab.daemons[1];
    let file = second.data().join("cluster.key");
    let key = fs::read(&file).unwrap();
    second.stop();
    fs::write(&file, [7; 32]).unwrap();
    second.start();
    let why = second.wait_until_refused();
    assert!(why.contains("is not the key of cluster"), "{why}");
    assert!(
        why.contains(&id) && why.contains("lote token create --node"),
        "{why}"
    );
    fs::write(&file, key).unwrap();
    second.start();
    second.wait_until_ready();

    // Who can reach etcd and has no key is no member either, and makes no second cluster.
    let mut stranger = lab.bare_host(lab.etcd_options());
    stranger.start();
    let why = stranger.wait_until_refused();
    assert!(why.contains("is not a member of cluster"), "{why}");
    assert!(!stranger.data().join("cluster.key").exists());
}

/// A daemon on a new host that is to join with this token.
fn joining(lab: &Lab, url: &str, token: &str) -> HostDaemon {
    let mut daemon = lab.bare_host(Vec::new());
    daemon.join(url, token);
    daemon.start();
    daemon
}

#[test]
fn a_token_lets_in_as_often_as_it_says_and_a_member_needs_none() {
    let mut lab = Lab::start(&LabOptions::hosts(1));
    let url = lab.daemons[0].url();
    let token = lab.join_token(&json!({"uses": 1}));
    let mut second = joining(&lab, &url, &token);
    second.wait_until_ready();
    assert!(!second.log().contains(&token), "{}", second.log());

    // Once more changes nothing, although the token is used up and its daemon away.
    second.stop();
    lab.daemons[0].stop();
    second.join(&url, &token);
    second.start();
    second.wait_until_ready();
    let log = second.log();
    assert!(log.contains("a member already"), "{log}");
    lab.daemons[0].start();
    lab.daemons[0].wait_until_ready();

    // A token of another cluster is a slip.
    second.stop();
    let id = token.split('.').nth(1).unwrap();
    second.join(&url, &token.replace(id, &"f".repeat(32)));
    second.start();
    let why = second.wait_until_refused();
    assert!(
        why.contains("a member of cluster") && why.contains(id),
        "{why}"
    );
    // And without any option it finds what it has joined.
    second.start();
    second.wait_until_ready();
    lab.daemons.push(second);

    let mut third = joining(&lab, &url, &token);
    let why = third.wait_until_refused();
    assert!(why.contains("does not let this machine in"), "{why}");
    assert!(why.contains("lote token create --node"), "{why}");
    assert!(!third.data().join("cluster.key").exists());
    third.join("http://10.255.255.1:1", &token);
    third.start();
    let why = third.wait_until_refused();
    assert!(why.contains("10.255.255.1"), "{why}");
}

#[test]
fn a_machine_joins_a_daemon_that_encrypts_by_its_fingerprint() {
    let mut lab = Lab::start(&LabOptions::hosts(1));
    let mut second = lab.bare_host(vec!["--tls".to_owned()]);
    second.join(&lab.daemons[0].url(), &lab.join_token(&json!({})));
    second.start();
    second.wait_until_ready();
    let log = second.log();
    let (_, rest) = log.split_once("fingerprint is ").expect("a fingerprint");
    let pin = rest.lines().next().unwrap().trim();
    let made = second.lote(&[
        "--fingerprint",
        pin,
        "token",
        "create",
        "--node",
        "--uses",
        "2",
    ]);
    let token = done(&made).trim().to_owned();
    let (told, url) = (text(&made.stderr), second.url());
    assert!(told.contains(&format!("--join {url}")), "{told}");
    assert!(!told.contains(&token), "{told}");
    lab.daemons.push(second);

    let plain = url.replace("https://", "http://");
    let mut third = joining(&lab, &plain, &token);
    let why = third.wait_until_refused();
    assert!(why.contains("https://"), "{why}");
    // Another certificate than the one that the token names.
    let digit = if token.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{digit}", &token[..token.len() - 1]);
    third.join(&url, &forged);
    third.start();
    let why = third.wait_until_refused();
    assert!(why.contains("will not talk to"), "{why}");
    third.join(&url, &token);
    third.start();
    third.wait_until_ready();
}

#[test]
fn nodes_are_drained_resumed_and_removed() {
    let mut lab = Lab::start(&LabOptions::hosts(2));
    let node = lab.daemons[1].name().to_owned();
    let first = &lab.daemons[0];
    let drained = first.lote(&["node", "drain", &node, "--reason", "new disk"]);
    done(&drained);
    assert!(text(&drained.stderr).contains("no new jobs"), "{drained:?}");
    let list = done(&first.lote(&["node", "list"]));
    assert!(list.contains("drained"), "{list}");
    let status = done(&first.lote(&["node", "status", &node]));
    assert!(
        status.contains("new disk") && status.contains(":8472"),
        "{status}"
    );
    done(&first.lote(&["node", "resume", &node]));
    let list = done(&first.lote(&["node", "list"]));
    assert!(!list.contains("drained"), "{list}");
    let refused = first.lote(&["node", "remove", "--yes", &node]);
    assert!(text(&refused.stderr).contains("is alive"), "{refused:?}");

    lab.daemons[1].power_off();
    let first = &lab.daemons[0];
    wait_for("the node to be removable", PATIENCE, || {
        let removed = first.lote(&["node", "delete", "--yes", &node]);
        removed.status.success().then_some(())
    });
    let list = done(&first.lote(&["node", "list"]));
    assert!(!list.contains(&node), "{list}");
    // It is still a member, and back after its next start.
    lab.daemons[1].start();
    lab.daemons[1].wait_until_ready();
    wait_for("the node to be back", PATIENCE, || {
        let list = done(&lab.daemons[1].lote(&["node", "list"]));
        list.contains(&node).then_some(())
    });
    assert_nothing_left(&lab.daemons);
}
