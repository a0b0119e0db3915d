//! Who may do what: every operation of the API, asked for by every kind of
//! token, inside and outside its scope.

use std::collections::BTreeSet;

use lote_api::{AuditLog, Rotation};
use lote_model::access::operations::OPERATIONS;
use serde_json::{Value, json};

use crate::daemon::{Daemon, LAB, Reply, VERSION, cluster_body, job_body};

/// One operation, and the least role that may do it for each scope of a token.
struct Row {
    method: &'static str,
    pattern: &'static str,
    /// Five letters, for a token of: everything, group `lab`, workspace
    /// `lab/ws`, group `ops`, workspace `lab/other`. The request is about
    /// `lab/ws`. `r` reader, `c` contributor, `a` admin, `-` nobody.
    least: &'static str,
}

const ACCOUNTS: &str =
    "/subscriptions/{subscription}/resourcegroups/{group}/providers/{namespace}/storageaccounts";

const WS: &str = "/v1/groups/{group}/workspaces/{workspace}";

/// The table. A new route needs a row here.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str)] = &[
    ("GET",    "/v1/groups",                                             "rrrrr"),
    ("GET",    "/v1/groups/{group}",                                     "rrr-r"),
    ("PUT",    "/v1/groups/{group}",                                     "ccc-c"),
    ("DELETE", "/v1/groups/{group}",                                     "aa---"),
    ("GET",    "/v1/workspaces",                                         "rrrrr"),
    ("GET",    "/v1/groups/{group}/workspaces",                          "rrr-r"),
    ("GET",    "WS",                                                     "rrr--"),
    ("PUT",    "WS",                                                     "ccc--"),
    ("PATCH",  "WS",                                                     "ccc--"),
    ("DELETE", "WS",                                                     "ccc--"),
    ("GET",    "WS/clusters",                                            "rrr--"),
    ("GET",    "WS/clusters/{cluster}",                                  "rrr--"),
    ("PUT",    "WS/clusters/{cluster}",                                  "ccc--"),
    ("PATCH",  "WS/clusters/{cluster}",                                  "ccc--"),
    ("DELETE", "WS/clusters/{cluster}",                                  "ccc--"),
    ("POST",   "WS/clusters/{cluster}/listremotelogininformation",       "rrr--"),
    ("GET",    "WS/fileservers",                                         "rrr--"),
    ("GET",    "WS/fileservers/{fileServer}",                            "rrr--"),
    ("PUT",    "WS/fileservers/{fileServer}",                            "ccc--"),
    ("DELETE", "WS/fileservers/{fileServer}",                            "ccc--"),
    ("GET",    "WS/fileservers/{fileServer}/files",                      "rrr--"),
    ("DELETE", "WS/fileservers/{fileServer}/files",                      "ccc--"),
    ("GET",    "WS/fileservers/{fileServer}/content",                    "rrr--"),
    ("PUT",    "WS/fileservers/{fileServer}/content",                    "ccc--"),
    ("PUT",    "WS/fileservers/{fileServer}/directories",                "ccc--"),
    ("PUT",    "WS/fileservers/{fileServer}/links",                      "ccc--"),
    ("GET",    "WS/fileservers/{fileServer}/uploads/{upload}",           "rrr--"),
    ("PUT",    "WS/fileservers/{fileServer}/uploads/{upload}",           "ccc--"),
    ("POST",   "WS/fileservers/{fileServer}/uploads/{upload}",           "ccc--"),
    ("DELETE", "WS/fileservers/{fileServer}/uploads/{upload}",           "ccc--"),
    ("GET",    "WS/experiments",                                         "rrr--"),
    ("GET",    "WS/experiments/{experiment}",                            "rrr--"),
    ("PUT",    "WS/experiments/{experiment}",                            "ccc--"),
    ("DELETE", "WS/experiments/{experiment}",                            "ccc--"),
    ("GET",    "WS/experiments/{experiment}/jobs",                       "rrr--"),
    ("GET",    "WS/experiments/{experiment}/jobs/{job}",                 "rrr--"),
    ("PUT",    "WS/experiments/{experiment}/jobs/{job}",                 "ccc--"),
    ("DELETE", "WS/experiments/{experiment}/jobs/{job}",                 "ccc--"),
    ("POST",   "WS/experiments/{experiment}/jobs/{job}/terminate",       "ccc--"),
    ("POST",   "WS/experiments/{experiment}/jobs/{job}/listoutputfiles", "rrr--"),
    ("GET",    "WS/experiments/{experiment}/jobs/{job}/plan",            "rrr--"),
    ("POST",   "WS/experiments/{experiment}/jobs/{job}/plan",            "rrr--"),
    ("GET",    "WS/experiments/{experiment}/jobs/{job}/events",          "rrr--"),
    ("GET",    "WS/experiments/{experiment}/jobs/{job}/logs",            "rrr--"),
    ("GET",    "WS/experiments/{experiment}/jobs/{job}/samples",         "rrr--"),
    ("POST",   "WS/experiments/{experiment}/jobs/{job}/listremotelogininformation", "rrr--"),
    ("GET",    "/v1/nodes",                                              "rrrrr"),
    ("GET",    "/v1/nodes/{node}",                                       "rrrrr"),
    ("DELETE", "/v1/nodes/{node}",                                       "a----"),
    ("POST",   "/v1/nodes/{node}/drain",                                 "a----"),
    ("POST",   "/v1/nodes/{node}/resume",                                "a----"),
    // A token of another role than these: see `join`.
    ("POST",   "/v1/join",                                               "-----"),
    ("POST",   "/v1/export",                                             "a----"),
    ("GET",    "/v1/plugins",                                            "rrrrr"),
    ("GET",    "/v1/version",                                            "rrrrr"),
    ("GET",    "/v1/events",                                             "rrrrr"),
    ("GET",    "/v1/catalogue",                                          "rrrrr"),
    ("GET",    "/v1/usages",                                             "rrrrr"),
    ("GET",    "/v1/usage",                                              "rrrrr"),
    ("GET",    "/metrics",                                               "r----"),
    ("GET",    "/v1/operations/{id}",                                    "rrrrr"),
    ("GET",    "/v1/operations/{id}/result",                             "rrrrr"),
    ("GET",    "/v1/openapi.json",                                       "rrrrr"),
    ("GET",    "/tenants",                                               "rrrrr"),
    ("GET",    "/subscriptions",                                         "rrrrr"),
    ("GET",    "/subscriptions/{subscription}",                          "rrrrr"),
    ("GET",    "/subscriptions/{subscription}/providers",                "rrrrr"),
    ("GET",    "/subscriptions/{subscription}/providers/{namespace}",    "rrrrr"),
    ("POST",   "/subscriptions/{subscription}/providers/{namespace}/register", "rrrrr"),
    ("GET",    "/subscriptions/{subscription}/providers/{namespace}/storageaccounts", "rrrrr"),
    ("GET",    "ACCOUNTS",                                               "rrrrr"),
    ("GET",    "ACCOUNTS/{account}",                                     "rrrrr"),
    ("POST",   "ACCOUNTS/{account}/listkeys",                            "c----"),
    ("GET",    "/v1/tokens",                                             "aaaaa"),
    ("POST",   "/v1/tokens",                                             "aaa--"),
    ("GET",    "/v1/tokens/{token}",                                     "aaa--"),
    ("DELETE", "/v1/tokens/{token}",                                     "aaa--"),
];

/// What anybody may, with and without a token.
const PUBLIC: &[(&str, &str)] = &[
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/files/{token}/{name}"),
    ("POST", "/{tenant}/oauth2/token"),
    ("POST", "/{tenant}/oauth2/v2.0/token"),
    ("GET", "/{tenant}/.well-known/openid-configuration"),
    ("GET", "/{tenant}/v2.0/.well-known/openid-configuration"),
    ("GET", "/metadata/endpoints"),
];

fn rows() -> impl Iterator<Item = (Row, String)> {
    TABLE.iter().map(|&(method, pattern, least)| {
        let whole = pattern
            .replacen("WS", WS, 1)
            .replacen("ACCOUNTS", ACCOUNTS, 1);
        let row = Row {
            method,
            pattern,
            least,
        };
        (row, whole)
    })
}

/// The scopes of the table's columns.
fn scopes() -> [Value; 5] {
    [
        Value::Null,
        json!({"group": "lab"}),
        json!({"group": "LAB", "workspace": "WS"}),
        json!({"group": "ops"}),
        json!({"group": "lab", "workspace": "other"}),
    ]
}

const ROLES: [(char, &str); 3] = [('r', "reader"), ('c', "contributor"), ('a', "admin")];

/// A token with what the table says about it.
struct Caller {
    text: String,
    role: char,
    column: usize,
}

/// A daemon with a closed door.
pub(crate) struct Guarded {
    pub(crate) daemon: Daemon,
    /// The first token: an administrator's.
    pub(crate) root: String,
    pub(crate) log: tempfile::TempDir,
}

impl Guarded {
    pub(crate) fn start() -> Self {
        let log = tempfile::tempdir().unwrap();
        let path = log.path().join("audit.log");
        let daemon = Daemon::start_configured(move |config| {
            config.audit = Some(AuditLog::open(&path, Rotation::default()).unwrap());
        });
        daemon.furnish();
        daemon.submit("j");
        daemon.put(&format!("{LAB}/other"), &json!({})).expect(200);
        daemon.put("/v1/groups/ops", &json!({})).expect(200);
        daemon
            .put("/v1/groups/ops/workspaces/ws", &json!({}))
            .expect(200);
        let root = make(
            &daemon,
            None,
            &json!({"role": "admin", "displayName": "root"}),
        );
        Self { daemon, root, log }
    }

    /// Sends a request with a token.
    pub(crate) fn send(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Reply {
        send(&self.daemon, token, method, path, body)
    }

    /// Makes a token.
    pub(crate) fn token(&self, properties: &Value) -> String {
        make(&self.daemon, Some(&self.root), properties)
    }

    /// The lines of the audit log.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log.path().join("audit.log")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Asserts that a request is refused, changes nothing, and is written down.
    #[track_caller]
    pub(crate) fn expect_refused(
        &self,
        token: Option<&str>,
        method: &str,
        path: &str,
        body: &Value,
        status: u16,
    ) -> Value {
        let (revision, lines) = (self.daemon.revision(), self.audit().len());
        let reply = self.send(token, method, path, body);
        let code = if status == 401 {
            assert_eq!(reply.header("www-authenticate"), "Bearer");
            "AuthenticationFailed"
        } else {
            "AuthorizationFailed"
        };
        let error = reply.expect_error(status, code);
        assert_eq!(
            self.daemon.revision(),
            revision,
            "{method} {path} changed something"
        );
        let audit = self.audit();
        assert_eq!(
            audit.len(),
            lines + 1,
            "{method} {path} is not in the audit log"
        );
        let line = audit.last().unwrap();
        assert_eq!(
            (&line["status"], &line["code"], &line["method"]),
            (&json!(status), &json!(code), &json!(method)),
            "{line}"
        );
        assert_eq!(line["requestId"], reply.header("x-ms-request-id"));
        error
    }
}

pub(crate) fn send(
    daemon: &Daemon,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Reply {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    daemon.request(method, path, &headers, &bytes)
}

pub(crate) fn make(daemon: &Daemon, by: Option<&str>, properties: &Value) -> String {
    let body = json!({"properties": properties});
    let made = send(daemon, by, "POST", "/v1/tokens", &body).expect(201);
    made["properties"]["token"].as_str().unwrap().to_owned()
}

fn callers(guarded: &Guarded) -> Vec<Caller> {
    let mut callers = Vec::new();
    for (column, scope) in scopes().into_iter().enumerate() {
        for (role, name) in ROLES {
            let text = guarded.token(&json!({"role": name, "scope": scope}));
            callers.push(Caller { text, role, column });
        }
    }
    callers
}

/// A path of the pattern, about `lab/ws` and what is in it.
fn path_of(pattern: &str, token: &str) -> String {
    let id = token.split('_').nth(1).unwrap();
    [
        ("{group}", "lab"),
        ("{workspace}", "ws"),
        ("{cluster}", "c"),
        ("{fileServer}", "f"),
        ("{upload}", "upload-1"),
        ("{experiment}", "e"),
        ("{job}", "j"),
        ("{node}", "here"),
        ("{id}", "none"),
        ("{token}", id),
        ("{name}", "none"),
        ("{subscription}", "s"),
        ("{namespace}", "Microsoft.Storage"),
        ("{account}", "a"),
    ]
    .iter()
    .fold(pattern.to_owned(), |path, (name, value)| {
        path.replace(name, value)
    })
}

fn body_of(method: &str, pattern: &str) -> Value {
    match (method, pattern) {
        ("PUT", "WS/clusters/{cluster}") => cluster_body(),
        ("PATCH", "WS/clusters/{cluster}") => {
            json!({"properties": {"scaleSettings": {"manual": {"targetNodeCount": 0}}}})
        }
        ("PUT", "WS/experiments/{experiment}/jobs/{job}")
        | ("POST", "WS/experiments/{experiment}/jobs/{job}/plan") => job_body(),
        ("POST", "/v1/tokens") => json!({"properties": {
            "role": "reader", "scope": {"group": "lab", "workspace": "ws"}}}),
        ("PUT" | "PATCH", _) => json!({}),
        _ => Value::Null,
    }
}

/// Streams never end, so they are asked for in a way that is answered at once.
fn answerable(path: String) -> String {
    if path.ends_with("/events") {
        format!("{path}?from=x")
    } else if path.starts_with("/subscriptions/") {
        format!("{path}?{VERSION}")
    } else {
        path
    }
}

#[test]
fn the_table_has_every_operation() {
    let told: BTreeSet<(String, String)> = rows()
        .map(|(row, pattern)| (row.method.to_owned(), pattern))
        .chain(
            PUBLIC
                .iter()
                .map(|&(method, path)| (method.into(), path.into())),
        )
        .collect();
    let known: BTreeSet<(String, String)> = OPERATIONS
        .iter()
        .map(|row| (row.method.to_owned(), row.pattern.to_owned()))
        .collect();
    assert_eq!(told, known);
}

#[test]
fn each_role_and_scope_may_what_the_table_says() {
    for (row, pattern) in rows() {
        let guarded = Guarded::start();
        let subject = json!({"role": "reader", "scope": {"group": "lab", "workspace": "ws"}});
        let subject = guarded.token(&subject);
        let path = answerable(path_of(&pattern, &subject));
        let body = body_of(row.method, row.pattern);
        let may = |caller: &Caller| {
            let least = row.least.chars().nth(caller.column).unwrap();
            let rank = |letter: char| ROLES.iter().position(|(role, _)| *role == letter);
            rank(least).is_some_and(|least| rank(caller.role) >= Some(least))
        };
        // Those who may not come first: after them nothing must have changed.
        let (allowed, refused): (Vec<_>, Vec<_>) = callers(&guarded).into_iter().partition(may);
        for caller in refused {
            guarded.expect_refused(Some(&caller.text), row.method, &path, &body, 403);
        }
        for caller in allowed {
            let reply = guarded.send(Some(&caller.text), row.method, &path, &body);
            assert!(
                ![401, 403].contains(&reply.status),
                "{} {path} by {} in column {}: {}",
                row.method,
                caller.role,
                caller.column,
                String::from_utf8_lossy(&reply.bytes)
            );
        }
    }
}

#[test]
fn without_a_valid_token_nothing_is_done() {
    let guarded = Guarded::start();
    let admin = |more: Value| {
        let mut properties = json!({"role": "admin"});
        properties
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        guarded.token(&properties)
    };
    let revoked = admin(json!({}));
    let id = revoked.split('_').nth(1).unwrap();
    guarded
        .send(
            Some(&guarded.root),
            "DELETE",
            &format!("/v1/tokens/{id}"),
            &Value::Null,
        )
        .expect(200);
    let expired = admin(json!({"expiresIn": "PT1H"}));
    guarded.daemon.advance(3_600);
    let wrong_secret = format!("{}A", guarded.root);
    let shorter = &guarded.root[..guarded.root.len() - 1];
    let unknown = format!("lote_{:016x}_{}", 7, "A".repeat(43));
    let bad: [(Option<&str>, &str); 9] = [
        (None, "wants a token"),
        (Some("any-string"), "not one of this installation"),
        (Some("e30.e30.e30"), "not one of this installation"),
        (Some("lote_"), "not one of this installation"),
        (Some(&wrong_secret), "not known"),
        (Some(shorter), "not known"),
        (Some(&unknown), "not known"),
        (Some(&expired), "expired"),
        (Some(&revoked), "revoked"),
    ];
    for (row, pattern) in rows() {
        let path = answerable(path_of(&pattern, &guarded.root));
        let body = body_of(row.method, row.pattern);
        for (token, message) in bad {
            let error = guarded.expect_refused(token, row.method, &path, &body, 401);
            let said = error["message"].as_str().unwrap();
            assert!(said.contains(message), "{token:?}: {said}");
        }
    }
    for path in [
        "/",
        "/nothing",
        "/v1",
        "/subscriptions",
        "/files",
        "/files/x",
    ] {
        guarded.expect_refused(None, "GET", path, &Value::Null, 401);
    }
    // Before anything else is said about a request, whatever is wrong with it.
    for path in [
        format!("/subscriptions/s/resourceGroups/lab?{VERSION}"),
        "/subscriptions/s/resourceGroups/lab".to_owned(),
        "/v1/groups/%ff".to_owned(),
    ] {
        guarded.expect_refused(None, "GET", &path, &Value::Null, 401);
    }
    guarded.expect_refused(None, "PUT", "/v1/nodes", &Value::Null, 401);
    let reply = guarded.send(Some(&guarded.root), "PUT", "/v1/nodes", &Value::Null);
    reply.expect_error(405, "MethodNotAllowed");
}

#[test]
fn what_is_public_needs_no_token() {
    let guarded = Guarded::start();
    for path in ["/healthz", "/readyz", "//healthz", "/Healthz"] {
        guarded.send(None, "GET", path, &Value::Null).expect(200);
        guarded
            .send(Some("wrong"), "GET", path, &Value::Null)
            .expect(200);
    }
    let link = guarded.send(None, "GET", "/files/x/y", &Value::Null);
    link.expect_error(403, "InvalidLink");
}

#[test]
fn the_other_prefix_is_no_way_around() {
    let guarded = Guarded::start();
    let other = guarded.token(&json!({"role": "admin", "scope": {"group": "ops"}}));
    let reader = guarded.token(&json!({"role": "reader"}));
    let below = |group: &str| {
        format!(
            "/subscriptions/s/resourceGroups/{group}/providers/Microsoft.BatchAI/workspaces/ws?{VERSION}"
        )
    };
    for group in ["lab", "LAB", "l%61b"] {
        guarded.expect_refused(Some(&other), "GET", &below(group), &Value::Null, 403);
        guarded.expect_refused(Some(&reader), "DELETE", &below(group), &Value::Null, 403);
        guarded
            .send(Some(&reader), "GET", &below(group), &Value::Null)
            .expect(200);
    }
    guarded
        .send(Some(&other), "GET", &below("ops"), &Value::Null)
        .expect(200);
}

fn names(reply: &Reply) -> Vec<String> {
    let value = reply.expect(200)["value"].clone();
    let names = value.as_array().unwrap().iter();
    names
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn lists_of_wider_things_show_what_is_in_scope() {
    let guarded = Guarded::start();
    let [_, lab, ws, ops, _] =
        scopes().map(|scope| guarded.token(&json!({"role": "admin", "scope": scope})));
    let list =
        |token: &str, path: &str| names(&guarded.send(Some(token), "GET", path, &Value::Null));
    assert_eq!(list(&guarded.root, "/v1/groups").len(), 2);
    assert_eq!(list(&lab, "/v1/groups"), ["/v1/groups/lab"]);
    assert_eq!(list(&ws, "/v1/groups"), ["/v1/groups/lab"]);
    assert_eq!(list(&guarded.root, "/v1/workspaces").len(), 3);
    assert_eq!(
        list(&lab, "/v1/workspaces"),
        [format!("{LAB}/other"), format!("{LAB}/ws")]
    );
    assert_eq!(list(&ws, "/v1/workspaces"), [format!("{LAB}/ws")]);
    assert_eq!(list(&ws, LAB), [format!("{LAB}/ws")]);
    assert_eq!(
        list(&ops, "/v1/workspaces"),
        ["/v1/groups/ops/workspaces/ws"]
    );
    // One page after the other as well.
    let first = guarded.send(
        Some(&lab),
        "GET",
        "/v1/workspaces?maxresults=1",
        &Value::Null,
    );
    let next = first.expect(200)["nextLink"].as_str().unwrap().to_owned();
    assert_eq!(list(&lab, &next), [format!("{LAB}/ws")]);
    // Tokens: those that reach no further than one's own.
    assert_eq!(list(&guarded.root, "/v1/tokens").len(), 6);
    assert_eq!(list(&lab, "/v1/tokens").len(), 3);
    assert_eq!(list(&ops, "/v1/tokens").len(), 1);
}

#[test]
fn what_only_a_body_names_is_checked_as_well() {
    let guarded = Guarded::start();
    let ops = guarded.token(&json!({"role": "contributor", "scope": {"group": "ops"}}));
    let experiment = "/v1/groups/ops/workspaces/ws/experiments/e";
    guarded
        .send(Some(&ops), "PUT", experiment, &json!({}))
        .expect(200);
    let job = format!("{experiment}/jobs/j");
    let mut mounting = cluster_body();
    mounting["properties"]["nodeSetup"] = json!({"mountVolumes": {"fileServers": [{
        "fileServer": {"id": format!("{LAB}/ws/fileServers/nfs")}, "relativeMountPath": "nfs"}]}});
    let cluster = "/v1/groups/ops/workspaces/ws/clusters/c";
    let error = guarded.expect_refused(Some(&ops), "PUT", cluster, &mounting, 403);
    assert_eq!(
        error["target"],
        "/properties/nodeSetup/mountVolumes/fileServers/0/fileServer/id"
    );
    for (method, path) in [("PUT", job.clone()), ("POST", format!("{job}/plan"))] {
        let error = guarded.expect_refused(Some(&ops), method, &path, &job_body(), 403);
        assert_eq!(error["target"], "/properties/cluster/id");
        guarded
            .send(Some(&guarded.root), method, &path, &job_body())
            .expect(200);
    }
}

#[test]
fn containers_are_made_by_those_who_reach_what_holds_them() {
    let guarded = Guarded::start();
    let token = |role: &str, scope: Value| guarded.token(&json!({"role": role, "scope": scope}));
    let contributor = token("contributor", Value::Null);
    let lab = token("contributor", json!({"group": "lab"}));
    let ws = token("contributor", json!({"group": "lab", "workspace": "ws"}));
    let empty = json!({});
    // A group that is there is answered; a new one is an administrator's to make.
    guarded
        .send(Some(&lab), "PUT", "/v1/groups/lab", &empty)
        .expect(200);
    guarded.expect_refused(Some(&contributor), "PUT", "/v1/groups/new", &empty, 403);
    let implied = format!(
        "/subscriptions/s/resourceGroups/new/providers/Microsoft.BatchAI/workspaces/w?{VERSION}"
    );
    let located = json!({"location": "local"});
    guarded.expect_refused(Some(&contributor), "PUT", &implied, &located, 403);
    guarded
        .send(Some(&guarded.root), "PUT", &implied, &located)
        .expect(200);
    // The same with workspaces, for those of the group.
    guarded
        .send(Some(&ws), "PUT", &format!("{LAB}/ws"), &empty)
        .expect(200);
    guarded
        .send(Some(&lab), "PUT", &format!("{LAB}/made"), &empty)
        .expect(200);
    guarded.expect_refused(
        Some(&lab),
        "PUT",
        "/v1/groups/ops/workspaces/x",
        &empty,
        403,
    );
    let gone = token("contributor", json!({"group": "lab", "workspace": "made"}));
    guarded
        .send(Some(&lab), "DELETE", &format!("{LAB}/made"), &empty)
        .expect(200);
    guarded.expect_refused(Some(&gone), "PUT", &format!("{LAB}/made"), &empty, 403);
}
