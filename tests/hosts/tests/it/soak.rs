//! Faults at random, by seed: `LOTE_SEED` repeats one, `LOTE_SOAK_SECONDS` makes it longer.

use std::time::{Duration, Instant};

use lote_test_hosts::{Lab, LabOptions};

use crate::load::{Load, assert_nothing_left};

/// How long faults go on unless told otherwise.
const SECONDS: u64 = 90;

/// What happens next, all from the seed. Splitmix64: small, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        usize::try_from(z % sides as u64).unwrap()
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What is wrong at the moment, so that it can be put right.
enum Fault {
    HostCut(usize),
    HostOff(usize),
    DaemonDead(usize),
    DaemonPaused(usize),
    MemberCut(usize),
    MemberDead(usize),
}

impl Fault {
    fn begin(dice: &mut Dice, lab: &mut Lab) -> Self {
        let host = dice.roll(lab.daemons.len());
        let member = dice.roll(lab.members.len());
        let fault = match dice.roll(6) {
            0 => Self::HostCut(host),
            1 => Self::HostOff(host),
            2 => Self::DaemonDead(host),
            3 => Self::DaemonPaused(host),
            4 => Self::MemberCut(member),
            _ => Self::MemberDead(member),
        };
        match fault {
            Self::HostCut(host) => lab.daemons[host].host.network().cut(),
            Self::HostOff(host) => lab.daemons[host].power_off(),
            Self::DaemonDead(host) => lab.daemons[host].kill(),
            Self::DaemonPaused(host) => lab.daemons[host].pause(),
            Self::MemberCut(member) => lab.members[member].host.network().cut(),
            Self::MemberDead(member) => lab.members[member].kill(),
        }
        fault
    }

    fn name(&self) -> String {
        match self {
            Self::HostCut(host) => format!("host {host} cut off"),
            Self::HostOff(host) => format!("host {host} without power"),
            Self::DaemonDead(host) => format!("daemon {host} killed"),
            Self::DaemonPaused(host) => format!("daemon {host} paused"),
            Self::MemberCut(member) => format!("etcd member {member} cut off"),
            Self::MemberDead(member) => format!("etcd member {member} killed"),
        }
    }

    fn end(self, lab: &mut Lab) {
        match self {
            Self::HostCut(host) => lab.daemons[host].host.network().heal(),
            Self::HostOff(host) | Self::DaemonDead(host) => lab.daemons[host].start(),
            Self::DaemonPaused(host) => lab.daemons[host].resume(),
            Self::MemberCut(member) => lab.members[member].host.network().heal(),
            Self::MemberDead(member) => lab.members[member].start(),
        }
    }
}

#[test]
fn faults_at_random_lose_nothing_and_double_nothing() {
    let seed = setting("LOTE_SEED", 1);
    let until = Instant::now() + Duration::from_secs(setting("LOTE_SOAK_SECONDS", SECONDS));
    println!("seed {seed}: LOTE_SEED={seed} repeats it");
    let mut dice = Dice(seed);
    let mut lab = Lab::start(&LabOptions::hosts(4));
    let mut load = Load::new(&lab);
    while Instant::now() < until {
        load.submit(&lab.daemons, 6, [1.0, 2.0, 3.0, 4.0, 5.0][dice.roll(5)]);
        let fault = Fault::begin(&mut dice, &mut lab);
        println!("{}", fault.name());
        std::thread::sleep(Duration::from_millis(500 + 500 * dice.roll(30) as u64));
        fault.end(&mut lab);
    }
    for member in &lab.members {
        member.wait_until_healthy();
    }
    for daemon in &mut lab.daemons {
        daemon.wait_until_ready();
    }
    load.assert_all_succeed(&lab.daemons);
    assert_nothing_left(&lab.daemons);
}
