//! A gang in containers: `mpirun` in one starts ranks in the container of the other host.

use std::fs;
use std::path::Path;

use lote_test_hosts::LabOptions;
use lote_tests::client::DEFAULT_WORKSPACE;
use lote_tests::images::{self, Shelf, section};
use lote_tests::mpi;
use serde_json::{Value, json};

use super::site::{Site, shown};
use crate::load::{CLUSTER, assert_nothing_left};

/// What an image needs for jobs of MPICH: the launcher, its helper, and the shell of the ranks.
const PROGRAMS: &[&str] = &[
    "/bin/bash",
    "/usr/bin/hydra_pmi_proxy",
    "/usr/bin/mpiexec.hydra",
];

/// An OCI archive with busybox, MPICH and a program for it; and the table that names it `mpi`.
fn shelf() -> (Shelf, String) {
    let shelf = Shelf::new();
    let files = shelf.files("files");
    let rank = shelf.path("rank");
    mpi::compile("mpicc.mpich", mpi::SUM, &rank);
    let rank = rank.to_string_lossy().into_owned();
    shelf.add_programs(&files, PROGRAMS);
    shelf.add_programs(&files, &[&rank]);
    fs::rename(
        files.join(rank.trim_start_matches('/')),
        files.join("bin/rank"),
    )
    .expect("the program at a place of its own");
    std::os::unix::fs::symlink("mpiexec.hydra", files.join("usr/bin/mpirun")).expect("a link");
    let layout = shelf.layout("layout", &files, &["--config.env", "PATH=/usr/bin:/bin"]);
    let archive = shelf.archive("mpi.tar", &layout, "oci-archive");
    let table = shelf.table(&format!(
        "[default]\npull = false\n{}",
        section("mpi", "archive", &archive)
    ));
    (shelf, table)
}

/// A job on both hosts, in the image. The hosts have one kernel, so ranks reach each other by its System
/// V memory. By TCP, ranks of Debian's MPICH now and then do not come back from `MPI_Finalize`
/// (docs/frameworks.md); by other memory, UCX tries files that containers do not share.
fn job(member: &str, settings: &Value) -> Value {
    json!({
        "cluster": {"id": format!("{DEFAULT_WORKSPACE}/clusters/{CLUSTER}")},
        "nodeCount": 2,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "containerSettings": {"imageSourceRegistry": {"image": "mpi"}},
        "environmentVariables": [{"name": "UCX_TLS", "value": "sysv,self"}],
        "jobPreparation": {"commandLine": "echo $AZ_BATCH_NODE_ID prepared this > /prepared"},
        member: settings,
    })
}

fn run(site: &Site, name: &str, properties: &Value) -> String {
    let client = site.client();
    let job = client.submit(&client.experiment("containers"), name, properties);
    let ended = site.wait_for_end(&job);
    let said = shown(&site.output(&job));
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}\n{said}");
    client.stdout(&job)
}

#[test]
fn ranks_are_started_in_the_container_of_the_other_host() {
    if let Some(program) = images::missing_program() {
        println!("skipped: {program} is not installed");
        return;
    }
    let (_shelf, table) = shelf();
    assert!(!Path::new("/prepared").exists() && !Path::new("/etc/release").exists());
    let site = Site::start_with(LabOptions::hosts(2).with(&["--image-table", &table]));

    let line = "echo \"$(cat /prepared) in $(cat /etc/release) as $(id -u)\"; exec rank";
    let settings = json!({"commandLine": line, "processCount": 4});
    let said = run(&site, "ranks", &job("customMpiSettings", &settings));
    for host in ["h1", "h2"] {
        let place = format!("{host} prepared this in the image of a test as 0");
        assert_eq!(said.matches(&place).count(), 2, "{said}");
        assert_eq!(
            said.matches(&format!(" on {host}: 6\n")).count(),
            2,
            "{said}"
        );
    }

    // On one host they share memory.
    let mut alone = job(
        "customMpiSettings",
        &json!({"commandLine": "rank", "processCount": 2}),
    );
    alone["nodeCount"] = json!(1);
    alone["environmentVariables"] = json!([{"name": "UCX_TLS", "value": "sm,self"}]);
    let said = run(&site, "alone", &alone);
    assert_eq!(said.matches(": 1\n").count(), 2, "{said}");

    // By hand, and with a code of its own.
    let line = "for host in ${AZ_BATCH_HOST_LIST//,/ }; do \
                $LOTE_PEER_LAUNCHER $host 'cat /prepared; id -u; exit 3'; echo code $?; done";
    let settings = json!({"commandLine": line});
    let said = run(&site, "by-hand", &job("customToolkitSettings", &settings));
    let of = |host: &str| format!("{host} prepared this\n0\ncode 3\n");
    assert_eq!(said, of("h1") + &of("h2"));
    assert_nothing_left(&site.lab.daemons);
    for daemon in &site.lab.daemons {
        let containers = fs::read_dir(daemon.data().join("containers"));
        assert_eq!(
            containers.map_or(0, Iterator::count),
            0,
            "{}",
            daemon.name()
        );
    }
}
