//! Tokens, encryption and the audit log of a live daemon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use lote_tests::daemon::Daemon;
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the client with a token.
fn lote_as(daemon: &Daemon, token: &str, arguments: &[&str]) -> Output {
    let mut command = daemon.lote_command(arguments);
    command.env("LOTE_TOKEN", token).output().unwrap()
}

/// The token that a command printed: the only thing on standard output.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    let token = text(&output.stdout).trim_end().to_owned();
    assert!(
        token.starts_with("lote_") && !token.contains(char::is_whitespace),
        "{output:?}"
    );
    token
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_token_closes_the_door_and_survives_a_restart() {
    let mut daemon = Daemon::start(&[]);
    assert!(daemon.log().contains("no token yet"), "{}", daemon.log());
    assert_eq!(daemon.client().get("/v1/groups").status, 200);
    let refused = daemon.lote(&["token", "create", "--role", "reader"]);
    assert!(text(&refused.stderr).contains("first token"), "{refused:?}");

    let made = daemon.lote(&["token", "create", "--role", "admin", "--name", "root"]);
    let root = printed(&made);
    assert!(
        text(&made.stderr).contains("answers nobody without one"),
        "{made:?}"
    );
    assert_eq!(daemon.client().get("/v1/groups").status, 401);
    let shut = daemon.lote(&["job", "list"]);
    assert_eq!(shut.status.code(), Some(1), "{shut:?}");
    assert!(text(&shut.stderr).contains("LOTE_TOKEN"), "{shut:?}");

    daemon.restart();
    assert_eq!(daemon.client().get("/v1/groups").status, 401);
    let client = daemon.client().with_token(&root);
    assert_eq!(client.get("/v1/groups").status, 200);
    let run = lote_as(&daemon, &root, &["run", "--", "echo", "within"]);
    assert_eq!(text(&run.stdout), "within\n", "{run:?}");
}

#[test]
fn tokens_are_made_listed_used_and_revoked_from_the_command_line() {
    let daemon = Daemon::start(&[]);
    let root = printed(&daemon.lote(&["token", "create", "--role", "admin"]));
    let create = |more: &[&str]| {
        let all = [&["token", "create", "--name", "ci"], more].concat();
        printed(&lote_as(&daemon, &root, &all))
    };
    let reader = create(&[
        "--role",
        "reader",
        "--group",
        "default",
        "--expires-in",
        "1d",
    ]);
    let worker = create(&["--role", "contributor", "-g", "default", "-w", "default"]);

    let listed = text(&lote_as(&daemon, &root, &["token", "list"]).stdout);
    assert!(
        listed.contains("default/default") && listed.contains("reader"),
        "{listed}"
    );
    assert!(!listed.contains(&worker), "{listed}");
    let list = lote_as(&daemon, &root, &["token", "list", "-o", "json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3, "{list}");

    let run = lote_as(&daemon, &worker, &["run", "--", "echo", "hi"]);
    assert_eq!(text(&run.stdout), "hi\n", "{run:?}");
    let jobs = lote_as(&daemon, &reader, &["job", "list"]);
    assert!(text(&jobs.stdout).contains("succeeded"), "{jobs:?}");
    let denied = lote_as(&daemon, &reader, &["experiment", "create", "e"]);
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(text(&denied.stderr).contains("contributor"), "{denied:?}");
    let denied = lote_as(&daemon, &worker, &["workspace", "create", "other"]);
    assert!(
        text(&denied.stderr).contains("workspace default/default"),
        "{denied:?}"
    );

    let revoked = lote_as(&daemon, &root, &["token", "revoke", "--yes", &worker]);
    assert!(revoked.status.success(), "{revoked:?}");
    let jobs = lote_as(&daemon, &worker, &["job", "list"]);
    assert!(text(&jobs.stderr).contains("revoked"), "{jobs:?}");

    // Who did what stands in the audit log, and no secret does.
    let log = daemon.data().join("audit.log");
    assert_eq!(mode(&log), 0o600);
    let audit = std::fs::read_to_string(log).unwrap();
    for secret in [&root, &reader, &worker] {
        assert!(!audit.contains(secret.as_str()));
    }
    let lines: Vec<Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let has = |member: &str, value: &str, status: u64| {
        lines
            .iter()
            .any(|line| line[member] == value && line["status"] == status)
    };
    assert!(has("who", "open", 201), "{audit}");
    assert!(
        has("permission", "workspaces/experiments/jobs/write", 200),
        "{audit}"
    );
    assert!(has("code", "AuthorizationFailed", 403), "{audit}");
    assert!(has("code", "AuthenticationFailed", 401), "{audit}");
    assert!(!daemon.log().contains(&root));
}

/// The fingerprint that a daemon prints at its start.
fn fingerprint(daemon: &Daemon) -> String {
    let log = daemon.log();
    let start = log.rfind("sha256:").expect("the fingerprint is printed");
    log[start..].chars().take("sha256:".len() + 64).collect()
}

fn run_with(daemon: &Daemon, options: &[&str]) -> Output {
    let line = [options, &["run", "--", "echo", "sealed"]].concat();
    daemon.lote_command(&line).output().unwrap()
}

#[test]
fn a_certificate_made_at_the_first_start_can_be_pinned_or_trusted() {
    let mut daemon = Daemon::start(&["--tls"]);
    let pin = fingerprint(&daemon);
    let certificate = daemon.data().join("tls.crt");
    let certificate = certificate.to_str().unwrap();
    for options in [["--fingerprint", &pin], ["--ca-file", certificate]] {
        let run = run_with(&daemon, &options);
        assert_eq!(text(&run.stdout), "sealed\n", "{options:?}: {run:?}");
    }
    // Neither a stranger's certificate nor an untrusted one gets a request.
    let wrong = pin.replace(&pin[7..9], if &pin[7..9] == "00" { "11" } else { "00" });
    for options in [&["--fingerprint", &wrong][..], &[]] {
        let run = run_with(&daemon, options);
        assert_eq!(run.status.code(), Some(1), "{run:?}");
        assert!(
            text(&run.stderr).contains(&pin),
            "says which one it was: {run:?}"
        );
    }
    assert_eq!(mode(&daemon.data().join("tls.key")), 0o600);
    daemon.restart();
    assert_eq!(fingerprint(&daemon), pin, "it stays");

    let address = daemon.url().replace("https://", "");
    let mut plain = TcpStream::connect(address).unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("https://"),
        "{answer}"
    );
}

#[test]
fn an_operators_own_certificate_is_served() {
    let maker = Daemon::start(&["--tls"]);
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| {
        let copy = folder.path().join(name);
        std::fs::copy(maker.data().join(name), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    });
    let options = ["--tls-cert", &certificate, "--tls-key", &key];
    let daemon = Daemon::start(&options);
    let run = run_with(&daemon, &["--ca-file", &certificate]);
    assert_eq!(text(&run.stdout), "sealed\n", "{run:?}");
    assert!(!daemon.data().join("tls.key").exists());
    // A key that others can read is no secret.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = start_fails(
        &daemon,
        &[&["--listen", "127.0.0.1:0"][..], &options].concat(),
    );
    assert!(refused.contains("chmod 600"), "{refused}");
}

/// The log of a daemon with a data folder of its own that must not start.
fn start_fails(beside: &Daemon, options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let line = [&["node", "--data-dir", data], options].concat();
    let output = beside.lote_command(&line).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    text(&output.stderr)
}

#[test]
fn the_world_is_let_in_with_tokens_and_encryption_only() {
    let local = Daemon::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(&file, format!("ops {secret}\n")).unwrap();
    let tokens = ["--token-file", file.to_str().unwrap()];
    let anywhere = ["--listen", "0.0.0.0:0"];

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let log = start_fails(&local, &[anywhere, tokens].concat());
    assert!(log.contains("chmod 600") && !log.contains(secret), "{log}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let log = start_fails(&local, &anywhere);
    assert!(
        log.contains("loopback") && log.contains("lote token create"),
        "{log}"
    );
    let log = start_fails(&local, &[anywhere, ["--tls", "--insecure-http"]].concat());
    assert!(
        log.contains("loopback"),
        "encryption alone is not enough: {log}"
    );
    let log = start_fails(&local, &[anywhere, tokens].concat());
    assert!(
        log.contains("--tls") && log.contains("--insecure-http"),
        "{log}"
    );

    let plain = Daemon::start_listening("0.0.0.0", &[&tokens[..], &["--insecure-http"]].concat());
    assert_eq!(plain.client().get("/v1/groups").status, 401);
    let client = plain.client().with_token(secret);
    assert_eq!(client.get("/v1/groups").status, 200);
    let sealed = Daemon::start_listening("0.0.0.0", &[&tokens[..], &["--tls"]].concat());
    let pin = fingerprint(&sealed);
    let nodes = lote_as(&sealed, secret, &["--fingerprint", &pin, "node", "list"]);
    assert!(nodes.status.success(), "{nodes:?}");
    assert!(!sealed.log().contains(secret));
}
