//! What this machine is called, and where others reach it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use lote_cli::node_args::{NodeSettings, PEER_PORT_DEFAULT};
use lote_model::id::NodeName;
use lote_model::membership::Membership;
use lote_model::problem::Problem;

/// The port of an etcd member whose URL names none.
const ETCD_PORT: u16 = 2379;

/// Others would not find this machine.
#[derive(Debug, thiserror::Error)]
pub(super) enum MachineError {
    #[error("this machine cannot be a node of many")]
    Name(#[from] Problem),
    #[error(
        "'{0}' is no address by which other machines reach this one: give the right one with \
         --address"
    )]
    Unspecified(String),
    #[error("no address is known by which other machines reach this one: give it with --address")]
    Unknown,
}

/// The name of a machine that shares its store with others.
pub(super) fn shared_name(
    settings: &NodeSettings,
    membership: Option<&Membership>,
) -> Result<NodeName, Problem> {
    match membership.filter(|_| settings.name.is_none()) {
        Some(membership) => Ok(membership.name.clone()),
        None => NodeName::parse(&own_name(settings)),
    }
}

/// The name of a machine that is alone.
pub(super) fn name(settings: &NodeSettings) -> NodeName {
    NodeName::new(own_name(settings))
}

/// The name that was given, or else the host's.
fn own_name(settings: &NodeSettings) -> String {
    let host_name = || {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
    };
    let name = settings.name.clone().or_else(host_name);
    node_name(name.as_deref().unwrap_or("node"))
}

/// Names of nodes are parts of keys and file names: lower case, nothing strange.
fn node_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    text.chars()
        .map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

/// The address of a machine that is alone.
pub(super) fn address(settings: &NodeSettings) -> String {
    let given = settings.address.clone();
    given.unwrap_or_else(|| settings.listen.ip().to_string())
}

/// The address of a machine that shares its store with others: what was given, or
/// where it listens, or else the one that leads to the store.
pub(super) fn shared_address(
    settings: &NodeSettings,
    endpoints: &[String],
) -> Result<String, MachineError> {
    if let Some(given) = &settings.address {
        let bare = given.trim_start_matches('[').trim_end_matches(']');
        return match bare.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() => Err(MachineError::Unspecified(given.clone())),
            Ok(ip) => Ok(ip.to_string()),
            Err(_) => Ok(given.clone()),
        };
    }
    let listen = settings.listen.ip();
    if !listen.is_unspecified() && !listen.is_loopback() {
        return Ok(listen.to_string());
    }
    let mut leading = endpoints.iter().filter_map(|endpoint| towards(endpoint));
    let found = leading.next().ok_or(MachineError::Unknown)?;
    if found.is_loopback() {
        tracing::warn!(
            "etcd is on this machine, so its own address is not known: only daemons of this \
             machine can reach this one; give --address"
        );
    }
    Ok(found.to_string())
}

/// Where a URL leads.
fn targets(url: &str) -> Vec<SocketAddr> {
    let Some((_, authority)) = url.split_once("://") else {
        return Vec::new();
    };
    let authority = authority.trim_end_matches('/');
    let port = authority.rsplit(']').next();
    let target = if port.is_some_and(|port| port.contains(':')) {
        authority.to_owned()
    } else {
        format!("{authority}:{ETCD_PORT}")
    };
    target
        .to_socket_addrs()
        .map_or_else(|_| Vec::new(), Iterator::collect)
}

/// Whether a URL leads to this machine.
pub(super) fn is_here(url: &str) -> bool {
    let mut targets = targets(url).into_iter();
    targets.any(|target| lote_node::power::has_address(target.ip()))
}

/// The hardware address of the interface with one of this machine's addresses, if it is known.
pub(super) fn mac_address(address: &str) -> Option<String> {
    let targets = (address, 0).to_socket_addrs().ok()?;
    let mut found = targets.filter_map(|target| lote_node::power::mac_address(target.ip()));
    found.next()
}

/// The address that this machine has on its way to a URL. Nothing is sent.
fn towards(url: &str) -> Option<IpAddr> {
    let target = targets(url).into_iter().next()?;
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Where other daemons are listened for.
pub(super) fn peer_listen(settings: &NodeSettings, address: &str) -> SocketAddr {
    settings.peer_listen.unwrap_or_else(|| {
        // A name may stand for loopback in this machine's own table of hosts.
        let ip = address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        SocketAddr::new(ip, PEER_PORT_DEFAULT)
    })
}

/// An address with a port, as a URL has them.
pub(super) fn host_and_port(address: &str, port: u16) -> String {
    match address.parse::<Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]:{port}"),
        Err(_) => format!("{address}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lote_cli::node_args::NodeArgs;
    use lote_model::membership::EtcdAccess;

    use super::*;

    fn settings(listen: &str, address: Option<&str>) -> NodeSettings {
        let args = NodeArgs {
            listen: Some(listen.to_owned()),
            address: address.map(str::to_owned),
            ..NodeArgs::default()
        };
        args.resolve(Some("/d".into())).unwrap()
    }

    #[test]
    fn node_names_fit_into_keys() {
        assert_eq!(node_name("GPU_box-1.lab"), "gpu_box-1.lab");
        assert_eq!(node_name("a/b ü"), "a-b--");
    }

    #[test]
    fn a_name_that_was_given_counts_before_the_one_that_joined() {
        let membership = Membership {
            cluster_id: "c".into(),
            name: NodeName::new("joined"),
            etcd: EtcdAccess {
                endpoints: Vec::new(),
                authorities: None,
                certificate: None,
                private_key: None,
                bring_certificate: false,
                prefix: None,
            },
            joined_at: Timestamp::UNIX_EPOCH,
        };
        let mut settings = settings("127.0.0.1:1", None);
        let named = |settings: &NodeSettings| shared_name(settings, Some(&membership));
        assert_eq!(named(&settings).unwrap().as_str(), "joined");
        settings.name = Some("Given".into());
        assert_eq!(named(&settings).unwrap().as_str(), "given");
        settings.name = Some("10.0.0.1".into());
        assert!(shared_name(&settings, None).is_err());
    }

    #[test]
    fn others_are_told_an_address_that_leads_here() {
        let endpoints = ["http://127.0.0.1:2379".to_owned()];
        let of = |listen, address| shared_address(&settings(listen, address), &endpoints);
        assert_eq!(of("10.0.0.7:1", None).unwrap(), "10.0.0.7");
        assert_eq!(of("0.0.0.0:1", Some("gpu1.lab")).unwrap(), "gpu1.lab");
        assert_eq!(of("127.0.0.1:1", Some("[fd00::1]")).unwrap(), "fd00::1");
        // The way to etcd, here over loopback.
        assert_eq!(of("0.0.0.0:1", None).unwrap(), "127.0.0.1");
        for unspecified in ["0.0.0.0", "::", "[::]"] {
            let error = of("10.0.0.7:1", Some(unspecified)).unwrap_err();
            assert!(error.to_string().contains("--address"), "{error}");
        }
        let nowhere = shared_address(&settings("0.0.0.0:1", None), &["none".to_owned()]);
        assert!(matches!(nowhere, Err(MachineError::Unknown)));
    }

    #[test]
    fn a_member_of_etcd_on_this_machine_is_seen() {
        assert!(is_here("http://127.0.0.1:2379"));
        assert!(is_here("https://[::1]"));
        // Addresses for documentation, which no machine has.
        assert!(!is_here("https://192.0.2.7:2379"));
        assert!(!is_here("nothing"));
    }

    #[test]
    fn peers_are_listened_for_at_the_nodes_address() {
        let of = |address| peer_listen(&settings("127.0.0.1:1", None), address).to_string();
        assert_eq!(of("10.0.0.7"), "10.0.0.7:8472");
        assert_eq!(of("fd00::1"), "[fd00::1]:8472");
        assert_eq!(of("gpu1.lab"), "0.0.0.0:8472");
        assert_eq!(host_and_port("fd00::1", 5), "[fd00::1]:5");
        assert_eq!(host_and_port("gpu1.lab", 5), "gpu1.lab:5");
    }
}
