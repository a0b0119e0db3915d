//! Upgrades: everything is restarted, one after the other, and no job notices.

use lote_test_hosts::{Lab, LabOptions};

use crate::load::{Load, assert_nothing_left};

#[test]
fn running_jobs_survive_a_rolling_restart_of_everything() {
    let mut lab = Lab::start(&LabOptions::hosts(4));
    let mut load = Load::new(&lab);
    load.submit(&lab.daemons, 12, 25.0);
    for daemon in &lab.daemons {
        load.wait_until_running_on(daemon);
    }
    for daemon in &mut lab.daemons {
        daemon.stop();
        daemon.start();
        daemon.wait_until_ready();
    }
    for member in &mut lab.members {
        member.stop();
        member.start();
        member.wait_until_healthy();
    }
    load.assert_all_succeed(&lab.daemons);
    assert_nothing_left(&lab.daemons);
    assert!(
        load.starts().values().all(|starts| *starts <= 2),
        "no job was started again: {:?}",
        load.starts()
    );
}
