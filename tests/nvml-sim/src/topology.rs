//! How near the GPUs of a machine are.

use crate::file::{FileError, Layout, NvLink, NvLinkWord, Presence};
use crate::machine::{BusAddress, Gpu};

/// The levels of `nvmlGpuTopologyLevel_t`.
pub(crate) const INTERNAL: u32 = 0;
const SINGLE: u32 = 10;
const MULTIPLE: u32 = 20;
const HOST_BRIDGE: u32 = 30;
const NODE: u32 = 40;
const SYSTEM: u32 = 50;

/// How many NVSwitches a machine has whose GPUs are connected through them.
const SWITCHES: u32 = 4;

/// What two different GPUs have in common on their ways from the processors.
pub(crate) fn common_ancestor(one: &Gpu, other: &Gpu) -> u32 {
    if one.numa_node != other.numa_node {
        return SYSTEM;
    }
    let common = one.pcie.iter().zip(&other.pcie);
    match common.take_while(|(one, other)| one == other).count() {
        0 => NODE,
        1 => HOST_BRIDGE,
        all if all == one.pcie.len() && all == other.pcie.len() => SINGLE,
        _ => MULTIPLE,
    }
}

/// What is at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A GPU, by its number in the file.
    Gpu(usize),
    /// A switch.
    Switch(BusAddress),
}

/// The NVLinks of a machine.
#[derive(Debug)]
pub(crate) struct Links {
    /// What each link of each GPU leads to; none for one that is not used.
    of_gpus: Vec<Vec<Option<Remote>>>,
}

impl Links {
    pub(crate) fn new(layout: &Layout, gpus: &[Gpu]) -> Result<Self, FileError> {
        let mut links = Self {
            of_gpus: vec![Vec::new(); gpus.len()],
        };
        match &layout.nvlink {
            NvLink::Word(NvLinkWord::None) => {}
            NvLink::Word(NvLinkWord::All) => links.connect_by_switches(gpus),
            NvLink::Islands(islands) => {
                for island in islands {
                    links.connect_island(island, gpus)?;
                }
            }
        }
        for &(one, other, count) in &layout.nvlink_pairs {
            links.connect(one, other, count, gpus)?;
        }
        for (own, gpu) in links.of_gpus.iter_mut().zip(gpus) {
            let max = usize::try_from(gpu.spec.nvlink_links).unwrap_or_default();
            if own.len() > max {
                let name = &gpu.spec.name;
                return Err(FileError::new(format!(
                    "{} links to a {name}, which has {max}",
                    own.len()
                )));
            }
            own.resize(max, None);
        }
        Ok(links)
    }

    /// The other end of an active link. The outer option is none for a link that the GPU does
    /// not have.
    #[expect(
        clippy::option_option,
        reason = "a link that is down is no link that is not there"
    )]
    pub(crate) fn remote(&self, gpus: &[Gpu], number: usize, link: u32) -> Option<Option<Remote>> {
        let of_gpu = self.of_gpus.get(number)?;
        let remote = *of_gpu.get(usize::try_from(link).ok()?)?;
        let down = |gpu: usize| {
            gpus.get(gpu)
                .is_some_and(|gpu| gpu.spec.state != Presence::Present)
        };
        let own = gpus.get(number)?;
        Some(remote.filter(|remote| {
            let peer_down = matches!(remote, Remote::Gpu(peer) if down(*peer));
            !own.spec.nvlink_down.contains(&link) && !peer_down
        }))
    }

    /// Whether data can go from one GPU to another by NVLink alone.
    pub(crate) fn connects(&self, gpus: &[Gpu], one: usize, other: usize) -> bool {
        let ends = |number: usize| {
            let count = self.of_gpus.get(number).map_or(0, Vec::len);
            (0..count).filter_map(move |link| {
                self.remote(gpus, number, u32::try_from(link).ok()?)
                    .flatten()
            })
        };
        let to_switch = |number| ends(number).any(|end| matches!(end, Remote::Switch(_)));
        ends(one).any(|end| end == Remote::Gpu(other)) || (to_switch(one) && to_switch(other))
    }

    fn connect_by_switches(&mut self, gpus: &[Gpu]) {
        for (own, gpu) in self.of_gpus.iter_mut().zip(gpus) {
            own.extend((0..gpu.spec.nvlink_links).map(|link| {
                Some(Remote::Switch(BusAddress {
                    domain: 0,
                    bus: 0x05 + link % SWITCHES,
                    device: 0,
                }))
            }));
        }
    }

    /// As many links between each two as there can be.
    fn connect_island(&mut self, island: &[usize], gpus: &[Gpu]) -> Result<(), FileError> {
        let of_island = island.iter().filter_map(|&number| gpus.get(number));
        let links = of_island
            .map(|gpu| gpu.spec.nvlink_links)
            .min()
            .unwrap_or(0);
        let others = u32::try_from(island.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let each = links.checked_div(others).unwrap_or(0);
        if each == 0 {
            return Err(FileError::new(format!(
                "an NVLink island {island:?} of GPUs with {links} links"
            )));
        }
        for (at, &one) in island.iter().enumerate() {
            for &other in island.iter().skip(at + 1) {
                self.connect(one, other, each, gpus)?;
            }
        }
        Ok(())
    }

    fn connect(
        &mut self,
        one: usize,
        other: usize,
        count: u32,
        gpus: &[Gpu],
    ) -> Result<(), FileError> {
        if one == other || one.max(other) >= gpus.len() {
            return Err(FileError::new(format!(
                "no NVLink can go from GPU {one} to GPU {other}"
            )));
        }
        for (from, to) in [(one, other), (other, one)] {
            if let Some(own) = self.of_gpus.get_mut(from) {
                own.extend((0..count).map(|_| Some(Remote::Gpu(to))));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn machine(layout: &str, gpus: &str) -> Machine {
        Machine::parse(&format!("layout = {layout}\n{gpus}"), 8).unwrap()
    }

    const EIGHT: &str = "[[gpu]]\nmodel = \"H100\"\ncount = 8";

    fn links_between(machine: &Machine, one: usize, other: usize) -> usize {
        let links = (0..18).filter(|&link| {
            machine.links.remote(&machine.gpus, one, link) == Some(Some(Remote::Gpu(other)))
        });
        links.count()
    }

    #[test]
    fn the_levels_are_those_of_the_way_that_is_common() {
        let gpus = ["b0/s0", "b0/s0", "b0/s0/t0", "b0", "b1/s0"]
            .map(|way| format!("[[gpu]]\nmodel = \"L4\"\npcie = \"{way}\"\n"))
            .concat();
        let gpus = format!("{gpus}[[gpu]]\nmodel = \"L4\"\npcie = \"b0/s0\"\nnuma_node = 1");
        let machine = machine("{}", &gpus);
        let level = |other: usize| common_ancestor(&machine.gpus[0], &machine.gpus[other]);
        assert_eq!(level(1), SINGLE);
        assert_eq!(level(2), MULTIPLE);
        assert_eq!(level(3), HOST_BRIDGE);
        assert_eq!(level(4), NODE);
        assert_eq!(level(5), SYSTEM);
    }

    #[test]
    fn an_island_shares_its_links_evenly() {
        let machine = machine("{ nvlink = [[0, 1, 2, 3], [4, 5, 6, 7]] }", EIGHT);
        assert_eq!(links_between(&machine, 0, 3), 6);
        assert_eq!(links_between(&machine, 3, 0), 6);
        assert_eq!(links_between(&machine, 0, 4), 0);
        assert!(machine.links.connects(&machine.gpus, 5, 7));
        assert!(!machine.links.connects(&machine.gpus, 3, 4));
    }

    #[test]
    fn switches_connect_all() {
        let machine = machine("{ nvlink = \"all\" }", EIGHT);
        assert!(machine.links.connects(&machine.gpus, 0, 7));
        let remote = machine.links.remote(&machine.gpus, 0, 17);
        assert!(
            matches!(remote, Some(Some(Remote::Switch(_)))),
            "{remote:?}"
        );
        assert_eq!(machine.links.remote(&machine.gpus, 0, 18), None);
    }

    #[test]
    fn pairs_have_as_many_links_as_is_said() {
        let machine = machine("{ nvlink_pairs = [[0, 1, 2]] }", EIGHT);
        assert_eq!(links_between(&machine, 1, 0), 2);
        assert_eq!(machine.links.remote(&machine.gpus, 1, 2), Some(None));
    }

    #[test]
    fn links_to_what_is_down_are_down() {
        let changes = "[change.1]\nstate = \"lost\"\n[change.0]\nnvlink_down = [6]\n";
        let machine = machine(
            "{ nvlink = [[0, 1, 2, 3]] }",
            &format!("{EIGHT}\n{changes}"),
        );
        assert_eq!(links_between(&machine, 0, 1), 0);
        assert_eq!(links_between(&machine, 0, 2), 5);
    }

    #[test]
    fn impossible_links_are_refused() {
        for layout in [
            "{ nvlink_pairs = [[0, 0, 1]] }",
            "{ nvlink_pairs = [[0, 8, 1]] }",
            "{ nvlink_pairs = [[0, 1, 19]] }",
            "{ nvlink = [[0, 9]] }",
        ] {
            let text = format!("layout = {layout}\n{EIGHT}");
            assert!(Machine::parse(&text, 8).is_err(), "{layout}");
        }
    }
}
