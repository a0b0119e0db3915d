//! Machines that join.

use lote_api::JoinOffer;
use lote_model::access::token::JoinToken;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::membership::{ClusterIdentity, EtcdAccess, JoinGrant};
use lote_vault::SealingKey;
use serde_json::{Value, json};

use crate::access::{Guarded, make, send};
use crate::daemon::{Daemon, Reply};

const CLUSTER: &str = "0123456789abcdef0123456789abcdef";

fn offering() -> (Daemon, String) {
    offering_etcd_at("https://10.0.0.1:2379")
}

fn offering_etcd_at(url: &'static str) -> (Daemon, String) {
    let daemon = Daemon::start_configured(move |config| {
        config.join_offer = Some(JoinOffer {
            key: SealingKey::new([9; 32]),
            etcd: EtcdAccess {
                endpoints: vec![url.into()],
                authorities: Some("CA".into()),
                certificate: Some("CERTIFICATE".into()),
                private_key: Some("KEY".into()),
                bring_certificate: false,
                prefix: Some("/other/".into()),
            },
        });
    });
    let identity = ClusterIdentity {
        id: CLUSTER.into(),
        key_fingerprint: SealingKey::new([9; 32]).fingerprint(),
        created_at: daemon.now(),
    };
    daemon.write(key::CLUSTER_IDENTITY, &identity);
    let root = make(&daemon, None, &json!({"role": "admin"}));
    (daemon, root)
}

/// What a machine sends that was given a token.
fn join(daemon: &Daemon, token: &str, name: &str) -> Reply {
    let bearer = JoinToken::parse(token).unwrap().bearer;
    let body = json!({"properties": {"name": name}});
    send(daemon, Some(&bearer), "POST", "/v1/join", &body)
}

#[test]
fn a_machine_gets_what_a_daemon_needs_and_nothing_else() {
    let (daemon, root) = offering();
    let token = make(&daemon, Some(&root), &json!({"role": "node"}));
    let reply = join(&daemon, &token, "gpu2");
    assert_eq!(reply.header("cache-control"), "no-store");
    let grant: JoinGrant = serde_json::from_value(reply.expect(200)).unwrap();
    assert_eq!(grant.key(), Some([9; 32]));
    assert_eq!(grant.cluster_id, CLUSTER);
    assert_eq!(grant.etcd.private_key.as_deref(), Some("KEY"));
    assert_eq!(grant.etcd.prefix.as_deref(), Some("/other/"));
    let parsed = JoinToken::parse(&token).unwrap();
    assert_eq!(parsed.cluster_id.as_deref(), Some(CLUSTER));
    let bearer = parsed.bearer;
    for path in ["/v1/groups", "/v1/nodes", "/v1/tokens", "/v1/version"] {
        let reply = send(&daemon, Some(&bearer), "GET", path, &Value::Null);
        reply.expect_error(403, "AuthorizationFailed");
    }
    let shown = send(&daemon, Some(&root), "GET", "/v1/tokens", &Value::Null).expect(200);
    assert!(!shown.to_string().contains(&bearer), "{shown}");
    // An administrator may not, nor anybody without a token.
    let body = json!({"properties": {"name": "gpu3"}});
    let error = send(&daemon, Some(&root), "POST", "/v1/join", &body);
    let error = error.expect_error(403, "AuthorizationFailed");
    assert!(
        error["message"].as_str().unwrap().contains("--node"),
        "{error}"
    );
    send(&daemon, None, "POST", "/v1/join", &body).expect_error(401, "AuthenticationFailed");
}

#[test]
fn names_are_checked_and_those_of_the_living_are_taken() {
    let (daemon, root) = offering();
    let token = make(&daemon, Some(&root), &json!({"role": "node", "uses": 1}));
    for bad in ["", "../x", "UPPER", "10.0.0.1"] {
        join(&daemon, &token, bad).expect_error(400, "InvalidNodeName");
    }
    let alive = key::alive(&NodeName::new("gpu1"));
    daemon.write(&alive, &json!({}));
    join(&daemon, &token, "gpu1").expect_error(409, "NodeNameTaken");
    daemon.commit(lote_store::Transaction::new().delete(alive));
    // None of that has used the token.
    join(&daemon, &token, "gpu1").expect(200);
    join(&daemon, &token, "gpu2").expect_error(401, "AuthenticationFailed");
}

#[test]
fn a_token_lets_in_as_many_machines_as_it_says() {
    let (daemon, root) = offering();
    let token = make(&daemon, Some(&root), &json!({"role": "node", "uses": 3}));
    let joined: Vec<u16> = std::thread::scope(|scope| {
        let machines: Vec<_> = (0..8)
            .map(|number| {
                let (daemon, token) = (&daemon, &token);
                scope.spawn(move || join(daemon, token, &format!("gpu{number}")).status)
            })
            .collect();
        machines
            .into_iter()
            .map(|machine| machine.join().unwrap())
            .collect()
    });
    assert_eq!(
        joined.iter().filter(|status| **status == 200).count(),
        3,
        "{joined:?}"
    );
    let tokens = send(&daemon, Some(&root), "GET", "/v1/tokens", &Value::Null).expect(200);
    let states: Vec<&Value> = tokens["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| &token["properties"]["state"])
        .filter(|state| *state == "used")
        .collect();
    assert_eq!(states.len(), 1, "{tokens}");
    // They last a day unless somebody says otherwise.
    let token = make(&daemon, Some(&root), &json!({"role": "node"}));
    daemon.advance(86_400);
    join(&daemon, &token, "late").expect_error(401, "AuthenticationFailed");
}

#[test]
fn etcd_on_this_machine_is_of_no_use_to_others() {
    let (daemon, root) = offering_etcd_at("https://127.0.0.1:2379");
    let token = make(&daemon, Some(&root), &json!({"role": "node", "uses": 1}));
    let error = join(&daemon, &token, "gpu2").expect_error(409, "JoinNotPossible");
    assert!(
        error["message"].as_str().unwrap().contains("--etcd"),
        "{error}"
    );
}

#[test]
fn one_machine_is_no_cluster_and_joining_is_written_down() {
    let guarded = Guarded::start();
    let token = guarded.token(&json!({"role": "node"}));
    let bearer = JoinToken::parse(&token).unwrap().bearer;
    let body = json!({"properties": {"name": "gpu2"}});
    let reply = guarded.send(Some(&bearer), "POST", "/v1/join", &body);
    reply.expect_error(409, "JoinNotPossible");
    let audit = guarded.audit();
    let line = audit.last().unwrap();
    assert_eq!(line["path"], "/v1/join");
    assert_eq!(line["permission"], "nodes/join/action");
    assert_eq!(line["role"], "node");
}
