//! What goes wrong, and that it ends.

use lote_control::testing::at_second;
use lote_model::key;
use lote_model::node::NodePower;

use crate::daemon::Daemon;
use crate::site::Site;

/// Faults are this rare for each second and site.
const RARITY: u64 = 12;

/// Lets something go wrong now and then, and puts something right now and then.
pub(crate) fn step(site: &mut Site) {
    if site.random.once_in(RARITY) {
        begin(site);
    }
    if site.random.once_in(RARITY) {
        let index = site.random.index(site.machines.len());
        let machine = &mut site.machines[index];
        machine.is_connected = true;
        if !machine.is_powered {
            switch_on(site, index);
        }
    }
}

fn begin(site: &mut Site) {
    let machine = site.random.index(site.machines.len());
    let daemon = site.random.index(site.daemons.len());
    match site.random.below(6) {
        0 | 1 => site.machines[machine].is_connected = false,
        2 => site.machines[machine].power_off(),
        3 => site.daemons[daemon].crash(),
        // The one who leads is the one whose sleep matters.
        _ => {
            let leader = site.daemons.iter().position(Daemon::leads);
            let until = site.now + site.random.between(2, 40);
            site.daemons[leader.unwrap_or(daemon)].sleeps_until = until;
        }
    }
}

/// Another boot: what was started before is lost.
fn switch_on(site: &mut Site, index: usize) {
    let boot = format!("boot-{}", site.now);
    let machine = &mut site.machines[index];
    machine.is_powered = true;
    machine.boots_at = None;
    machine.builder.0.boot_id = boot;
    machine.builder.0.started_at = at_second(site.now);
    machine.register(&mut site.store);
}

/// All is well from now on.
pub(crate) fn heal_all(site: &mut Site) {
    site.is_calm = true;
    for index in 0..site.machines.len() {
        site.machines[index].is_connected = true;
        let key = key::power(site.machines[index].name());
        let is_switched_off = site.store.ledger.get::<NodePower>(&key).is_some();
        if !site.machines[index].is_powered && !is_switched_off {
            switch_on(site, index);
        }
    }
    for daemon in &mut site.daemons {
        daemon.sleeps_until = 0;
    }
}
