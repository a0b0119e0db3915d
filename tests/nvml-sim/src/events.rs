//! Sets of events and what was delivered to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::file::{EventKind, Presence};
use crate::machine::{Event, Happening, Machine};

/// The types of events of NVML.
const SINGLE_BIT_ECC: u64 = 0x1;
const DOUBLE_BIT_ECC: u64 = 0x2;
const PERFORMANCE_STATE: u64 = 0x4;
const XID: u64 = 0x8;
const CLOCK: u64 = 0x10;

/// The types that every GPU can tell of, as a real one answers.
pub(crate) const SUPPORTED: u64 = 65_439;

/// Which GPUs it waits for, and what it was told or came too late for.
#[derive(Debug, Default)]
pub(crate) struct EventSet {
    registered: BTreeMap<usize, u64>,
    done: BTreeSet<u64>,
}

impl EventSet {
    /// Waits for events of a GPU from now on.
    pub(crate) fn register(&mut self, machine: &Machine, gpu: usize, types: u64) {
        if !self.registered.contains_key(&gpu) {
            let past = machine.events.iter().filter(|event| event.gpu == gpu);
            self.done.extend(past.map(|event| event.id));
        }
        *self.registered.entry(gpu).or_default() |= types;
    }

    /// The first event that it was not told yet.
    pub(crate) fn take(&mut self, machine: &Machine) -> Option<Event> {
        let next = machine.events.iter().find(|event| {
            let types = self.registered.get(&event.gpu).copied().unwrap_or(0);
            types & event_type(event.kind) != 0 && !self.done.contains(&event.id)
        })?;
        self.done.insert(next.id);
        Some(*next)
    }

    /// Whether one of its GPUs has fallen off the bus.
    pub(crate) fn has_lost_one(&self, machine: &Machine) -> bool {
        let mut gpus = self
            .registered
            .keys()
            .filter_map(|&gpu| machine.gpus.get(gpu));
        gpus.any(|gpu| gpu.spec.state == Presence::Lost)
    }
}

/// The bit of an event's type.
pub(crate) fn event_type(kind: Happening) -> u64 {
    match kind {
        Happening::Xid(_) => XID,
        Happening::Other(EventKind::SingleBitEcc) => SINGLE_BIT_ECC,
        Happening::Other(EventKind::DoubleBitEcc) => DOUBLE_BIT_ECC,
        Happening::Other(EventKind::PerformanceState) => PERFORMANCE_STATE,
        Happening::Other(EventKind::Clock) => CLOCK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(events: &[(u64, usize)]) -> Machine {
        let lines = events
            .iter()
            .map(|(id, gpu)| format!("[[event]]\nid = {id}\ngpu = {gpu}\nxid = 79\n"));
        let lines: String = lines.collect();
        let text = format!("[[gpu]]\nmodel = \"L4\"\ncount = 2\n{lines}");
        Machine::parse(&text, 1).unwrap()
    }

    #[test]
    fn each_event_is_told_once_and_those_before_are_not() {
        let mut set = EventSet::default();
        set.register(&machine(&[(1, 0)]), 0, XID);
        let later = machine(&[(1, 0), (2, 0), (3, 1), (4, 0)]);
        let told: Vec<u64> = std::iter::from_fn(|| set.take(&later))
            .map(|event| event.id)
            .collect();
        assert_eq!(told, [2, 4]);
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let mut set = EventSet::default();
        set.register(&machine(&[]), 0, DOUBLE_BIT_ECC);
        assert_eq!(set.take(&machine(&[(1, 0)])), None);
        set.register(&machine(&[]), 0, XID);
        assert!(set.take(&machine(&[(1, 0)])).is_some());
    }
}
