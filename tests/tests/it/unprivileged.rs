//! A daemon that is not root.

use lote_tests::client::shell_job;
use lote_tests::daemon::Daemon;

/// `setpriv` of util-linux, which every Debian has, becomes an ordinary user.
pub(crate) const AS_NOBODY: [&str; 6] = [
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
];

#[test]
fn without_root_no_job_is_started_and_the_node_says_why() {
    if !crate::is_root_or_skip("without_root_no_job_is_started_and_the_node_says_why") {
        return;
    }
    let daemon = Daemon::start_wrapped(&AS_NOBODY, &[]);
    let client = daemon.client();
    let nodes = client.get("/v1/nodes");
    let conditions = &nodes.json["value"][0]["properties"]["conditions"];
    assert_eq!(conditions[0]["code"], "IsolationUnavailable", "{nodes:?}");
    assert!(
        conditions[0]["message"]
            .as_str()
            .unwrap()
            .contains("--isolation none")
    );
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &shell_job("true"));
    let waiting = lote_tests::wait_for("the reason", lote_tests::PATIENCE, || {
        client.job(&path)["lote"]["waiting"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(!waiting.is_empty());
    assert_eq!(client.job(&path)["executionState"], "queued");
    assert!(
        daemon.log().contains("--isolation none"),
        "the log says it too:\n{}",
        daemon.log()
    );
}

#[test]
fn isolation_none_runs_jobs_as_the_daemons_user_and_ends_them_whole() {
    if !crate::is_root_or_skip("isolation_none_runs_jobs_as_the_daemons_user_and_ends_them_whole") {
        return;
    }
    let daemon = Daemon::start_wrapped(&AS_NOBODY, &["--isolation", "none"]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let path = client.submit(&experiment, "j", &shell_job("id -u; sleep 1000"));
    lote_tests::wait_for("the first line", lote_tests::PATIENCE, || {
        (client.stdout(&path) == "65534\n").then_some(())
    });
    client.post(&format!("{path}/terminate"));
    client.wait_for_end(&path);
    let marker = format!("{}/work", daemon.data().display());
    assert_eq!(
        lote_tests::processes::mentioning(&marker),
        Vec::<i32>::new()
    );
}
