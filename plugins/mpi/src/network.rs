//! The network between a job's nodes.
//!
//! Open MPI takes every interface for one by which its ranks can reach each other. The
//! bridge of a container runtime has the same address on every machine, and a job whose
//! ranks try it hangs (seen with Open MPI 4.1). So it has to be told one network.

use std::net::Ipv4Addr;

/// The bridge that Docker makes on every machine, unless it is told otherwise.
const DOCKER_BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// Networks larger than this contain about everything a machine is connected to.
const SHORTEST_PREFIX: u32 = 8;

/// The smallest network that has all these addresses in it, as `10.0.0.4/31`. Every node
/// has an interface in it, whatever that is called there, and hardly any other.
///
/// None where that is no answer: for addresses of IP version 6, which Open MPI takes in no
/// such list, and for addresses so far apart that Docker's bridge might be between them.
pub fn common<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let addresses: Vec<Ipv4Addr> = addresses
        .into_iter()
        .map(|address| address.parse().ok())
        .collect::<Option<_>>()?;
    let first = *addresses.first()?;
    let prefix = addresses
        .iter()
        .map(|&other| shared_bits(first, other))
        .min()?;
    let holds_the_bridge = shared_bits(first, DOCKER_BRIDGE) >= prefix;
    (prefix >= SHORTEST_PREFIX && !holds_the_bridge).then(|| format!("{first}/{prefix}"))
}

/// How many bits at their beginning two addresses have in common.
fn shared_bits(one: Ipv4Addr, other: Ipv4Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_smallest_that_holds_all_nodes() {
        assert_eq!(common(["10.0.0.4", "10.0.0.5"]).unwrap(), "10.0.0.4/31");
        assert_eq!(
            common(["10.0.0.4", "10.0.0.5", "10.0.0.130"]).unwrap(),
            "10.0.0.4/24"
        );
        assert_eq!(common(["10.0.0.4", "10.7.0.4"]).unwrap(), "10.0.0.4/13");
        assert_eq!(
            common(["172.17.0.2", "172.17.0.3"]).unwrap(),
            "172.17.0.2/31"
        );
        assert_eq!(common(["192.168.1.9"]).unwrap(), "192.168.1.9/32");
    }

    #[test]
    fn there_is_none_where_it_would_not_help() {
        assert_eq!(common([]), None);
        assert_eq!(common(["10.0.0.4", "192.168.0.4"]), None);
        assert_eq!(
            common(["172.16.0.4", "172.31.0.4"]),
            None,
            "holds the bridge"
        );
        assert_eq!(common(["10.0.0.4", "fd00::4"]), None);
        assert_eq!(common(["10.0.0.4", "node-b"]), None);
    }
}
