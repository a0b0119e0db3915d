use proptest::prelude::*;

use super::*;

/// Two sockets with four GPUs each; NVLink within a socket, nothing between them.
fn two_islands() -> Vec<Vec<GpuDistance>> {
    machine(8, |one, other| {
        if one / 4 == other / 4 {
            GpuDistance::NvLink(12)
        } else {
            GpuDistance::System
        }
    })
}

fn machine(count: usize, way: impl Fn(usize, usize) -> GpuDistance) -> Vec<Vec<GpuDistance>> {
    let row = |one: usize| {
        let way = |other| {
            if one == other {
                GpuDistance::Same
            } else {
                way(one.min(other), one.max(other))
            }
        };
        (0..count).map(way).collect()
    };
    (0..count).map(row).collect()
}

fn spread(distances: &[Vec<GpuDistance>], set: &[usize]) -> Spread {
    let pairs = set
        .iter()
        .flat_map(|one| set.iter().map(move |other| (*one, *other)))
        .filter(|(one, other)| one < other);
    pairs.fold(Spread::default(), |spread, (one, other)| Spread {
        tier: spread.tier.max(tier(distances[one][other])),
        sum: spread.sum + length(distances[one][other]),
    })
}

#[test]
fn jobs_keep_to_an_island_and_break_up_the_smaller_rest() {
    let machine = two_islands();
    let all: Vec<usize> = (0..8).collect();
    assert_eq!(nearest(&machine, &all, 4), [0, 1, 2, 3]);
    assert_eq!(nearest(&machine, &all, 8), all);
    // One island has two left, the other all four.
    assert_eq!(nearest(&machine, &[2, 3, 4, 5, 6, 7], 1), [2]);
    assert_eq!(nearest(&machine, &[2, 3, 4, 5, 6, 7], 2), [2, 3]);
    assert_eq!(nearest(&machine, &[2, 3, 4, 5, 6, 7], 3), [4, 5, 6]);
    assert_eq!(nearest(&machine, &[3, 4], 2), [3, 4]);
}

#[test]
fn all_nvlink_comes_before_any_pcie_even_if_that_would_be_shorter_in_sum() {
    // 0–1–2 have one link each; 3–4–5 have many between two and a switch to the third.
    let machine = machine(6, |one, other| match (one, other) {
        (0, 1 | 2) | (1, 2) => GpuDistance::NvLink(1),
        (3, 4 | 5) => GpuDistance::NvLink(18),
        (4, 5) => GpuDistance::PcieSwitch,
        _ => GpuDistance::System,
    });
    assert!(spread(&machine, &[3, 4, 5]).sum < spread(&machine, &[0, 1, 2]).sum);
    assert_eq!(nearest(&machine, &[0, 1, 2, 3, 4, 5], 3), [0, 1, 2]);
}

#[test]
fn more_links_are_nearer() {
    // The ring of a cube mesh: neighbours have two links, those across one.
    let machine = machine(4, |one, other| {
        GpuDistance::NvLink(if other - one == 2 { 1 } else { 2 })
    });
    assert_eq!(nearest(&machine, &[0, 1, 2, 3], 2), [0, 1]);
    assert_eq!(nearest(&machine, &[0, 2, 3], 2), [0, 3]);
}

#[test]
fn without_distances_the_first_ones_are_taken() {
    assert_eq!(nearest(&[], &[1, 2, 5], 2), [1, 2]);
    let too_short = vec![vec![GpuDistance::Same]; 6];
    assert_eq!(nearest(&too_short, &[1, 2, 5], 2), [1, 2]);
    assert!(nearest(&two_islands(), &[], 1).is_empty());
    assert!(nearest(&two_islands(), &[1, 2], 0).is_empty());
}

#[test]
fn instances_of_few_gpus_are_chosen() {
    // Eight GPUs of seven MIG instances each.
    let machine = machine(56, |one, other| {
        if one / 7 == other / 7 {
            GpuDistance::Same
        } else {
            GpuDistance::NvLink(18)
        }
    });
    let all: Vec<usize> = (0..56).collect();
    let chosen = nearest(&machine, &all, 20);
    let parents: Vec<usize> = chosen.iter().map(|gpu| gpu / 7).collect();
    let of = |parent| parents.iter().filter(|other| **other == parent).count();
    let mut counts: Vec<usize> = (0..8).map(of).filter(|count| *count > 0).collect();
    counts.sort_unstable();
    assert_eq!(counts, [6, 7, 7]);
    assert_eq!(nearest(&machine, &all, 7), [0, 1, 2, 3, 4, 5, 6]);
}

fn any_way() -> impl Strategy<Value = GpuDistance> {
    prop_oneof![
        Just(GpuDistance::Same),
        (1_u8..19).prop_map(GpuDistance::NvLink),
        Just(GpuDistance::PcieSwitch),
        Just(GpuDistance::PcieSwitches),
        Just(GpuDistance::HostBridge),
        Just(GpuDistance::NumaNode),
        Just(GpuDistance::System),
    ]
}

/// A machine whose ways are drawn from a few, so that there are islands and alike GPUs.
fn any_machine() -> impl Strategy<Value = Vec<Vec<GpuDistance>>> {
    (2_usize..=8, prop::collection::vec(any_way(), 1..4)).prop_flat_map(|(count, ways)| {
        prop::collection::vec(prop::sample::select(ways), count * count)
            .prop_map(move |drawn| machine(count, |one, other| drawn[one * count + other]))
    })
}

proptest! {
    #[test]
    fn no_other_set_is_nearer(
        machine in any_machine(),
        is_free in prop::collection::vec(any::<bool>(), 8),
        count in 1_usize..=8,
    ) {
        let free: Vec<usize> = (0..machine.len()).filter(|gpu| is_free[*gpu]).collect();
        let chosen = nearest(&machine, &free, count);
        prop_assert_eq!(chosen.len(), count.min(free.len()));
        prop_assert!(chosen.is_sorted());
        prop_assert!(chosen.iter().all(|gpu| free.contains(gpu)));
        let rest = |set: &[usize]| -> Vec<usize> {
            free.iter().copied().filter(|gpu| !set.contains(gpu)).collect()
        };
        let worth = |set: &[usize]| (spread(&machine, set), spread(&machine, &rest(set)).sum);
        let best = (0_u32..1 << free.len())
            .filter(|bits| bits.count_ones() as usize == chosen.len())
            .map(|bits| -> Vec<usize> {
                (0..free.len()).filter(|bit| bits >> bit & 1 == 1).map(|bit| free[bit]).collect()
            })
            .map(|set| worth(&set))
            .min();
        prop_assert_eq!(Some(worth(&chosen)), best);
    }
}
