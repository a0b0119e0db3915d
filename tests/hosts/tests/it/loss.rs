//! What is lost, comes back; what was acknowledged, is done, and never twice at once.

use std::process::{Command, Stdio};
use std::time::Duration;

use lote_test_hosts::{Lab, LabOptions};
use lote_tests::wait_for;

use crate::load::{Load, RECOVERY, assert_nothing_left};

/// How long hosts and members stay away in these tests.
const AWAY: Duration = Duration::from_mins(1);

/// How long each job runs: so long that a loss hits some in the middle.
const JOB_SECONDS: f64 = 6.0;

/// The host that leads, as etcd has it.
pub(crate) fn leader(lab: &Lab) -> usize {
    wait_for("a leader", RECOVERY, || {
        let endpoints = lote_test_hosts::etcd::endpoints(&lab.members);
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &endpoints, "--command-timeout=3s"])
            .args(["get", "--print-value-only", "/lote/leader"])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let record: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let node = record["node"].as_str()?;
        lab.daemons.iter().position(|daemon| daemon.name() == node)
    })
}

fn loaded(hosts: u8) -> (Lab, Load) {
    let lab = Lab::start(&LabOptions::hosts(hosts));
    let mut load = Load::new(&lab);
    load.submit(&lab.daemons, 24, JOB_SECONDS);
    (lab, load)
}

fn finish(lab: &Lab, load: &Load) {
    load.assert_all_succeed(&lab.daemons);
    assert_nothing_left(&lab.daemons);
}

#[test]
fn the_leader_is_killed() {
    let (mut lab, mut load) = loaded(4);
    let first = leader(&lab);
    load.wait_until_running_on(&lab.daemons[first]);
    lab.daemons[first].kill();
    let second = wait_for("another leader", RECOVERY, || {
        Some(leader(&lab)).filter(|leader| *leader != first)
    });
    assert_ne!(first, second);
    // Its jobs have gone on meanwhile; it comes back before it counts as lost.
    lab.daemons[first].start();
    lab.daemons[first].wait_until_ready();
    load.submit(&lab.daemons, 8, 0.5);
    finish(&lab, &load);
    assert!(
        load.starts().values().all(|starts| *starts <= 2),
        "a gang starts on two hosts, everything else once: {:?}",
        load.starts()
    );
}

#[test]
fn a_host_loses_its_power() {
    let (mut lab, load) = loaded(4);
    let victim = (leader(&lab) + 1) % 4;
    load.wait_until_running_on(&lab.daemons[victim]);
    lab.daemons[victim].power_off();
    load.assert_all_succeed(&lab.daemons);
    lab.daemons[victim].start();
    lab.daemons[victim].wait_until_ready();
    finish(&lab, &load);
}

#[test]
fn a_host_is_cut_off_for_a_minute() {
    let (lab, load) = loaded(4);
    let victim = (leader(&lab) + 1) % 4;
    load.wait_until_running_on(&lab.daemons[victim]);
    lab.daemons[victim].host.network().cut();
    std::thread::sleep(AWAY);
    let marker = format!("{}/work", lab.daemons[victim].data().display());
    assert_eq!(
        lab.daemons[victim].host.processes_mentioning(&marker),
        Vec::<i32>::new(),
        "it ended its jobs by itself"
    );
    lab.daemons[victim].host.network().heal();
    finish(&lab, &load);
}

#[test]
fn a_leader_sleeps_longer_than_its_lease() {
    let (lab, mut load) = loaded(4);
    let first = leader(&lab);
    lab.daemons[first].pause();
    wait_for("another leader", RECOVERY, || {
        Some(leader(&lab)).filter(|leader| *leader != first)
    });
    load.submit_to_others(&lab.daemons, first, 6, 0.5);
    lab.daemons[first].resume();
    finish(&lab, &load);
}

#[test]
fn an_etcd_member_is_cut_off() {
    let (lab, mut load) = loaded(4);
    lab.members[0].host.network().cut();
    load.submit(&lab.daemons, 6, 0.5);
    std::thread::sleep(Duration::from_secs(15));
    lab.members[0].host.network().heal();
    finish(&lab, &load);
    assert!(
        load.starts().values().all(|starts| *starts <= 2),
        "nobody was lost: {:?}",
        load.starts()
    );
}

#[test]
fn two_of_three_etcd_members_are_away_for_a_minute() {
    let (mut lab, mut load) = loaded(4);
    for member in &mut lab.members[..2] {
        member.kill();
    }
    let client = lab.daemons[3].client();
    wait_for("the API to say what is missing", RECOVERY, || {
        let answer = client.try_send("GET", "/v1/nodes", None)?;
        (answer.status == 503).then_some(())
    });
    std::thread::sleep(AWAY);
    for member in &mut lab.members[..2] {
        member.start();
    }
    wait_for("the API to be back", RECOVERY, || {
        let answer = client.try_send("GET", "/v1/nodes", None)?;
        (answer.status == 200).then_some(())
    });
    load.submit(&lab.daemons, 6, 0.5);
    finish(&lab, &load);
    assert!(
        load.starts().values().all(|starts| *starts <= 2),
        "running jobs went on, and none was given away: {:?}",
        load.starts()
    );
}
