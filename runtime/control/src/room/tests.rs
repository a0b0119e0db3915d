use lote_model::allocation::Grant;

use super::*;
use crate::testing::{job, node};

fn request(job: &crate::testing::JobBuilder) -> Request {
    Request::of(&job.0.properties, &job.0.framework)
}

fn cut_from(
    node: &crate::testing::NodeBuilder,
    held: &[Grant],
    job: &crate::testing::JobBuilder,
) -> Option<Grant> {
    cut(&request(job), &node.0, held.iter(), 16)
}

#[test]
fn a_whole_node_is_all_of_it() {
    let grant = cut_from(&node("n").gpus(2).cores(4), &[], &job("j")).unwrap();
    assert!(grant.exclusive);
    assert_eq!(grant.gpus.len(), 2);
    assert_eq!(grant.cpu_millis, 4000);
    assert_eq!(grant.memory_bytes, Some(64 << 30));
    assert_eq!(grant.ports, (20_000..20_016).collect::<Vec<u16>>());
}

#[test]
fn shares_get_their_own_gpus_and_ports() {
    let node = node("n").gpus(4);
    let first = cut_from(&node, &[], &job("a").share(1, 1.0, None)).unwrap();
    let second = cut_from(
        &node,
        std::slice::from_ref(&first),
        &job("b").share(2, 0.5, Some("1g")),
    )
    .unwrap();
    assert_eq!(first.gpus[0].minor, 0);
    assert_eq!(
        second.gpus.iter().map(|gpu| gpu.minor).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        (second.cpu_millis, second.memory_bytes),
        (500, Some(1 << 30))
    );
    assert_eq!(second.ports[0], 20_016);
    // The lowest gap is used again.
    let third = cut_from(
        &node,
        std::slice::from_ref(&second),
        &job("c").share(1, 1.0, None),
    )
    .unwrap();
    assert_eq!((third.ports[0], third.gpus[0].minor), (20_000, 0));
}

#[test]
fn nothing_goes_beside_a_whole_node_and_no_whole_node_beside_anything() {
    let node = node("n");
    let whole = cut_from(&node, &[], &job("a")).unwrap();
    assert_eq!(
        cut_from(&node, &[whole], &job("b").share(0, 0.1, None)),
        None
    );
    let part = cut_from(&node, &[], &job("a").share(0, 0.1, None)).unwrap();
    assert_eq!(cut_from(&node, &[part], &job("b")), None);
}

#[test]
fn what_is_not_there_is_not_granted() {
    let node = node("n").gpus(1).cores(2).ports(20);
    assert_eq!(cut_from(&node, &[], &job("j").share(2, 1.0, None)), None);
    assert_eq!(cut_from(&node, &[], &job("j").share(0, 2.001, None)), None);
    assert_eq!(
        cut_from(&node, &[], &job("j").share(0, 1.0, Some("65g"))),
        None
    );
    let first = cut_from(&node, &[], &job("j").share(0, 1.0, None)).unwrap();
    // Sixteen of twenty ports are gone.
    assert_eq!(
        cut_from(&node, &[first], &job("j").share(0, 1.0, None)),
        None
    );
    assert!(!request(&job("j")).is_possible_on(&node.ports(15).0, 16));
}
