//! Limits of a job, and the files that set them.

use serde::{Deserialize, Serialize};

use super::layout::Controller;

/// Length of the window in which a quota holds; the kernel's default.
const QUOTA_PERIOD_MICROSECONDS: u64 = 100_000;
/// The smallest memory limit that a process can be set up in: below it the
/// kernel would kill before the command's first instruction.
pub(super) const MEMORY_BYTES_MIN: u64 = 1 << 20;

/// What a job may use on this node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Weight against other jobs when processors are short, in thousandths of a
    /// processor; `None`: the weight of one processor where it costs nothing.
    pub cpu_share_millis: Option<u64>,
    /// The most it may use even when processors are idle, in the same unit.
    pub cpu_limit_millis: Option<u64>,
    /// Memory and swap together; at least 1 MiB.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at one time.
    pub pids_max: Option<u64>,
}

/// A value to write into a new cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Some kernels do not have the file, and that is acceptable.
    pub(super) optional: bool,
}

impl Limits {
    /// What is asked of each controller, in words for errors.
    pub(super) fn asked(&self) -> impl Iterator<Item = (Controller, &'static str)> {
        let cpu = self.cpu_share_millis.or(self.cpu_limit_millis);
        [
            (Controller::Cpu, cpu, "processor time"),
            (Controller::Memory, self.memory_bytes, "memory"),
            (Controller::Pids, self.pids_max, "the number of processes"),
        ]
        .into_iter()
        .filter_map(|(controller, value, what)| value.map(|_| (controller, what)))
    }

    /// The settings of one controller in a v1 hierarchy.
    pub(super) fn v1(&self, controller: Controller) -> Vec<Setting> {
        let setting = |file, value: u64, optional| Setting {
            controller,
            file,
            value: value.to_string(),
            optional,
        };
        match controller {
            Controller::Cpu => {
                let share = self
                    .cpu_share_millis
                    .map(|m| setting("cpu.shares", shares(m), false));
                let limit = self
                    .cpu_limit_millis
                    .map(|m| setting("cpu.cfs_quota_us", quota(m), false));
                share.into_iter().chain(limit).collect()
            }
            // The order matters: the sum with swap may never be the smaller one.
            Controller::Memory => self.memory_bytes.map_or_else(Vec::new, |bytes| {
                vec![
                    setting("memory.limit_in_bytes", bytes, false),
                    setting("memory.memsw.limit_in_bytes", bytes, true),
                ]
            }),
            Controller::Pids => self
                .pids_max
                .map(|n| setting("pids.max", n, false))
                .into_iter()
                .collect(),
            Controller::Cpuacct | Controller::Freezer => Vec::new(),
        }
    }

    /// The settings of one controller in the v2 hierarchy.
    pub(super) fn v2(&self, controller: Controller) -> Vec<Setting> {
        let setting = |file, value, optional| Setting {
            controller,
            file,
            value,
            optional,
        };
        match controller {
            Controller::Cpu => {
                let share = self
                    .cpu_share_millis
                    .map(|m| setting("cpu.weight", weight(m).to_string(), false));
                let limit = self.cpu_limit_millis.map(|m| {
                    setting(
                        "cpu.max",
                        format!("{} {QUOTA_PERIOD_MICROSECONDS}", quota(m)),
                        false,
                    )
                });
                share.into_iter().chain(limit).collect()
            }
            Controller::Memory => self.memory_bytes.map_or_else(Vec::new, |bytes| {
                vec![
                    setting("memory.max", bytes.to_string(), false),
                    setting("memory.swap.max", "0".into(), true),
                ]
            }),
            Controller::Pids => self
                .pids_max
                .map(|n| setting("pids.max", n.to_string(), false))
                .into_iter()
                .collect(),
            Controller::Cpuacct | Controller::Freezer => Vec::new(),
        }
    }
}

/// One processor is 1024 shares; the kernel takes 2 to 262144.
fn shares(millis: u64) -> u64 {
    (millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// One processor is the default weight of 100; the kernel takes 1 to 10000.
fn weight(millis: u64) -> u64 {
    (millis / 10).clamp(1, 10_000)
}

/// The kernel takes no quota below one millisecond.
fn quota(millis: u64) -> u64 {
    millis
        .saturating_mul(QUOTA_PERIOD_MICROSECONDS / 1000)
        .max(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_processor_is_the_kernels_default_weight() {
        assert_eq!((shares(1000), weight(1000)), (1024, 100));
    }

    #[test]
    fn two_processors_are_two_windows() {
        let limits = Limits {
            cpu_limit_millis: Some(2000),
            ..Limits::default()
        };
        assert_eq!(limits.v1(Controller::Cpu)[0].value, "200000");
        assert_eq!(limits.v2(Controller::Cpu)[0].value, "200000 100000");
    }

    #[test]
    fn nothing_asked_is_nothing_set() {
        for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
            assert!(Limits::default().v1(controller).is_empty());
            assert!(Limits::default().v2(controller).is_empty());
        }
    }

    proptest! {
        #[test]
        fn values_stay_in_the_kernels_range(millis in any::<u64>()) {
            prop_assert!((2..=262_144).contains(&shares(millis)));
            prop_assert!((1..=10_000).contains(&weight(millis)));
            prop_assert!(quota(millis) >= 1000);
        }
    }
}
