//! What clusters have under `lote`: set with PUT and PATCH, and answered with what it came to.

use lote_model::cluster::{ClusterStatus, Withdrawal};
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::money::Money;
use lote_model::spending::Spending;
use serde_json::{Value, json};

use crate::daemon::{Daemon, cluster_body, name, rm, workspace_path};

fn lote(answer: &Value) -> Value {
    answer["properties"]["lote"].clone()
}

#[test]
fn a_price_and_a_budget_are_set_changed_and_taken_back() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/clusters/paid");
    let mut body = cluster_body();
    body["properties"]["lote"] = json!({"idleDelay": "PT5M", "pricePerNodeHour": 2.5,
        "budget": {"amount": 100, "period": "day"}});
    let created = daemon.put(&url, &body).expect(200);
    let set = json!({"idleDelay": "PT5M", "pricePerNodeHour": 2.5,
        "budget": {"amount": 100, "period": "day"}, "nodes": [], "leaving": []});
    assert_eq!(lote(&created), set);
    // Clients send answers back.
    daemon.put(&url, &created).expect(200);
    let raise = json!({"properties": {"lote": {"idleDelay": null,
        "budget": {"amount": 100.25, "period": "month"}}}});
    let raised = lote(&daemon.patch(&url, &raise).expect(200));
    assert_eq!(
        raised["budget"],
        json!({"amount": 100.25, "period": "month"})
    );
    assert_eq!(raised["idleDelay"], json!(null));
    assert_eq!(raised["pricePerNodeHour"], 2.5);
    let wrong = json!({"properties": {"lote": {"pricePerNodeHour": null}}});
    let refused = daemon.patch(&url, &wrong).expect(400);
    assert_eq!(refused["error"]["target"], "/properties/lote/budget");
    let misspelt = json!({"properties": {"lote": {"prise": 1}}});
    daemon.patch(&url, &misspelt).expect(400);
}

#[test]
fn spending_is_counted_up_to_the_moment_of_the_answer() {
    let daemon = Daemon::start();
    daemon.furnish();
    let url = rm("/workspaces/ws/clusters/paid");
    let mut body = cluster_body();
    body["properties"]["lote"] =
        json!({"pricePerNodeHour": 3, "budget": {"amount": 10, "period": "day"}});
    daemon.put(&url, &body).expect(200);
    let node = NodeName::new("n1");
    let status = ClusterStatus {
        nodes: [node.clone()].into(),
        leaving: [node.clone()].into(),
        withdrawn: [(node, Withdrawal::Drained)].into(),
        spending: Some(Spending::new(
            Money::from_millionths(3_000_000),
            daemon.now(),
        )),
        ..ClusterStatus::default()
    };
    let path = workspace_path().child(name("paid"));
    daemon.write(&key::cluster_status(&path), &status);
    daemon.advance(1_800);
    let told = lote(&daemon.get(&url).expect(200));
    assert_eq!(told["withdrawn"], json!({"n1": "drained"}));
    let spending = &told["spending"];
    assert_eq!(spending["spent"], 1.5, "{spending}");
    assert_eq!(spending["rest"], 8.5, "{spending}");
    assert_eq!(spending["nodeHours"], 0.5, "{spending}");
    assert_eq!(spending["period"], "day");
    assert_eq!(spending["periodEnd"], "2018-07-03T00:00:00Z");
}
