use jiff::SignedDuration;
use lote_model::id::NodeName;
use lote_model::key;
use lote_model::node::{NodePower, PowerState};

use crate::actions::{Action, Decisions, PowerOrder};
use crate::config::{Config, PowerPolicy};
use crate::driver::Leadership;
use crate::testing::{NodeBuilder, World, at_second, cluster, file_server, job, node};

fn policy() -> PowerPolicy {
    PowerPolicy {
        off_after: Some(SignedDuration::from_secs(600)),
        on_within: SignedDuration::from_secs(300),
        off_within: SignedDuration::from_secs(120),
        ..PowerPolicy::default()
    }
}

/// Nodes `n1`, `n2`, …, of which `n1` leads.
fn world(nodes: u32, policy: PowerPolicy) -> World {
    let mut world = World::with_config(Config {
        leadership: Leadership::Elected {
            node: NodeName::new("n1"),
        },
        power: Some(policy),
        ..Config::default()
    });
    for number in 1..=nodes {
        world.add_node(&node(&format!("n{number}")));
    }
    world
}

fn orders(decisions: &Decisions) -> Vec<(String, PowerOrder)> {
    let order = |action: &Action| match action {
        Action::Power(power) => Some((power.node.name.to_string(), power.order?)),
        _ => None,
    };
    decisions.actions.iter().filter_map(order).collect()
}

/// Decides and carries out until nothing is left to do; the orders that were given, in order.
fn settle(world: &mut World) -> Vec<(String, PowerOrder)> {
    let mut given = Vec::new();
    loop {
        let decisions = world.decide();
        if decisions.actions.is_empty() {
            return given;
        }
        given.extend(orders(&decisions));
        for action in &decisions.actions {
            world.carry_out(action);
        }
    }
}

fn power(world: &World, name: &str) -> Option<NodePower> {
    world.ledger.get(&key::power(&NodeName::new(name)))
}

fn state(world: &World, name: &str) -> Option<PowerState> {
    power(world, name).map(|power| power.state)
}

fn silence(world: &mut World, name: &str) {
    world.set_alive(&NodeName::new(name), false);
}

/// Its daemon starts once more.
fn come_back(world: &mut World, builder: NodeBuilder) {
    let mut builder = builder;
    builder.0.started_at = world.now;
    world.add_node(&builder);
}

fn off(name: &str) -> (String, PowerOrder) {
    (name.to_owned(), PowerOrder::Off)
}

fn on(name: &str) -> (String, PowerOrder) {
    (name.to_owned(), PowerOrder::On)
}

/// A world whose machines are off but the one that leads, and are silent for long.
fn asleep(nodes: u32, policy: PowerPolicy) -> World {
    let mut world = world(nodes, policy);
    world.settle();
    world.advance_seconds(600);
    world.settle();
    for number in 2..=nodes {
        silence(&mut world, &format!("n{number}"));
    }
    world.advance_seconds(60);
    world
}

#[test]
fn idle_machines_are_switched_off_but_the_one_that_leads() {
    let mut world = world(3, policy());
    assert_eq!(settle(&mut world), []);
    world.advance_seconds(599);
    assert_eq!(settle(&mut world), []);
    let wake_at = world.decide().wake_at;
    assert_eq!(wake_at, Some(at_second(1600)));
    world.advance_seconds(1);
    assert_eq!(settle(&mut world), [off("n2"), off("n3")]);
    assert_eq!(state(&world, "n2"), Some(PowerState::Off));
    assert_eq!(state(&world, "n1"), None);
    // Nothing is done twice, and its silence is no loss.
    assert_eq!(settle(&mut world), []);
    silence(&mut world, "n2");
    world.advance_seconds(10_000);
    assert_eq!(world.snapshot.absent_nodes().count(), 0);
}

#[test]
fn machines_that_somebody_needs_stay_on() {
    let mut world = world(2, policy());
    let mut kept = node("n3");
    kept.0.always_on = true;
    world.add_node(&kept);
    world.add_node(&node("n4"));
    world.add_node(&node("n5"));
    world.drain("n5");
    world.put_cluster(&cluster("c").manual(1));
    world.settle();
    world.advance_seconds(600);
    // n1 is of the cluster.
    assert_eq!(settle(&mut world), [off("n2"), off("n4")]);
}

#[test]
fn some_idle_machines_stay_on_if_that_is_wanted() {
    let policy = PowerPolicy {
        keep_powered: 3,
        ..policy()
    };
    let mut world = world(5, policy);
    world.settle();
    world.advance_seconds(600);
    assert_eq!(settle(&mut world).len(), 2);
}

#[test]
fn machines_that_nobody_could_wake_stay_on() {
    let policy = PowerPolicy {
        needs_mac_address: true,
        ..policy()
    };
    let mut world = world(2, policy);
    let mut wakeable = node("n3");
    wakeable.0.mac_address = Some("aa:bb:cc:dd:ee:ff".into());
    world.add_node(&wakeable);
    world.settle();
    world.advance_seconds(600);
    assert_eq!(settle(&mut world), [off("n3")]);
}

#[test]
fn machines_are_switched_on_for_a_gang_that_fits_then() {
    let mut world = asleep(5, policy());
    world.put_cluster(&cluster("c").auto(0, 10));
    let uid = world.submit(job("gang").nodes(3));
    assert_eq!(settle(&mut world), [on("n2"), on("n3")]);
    assert_eq!(state(&world, "n2"), Some(PowerState::Starting));
    world.advance_seconds(3);
    world.settle();
    let waiting = world.status(&uid).and_then(|status| status.waiting);
    let waiting = waiting.unwrap_or_default();
    assert!(waiting.contains("2 are being switched on"), "{waiting}");
    assert!(waiting.contains("2 are switched off"), "{waiting}");
    assert!(waiting.contains("enough are expected by"), "{waiting}");
    come_back(&mut world, node("n2"));
    come_back(&mut world, node("n3"));
    assert_eq!(settle(&mut world), []);
    assert_eq!(state(&world, "n2"), None);
    let mut nodes = world.nodes_of(&uid);
    nodes.sort();
    assert_eq!(nodes, ["n1", "n2", "n3"]);
}

#[test]
fn no_machine_is_switched_on_for_a_gang_that_does_not_fit() {
    let mut world = asleep(3, policy());
    world.put_cluster(&cluster("c").auto(0, 10));
    world.submit(job("gang").nodes(4));
    assert_eq!(settle(&mut world), []);
    // Nor beyond what the cluster may have.
    world.put_cluster(&cluster("d").auto(0, 1));
    world.submit(job("one").on("d"));
    world.submit(job("two").on("d"));
    assert_eq!(settle(&mut world), []);
}

#[test]
fn jobs_that_share_a_machine_switch_on_as_many_as_they_fill() {
    let mut world = asleep(5, policy());
    world.put_cluster(&cluster("c").auto(0, 10));
    for number in 0..20 {
        world.submit(job(&format!("j{number}")).share(0, 1.0, None));
    }
    // Eight on n1, and eight and four on two others.
    assert_eq!(settle(&mut world), [on("n2"), on("n3")]);
}

#[test]
fn a_cluster_gets_its_target_from_machines_that_are_off() {
    let mut world = asleep(3, policy());
    let fixed = cluster("c").manual(4);
    world.put_cluster(&fixed);
    assert_eq!(settle(&mut world), [on("n2"), on("n3")]);
    let errors = world.cluster_status(&fixed).unwrap().errors;
    assert!(errors[0].message.contains("1 are missing"), "{errors:?}");
    come_back(&mut world, node("n2"));
    come_back(&mut world, node("n3"));
    world.settle();
    assert_eq!(world.cluster_status(&fixed).unwrap().nodes.len(), 3);
}

#[test]
fn low_priority_keeps_its_nodes_while_others_can_be_switched_on() {
    let mut world = asleep(2, policy());
    world.put_cluster(&cluster("low").low_priority().manual(1));
    world.settle();
    world.put_cluster(&cluster("c").manual(1));
    assert_eq!(settle(&mut world), [on("n2")]);
    assert_eq!(
        world.cluster_status(&cluster("low")).unwrap().leaving.len(),
        0
    );
    come_back(&mut world, node("n2"));
    world.settle();
    assert_eq!(world.cluster_status(&cluster("c")).unwrap().nodes.len(), 1);
}

#[test]
fn a_machine_that_does_not_come_back_is_told_and_tried_again_later() {
    let mut world = asleep(2, policy());
    world.put_cluster(&cluster("c").manual(2));
    assert_eq!(settle(&mut world), [on("n2")]);
    world.advance_seconds(299);
    assert_eq!(settle(&mut world), []);
    world.advance_seconds(1);
    // It was switched on 300 s ago, which is longer than the first pause.
    assert_eq!(settle(&mut world), [on("n2")]);
    let told = power(&world, "n2").unwrap();
    assert_eq!((told.state, told.failures), (PowerState::Starting, 1));
    assert!(
        told.error
            .unwrap()
            .contains("has not come back within 5 min")
    );
    for failures in 2..=5 {
        world.advance_seconds(300);
        world.settle();
        assert_eq!(power(&world, "n2").unwrap().failures, failures);
    }
    // The fifth pause is longer than it may take.
    assert_eq!(state(&world, "n2"), Some(PowerState::Off));
    world.advance_seconds(180);
    assert_eq!(settle(&mut world), [on("n2")]);
    // What comes back after all has no past.
    come_back(&mut world, node("n2"));
    world.settle();
    assert_eq!(power(&world, "n2"), None);
    assert_eq!(world.cluster_status(&cluster("c")).unwrap().nodes.len(), 2);
}

#[test]
fn another_machine_is_tried_in_place_of_one_that_fails() {
    let mut world = asleep(3, policy());
    world.put_cluster(&cluster("c").manual(2));
    assert_eq!(settle(&mut world), [on("n2")]);
    world
        .snapshot
        .fail_to_switch(&NodeName::new("n2"), "no answer from the BMC".into());
    assert_eq!(settle(&mut world), [on("n3")]);
    let told = power(&world, "n2").unwrap();
    assert_eq!(told.error.as_deref(), Some("no answer from the BMC"));
    // It waits before it is tried again.
    world.advance_seconds(20);
    assert_eq!(settle(&mut world), []);
}

#[test]
fn a_machine_that_does_not_fall_silent_is_used_again() {
    let mut world = world(2, policy());
    world.settle();
    world.advance_seconds(600);
    assert_eq!(settle(&mut world), [off("n2")]);
    assert!(
        !world
            .snapshot
            .node(&NodeName::new("n2"))
            .unwrap()
            .is_usable()
    );
    world.advance_seconds(120);
    assert_eq!(settle(&mut world), []);
    let told = power(&world, "n2").unwrap();
    assert_eq!((told.state, told.failures), (PowerState::On, 1));
    assert!(told.error.unwrap().contains("was still there"));
    assert!(
        world
            .snapshot
            .node(&NodeName::new("n2"))
            .unwrap()
            .is_usable()
    );
    world.advance_seconds(599);
    assert_eq!(settle(&mut world), []);
    world.advance_seconds(1);
    assert_eq!(settle(&mut world), [off("n2")]);
}

#[test]
fn a_machine_that_goes_off_after_all_can_be_switched_on() {
    let mut world = world(2, policy());
    world.settle();
    world.advance_seconds(600);
    assert_eq!(settle(&mut world), [off("n2")]);
    world.advance_seconds(120);
    settle(&mut world);
    assert_eq!(state(&world, "n2"), Some(PowerState::On));
    silence(&mut world, "n2");
    settle(&mut world);
    let told = power(&world, "n2").unwrap();
    // What went wrong stays to be seen.
    assert_eq!((told.state, told.failures), (PowerState::Off, 1));
    assert!(told.error.is_some());
}

#[test]
fn a_new_leader_does_again_what_the_last_one_may_have_left_undone() {
    let mut world = world(3, policy());
    world.settle();
    world.advance_seconds(600);
    assert_eq!(settle(&mut world).len(), 2);
    silence(&mut world, "n3");
    world.restart();
    // One is silent already.
    assert_eq!(settle(&mut world), [off("n2")]);
    assert_eq!(settle(&mut world), []);
    silence(&mut world, "n2");
    world.advance_seconds(60);
    world.put_cluster(&cluster("c").manual(2));
    assert_eq!(settle(&mut world), [on("n2")]);
    world.restart();
    assert_eq!(settle(&mut world), [on("n2")]);
    assert_eq!(settle(&mut world), []);
}

#[test]
fn a_machine_that_somebody_switched_on_is_there() {
    let mut world = asleep(2, policy());
    assert_eq!(state(&world, "n2"), Some(PowerState::Off));
    // Its daemon is the one that was told: it was only cut off for a while, and is told again.
    world.add_node(&node("n2"));
    assert_eq!(settle(&mut world), []);
    assert_eq!(state(&world, "n2"), Some(PowerState::Off));
    come_back(&mut world, node("n2"));
    world.settle();
    assert_eq!(power(&world, "n2"), None);
}

#[test]
fn small_jobs_do_not_keep_a_gang_from_machines_that_are_off() {
    let mut world = asleep(3, policy());
    world.put_cluster(&cluster("c").auto(0, 10));
    let small = world.submit(job("small").limit_seconds(100_000));
    world.settle();
    assert_eq!(world.nodes_of(&small), ["n1"]);
    // Too large for now: n1 is taken. With the others it fits.
    world.submit(job("gang").nodes(3).limit_seconds(100));
    let one = world.submit(job("one").limit_seconds(100_000));
    // The one behind it may have a machine that the gang needs only later.
    let given = settle(&mut world);
    assert!(given.len() <= 1, "{given:?}");
    assert_eq!(world.nodes_of(&one), Vec::<String>::new());
}

#[test]
fn a_machine_with_a_file_server_stays_on_and_is_woken_for_one() {
    let mut world = world(3, policy());
    let mut server = file_server("f", "1");
    server.properties.lote.node = Some(NodeName::new("n2"));
    world.put_file_server(&server);
    settle(&mut world);
    world.advance_seconds(700);
    assert_eq!(settle(&mut world), [off("n3")]);
    silence(&mut world, "n3");
    // Another one is to be where a machine sleeps.
    world.advance_seconds(60);
    let mut server = file_server("g", "2");
    server.properties.lote.node = Some(NodeName::new("n3"));
    world.put_file_server(&server);
    assert_eq!(settle(&mut world), [("n3".to_owned(), PowerOrder::On)]);
}
