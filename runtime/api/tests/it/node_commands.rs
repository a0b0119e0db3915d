//! Draining, resuming and removing nodes.

use lote_model::allocation::{Allocation, AllocationPhase, Grant};
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::leader::LeaderRecord;
use lote_model::node::{NodePower, PowerState};
use lote_store::Transaction;
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::resources::node_record;

const NODE_URL: &str = "/v1/nodes/n1";

fn name() -> NodeName {
    NodeName::new("n1")
}

/// A daemon with one living node.
fn with_node() -> Daemon {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.write(&key::node(&name()), &node_record("n1", false));
    daemon.write(&key::alive(&name()), &json!({}));
    daemon
}

fn state(daemon: &Daemon) -> Value {
    daemon.get(NODE_URL).expect(200)["properties"]["state"].clone()
}

fn allocate(daemon: &Daemon) -> String {
    let record = daemon.submit("j");
    let allocation = Allocation {
        job: record.path.clone(),
        uid: record.uid.clone(),
        attempt: 1,
        rank: 0,
        phase: AllocationPhase::Run,
        grant: Grant {
            exclusive: true,
            gpus: vec![],
            cpu_millis: 1000,
            numa_nodes: Vec::new(),
            memory_bytes: None,
            processes_max: None,
            ports: vec![],
        },
        granted_at: daemon.now(),
        boot_id: "b".into(),
    };
    let key = key::allocation(&name(), &record.uid);
    daemon.write(&key, &allocation);
    key
}

#[test]
fn the_node_that_leads_says_so() {
    let daemon = with_node();
    daemon.write(&key::node(&NodeName::new("n2")), &node_record("n2", false));
    let leader = LeaderRecord {
        node: name(),
        since: daemon.now(),
    };
    daemon.write(key::LEADER, &leader);
    let nodes = daemon.get("/v1/nodes").expect(200);
    let since = |index: usize| nodes["value"][index]["properties"]["leadsSince"].clone();
    assert_eq!(since(0), json!(daemon.now()));
    assert_eq!(since(1), Value::Null);
}

#[test]
fn a_drained_node_says_so_until_it_is_resumed() {
    let daemon = with_node();
    assert_eq!(state(&daemon), "ready");
    let allocation = allocate(&daemon);
    let body = json!({"properties": {"reason": "new disk"}}).to_string();
    let drain = |body: &str| {
        let url = format!("{NODE_URL}/drain");
        daemon.request("POST", &url, &[], body.as_bytes())
    };
    let drained = drain(&body).expect(200)["properties"].clone();
    assert_eq!(drained["state"], "draining");
    assert_eq!(drained["drain"]["reason"], "new disk");
    assert_eq!(drained["stateSince"], drained["drain"]["requestedAt"]);
    // Again: since when and why stay.
    daemon.advance(60);
    let revision = daemon.revision();
    assert_eq!(drain("").expect(200)["properties"], drained);
    assert_eq!(daemon.revision(), revision);
    daemon.commit(Transaction::new().delete(allocation));
    assert_eq!(state(&daemon), "drained");
    let url = format!("{NODE_URL}/resume");
    assert_eq!(
        daemon.post(&url).expect(200)["properties"]["state"],
        "ready"
    );
    assert_eq!(
        daemon.post(&url).expect(200)["properties"]["drain"],
        Value::Null
    );
    drain(r#"{"properties": {"why": 1}}"#).expect_error(400, "InvalidParameter");
    for action in ["drain", "resume"] {
        let missing = daemon.post(&format!("/v1/nodes/none/{action}"));
        missing.expect_error(404, "NodeNotFound");
    }
    assert!(
        daemon
            .read::<Value>(&key::drain(&NodeName::new("none")))
            .is_none()
    );
}

#[test]
fn states_tell_what_is_the_matter() {
    let daemon = with_node();
    daemon.write(&key::node(&name()), &node_record("n1", true));
    assert_eq!(state(&daemon), "unhealthy");
    daemon.commit(Transaction::new().delete(key::alive(&name())));
    assert_eq!(state(&daemon), "lost");
    for (power, shown) in [
        (PowerState::Off, "off"),
        (PowerState::Starting, "starting"),
        (PowerState::On, "lost"),
    ] {
        let power = NodePower {
            state: power,
            since: daemon.now(),
            told_daemon_of: daemon.now(),
            failures: 0,
            error: None,
        };
        daemon.write(&key::power(&name()), &power);
        assert_eq!(state(&daemon), shown);
    }
}

#[test]
fn only_what_nobody_needs_is_removed() {
    let daemon = with_node();
    let remove = || daemon.delete(NODE_URL);
    let error = remove().expect_error(409, "NodeInUse");
    assert!(
        error["message"].as_str().unwrap().contains("drain"),
        "{error}"
    );
    let allocation = allocate(&daemon);
    daemon.post(&format!("{NODE_URL}/drain")).expect(200);
    let error = remove().expect_error(409, "NodeInUse");
    assert!(
        error["message"].as_str().unwrap().contains("lab/ws/e/j"),
        "{error}"
    );
    // Also a lost node still has its jobs, until the leader has taken them away.
    daemon.commit(Transaction::new().delete(key::alive(&name())));
    remove().expect_error(409, "NodeInUse");
    daemon.commit(Transaction::new().delete(allocation));
    assert_eq!(remove().status, 200);
    daemon.get(NODE_URL).expect_error(404, "NodeNotFound");
    assert!(daemon.read::<Value>(&key::drain(&name())).is_none());
    assert_eq!(remove().status, 204);
}
