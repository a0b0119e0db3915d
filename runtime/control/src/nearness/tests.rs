use std::collections::BTreeMap;

use lote_model::id::NodeName;
use proptest::prelude::*;

use super::{Domains, Place};

fn place(rack: &str, switch: &str) -> Place {
    let labels = BTreeMap::from([
        ("rack".to_owned(), rack.to_owned()),
        ("switch".to_owned(), switch.to_owned()),
    ]);
    Place::of(&labels, &["switch".to_owned(), "rack".to_owned()])
}

/// Nodes as `(name, rack, switch)`.
fn domains(nodes: &[(&str, &str, &str)]) -> Domains {
    let mut domains = Domains::default();
    for (name, rack, switch) in nodes {
        domains.insert(0, NodeName::new(*name), &place(rack, switch));
    }
    domains
}

fn pick(domains: &Domains, count: usize) -> Vec<String> {
    let picked = domains.pick(count, &[]);
    picked.iter().map(ToString::to_string).collect()
}

fn site() -> Domains {
    domains(&[
        ("a1", "r1", "s1"),
        ("a2", "r1", "s1"),
        ("a3", "r1", "s1"),
        ("a4", "r1", "s2"),
        ("b1", "r2", "s1"),
        ("b2", "r2", "s1"),
        ("c1", "r3", "s1"),
    ])
}

#[test]
fn the_smallest_domain_that_holds_all_is_taken() {
    let site = site();
    assert_eq!(pick(&site, 1), ["a4"], "of the smallest the first by name");
    assert_eq!(pick(&site, 2), ["b1", "b2"]);
    assert_eq!(pick(&site, 3), ["a1", "a2", "a3"]);
    assert_eq!(pick(&site, 4), ["a1", "a2", "a3", "a4"], "one rack");
}

#[test]
fn what_no_domain_holds_is_spread_over_as_few_as_possible() {
    let site = site();
    assert_eq!(pick(&site, 5), ["a1", "a2", "a3", "a4", "c1"]);
    assert_eq!(pick(&site, 6), ["a1", "a2", "a3", "a4", "b1", "b2"]);
    assert_eq!(pick(&site, 9).len(), 7, "all there are");
}

#[test]
fn the_rest_of_a_gang_goes_near_its_beginning() {
    let site = site();
    let near = |count, rack: &str, switch: &str| site.pick(count, &[place(rack, switch)]);
    assert_eq!(near(1, "r1", "s1"), [NodeName::new("a1")]);
    assert_eq!(near(1, "r3", "s9"), [NodeName::new("c1")], "the same rack");
    assert_eq!(
        near(2, "r3", "s1"),
        [NodeName::new("b1"), NodeName::new("b2")],
        "too few are near"
    );
}

#[test]
fn switches_of_one_name_in_two_racks_are_two() {
    let two = domains(&[("a", "r1", "s"), ("b", "r2", "s"), ("c", "r2", "t")]);
    assert_eq!(pick(&two, 2), ["b", "c"]);
}

#[test]
fn without_labels_names_decide() {
    let mut domains = Domains::default();
    for name in ["n2", "n1", "n3"] {
        domains.insert(0, NodeName::new(name), &Place::of(&BTreeMap::new(), &[]));
    }
    assert_eq!(pick(&domains, 2), ["n1", "n2"]);
    let mut domains = Domains::default();
    for (rank, name) in [(0, "n2"), (1, "n1"), (0, "n3")] {
        domains.insert(rank, NodeName::new(name), &place("", ""));
    }
    assert_eq!(pick(&domains, 2), ["n2", "n3"], "the rank before the name");
}

proptest! {
    /// After any insertions and removals the domains are what the remaining nodes alone make.
    #[test]
    fn removed_nodes_leave_nothing_behind(
        nodes in proptest::collection::btree_map(0..40_u8, (0..3_u8, 0..3_u8, any::<bool>()), 0..30),
        count in 1..20_usize,
    ) {
        let (mut all, mut few) = (Domains::default(), Domains::default());
        let named = |number: &u8| NodeName::new(format!("n{number:02}"));
        let at = |rack: &u8, switch: &u8| place(&rack.to_string(), &switch.to_string());
        for (number, (rack, switch, stays)) in &nodes {
            all.insert(0, named(number), &at(rack, switch));
            if *stays {
                few.insert(0, named(number), &at(rack, switch));
            }
        }
        for (number, (rack, switch, _)) in nodes.iter().filter(|(_, (_, _, stays))| !stays) {
            all.remove(0, &named(number), &at(rack, switch));
        }
        prop_assert_eq!(all.len(), few.len());
        let picked = all.pick(count, &[]);
        prop_assert_eq!(&picked, &few.pick(count, &[]));
        prop_assert_eq!(picked.len(), count.min(few.len()));
        let different: std::collections::BTreeSet<_> = picked.iter().collect();
        prop_assert_eq!(different.len(), picked.len());
    }
}
