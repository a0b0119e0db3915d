//! The network interfaces of this machine.

use std::net::{IpAddr, Ipv4Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

/// All addresses of all interfaces; none if the system does not say.
fn interfaces() -> Vec<InterfaceAddress> {
    match getifaddrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            tracing::warn!(%error, "the system does not tell its network interfaces");
            Vec::new()
        }
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|address| IpAddr::V6(address.ip()))
    })
}

/// The hardware address of the interface that has this address, `aa:bb:cc:dd:ee:ff`; none if no
/// interface has it, or one without such an address.
pub fn mac_address(of: IpAddr) -> Option<String> {
    let interfaces = interfaces();
    let has_it = |it: &&InterfaceAddress| it.address.as_ref().and_then(ip) == Some(of);
    let name = &interfaces.iter().find(has_it)?.interface_name;
    let links = interfaces.iter().filter(|it| it.interface_name == *name);
    let mut addresses = links.filter_map(|it| it.address.as_ref()?.as_link_addr()?.addr());
    let mac = addresses.find(|mac| *mac != [0; 6])?;
    let bytes = mac.map(|byte| format!("{byte:02x}"));
    Some(bytes.join(":"))
}

/// Whether this machine has an address.
pub fn has_address(address: IpAddr) -> bool {
    address.is_loopback()
        || interfaces()
            .iter()
            .any(|it| it.address.as_ref().and_then(ip) == Some(address))
}

/// The broadcast addresses of the networks that this machine is in.
pub(super) fn broadcast_addresses() -> Vec<Ipv4Addr> {
    let interfaces = interfaces();
    let is_up = |it: &&InterfaceAddress| {
        it.flags
            .contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_BROADCAST)
    };
    let broadcasts = interfaces
        .iter()
        .filter(is_up)
        .filter_map(|it| it.broadcast.as_ref());
    let mut found: Vec<Ipv4Addr> = broadcasts
        .filter_map(|it| it.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here_and_wakes_nobody() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(has_address(loopback));
        assert_eq!(mac_address(loopback), None);
        // An address for documentation, which no machine has.
        let nowhere = "192.0.2.7".parse().unwrap();
        assert!(!has_address(nowhere));
        assert_eq!(mac_address(nowhere), None);
    }

    #[test]
    fn the_interface_with_an_address_has_a_hardware_address() {
        let outward = interfaces().into_iter().find_map(|it| {
            let is_outward = it
                .flags
                .contains(InterfaceFlags::IFF_BROADCAST | InterfaceFlags::IFF_UP);
            it.address.as_ref().and_then(ip).filter(|_| is_outward)
        });
        let Some(outward) = outward else {
            // A machine without a network.
            return;
        };
        let mac = mac_address(outward).expect("a hardware address");
        assert!(crate::power::wake::parse(&mac).is_ok(), "{mac}");
    }
}
