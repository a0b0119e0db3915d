//! Whether and how this node serves files, for its record: the leader chooses nodes by it, and
//! plans what the nodes of a gang share.

use std::net::SocketAddr;
use std::path::Path;

use lote_model::export::{NfsAbility, NfsServer, NfsService, SharePlace};
use lote_model::problem::explain;
use tokio::net::TcpSocket;

use super::choice::{self, Server};
use super::manager::bind_address;
use super::{ExportConfig, SERVER, directory, ganesha, kernel, shares};

/// File systems whose files no server can hand out by handles, or that are another machine's.
const UNFIT: [(u64, &str); 7] = [
    (0x794c_7630, "overlay"),
    (0x6573_5546, "FUSE"),
    (0x6969, "NFS"),
    (0x0102_1997, "9p"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x00c3_6400, "Ceph"),
];

/// What this node is asked to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) config: &'a ExportConfig,
    pub(crate) address: &'a str,
    pub(crate) data_directory: &'a Path,
    /// Whether jobs run as users of their own, with mounts of their own.
    pub(crate) is_isolated: bool,
}

/// Looks at the machine. Blocks.
pub(crate) fn ability(asked: Asked<'_>) -> NfsAbility {
    match service(asked) {
        Ok(service) => NfsAbility::Serves(service),
        Err(lack) => NfsAbility::Lacks(lack),
    }
}

fn service(asked: Asked<'_>) -> Result<NfsService, String> {
    let config = asked.config;
    let found = choice::choose(config.server, &choice::look()).map_err(|lack| lack.to_string())?;
    let shares = share_place(asked);
    match found {
        Server::Kernel { .. } => {
            let offer = kernel::offer(config.mount_port).map_err(|error| explain(&error))?;
            let has_version_3 = offer.versions.iter().any(|version| version == "3");
            Ok(NfsService {
                server: NfsServer::Kernel,
                nfs_port: offer.nfs_port,
                mount_port: has_version_3.then_some(offer.mount_port),
                versions: offer.versions,
                shares,
            })
        }
        Server::Ganesha { rpcbind, .. } => {
            let mount_port = rpcbind.map(|_| config.mount_port);
            let bind = bind_address(asked.address);
            let is_ours = ganesha::is_running(&asked.data_directory.join(SERVER));
            for port in std::iter::once(config.nfs_port).chain(mount_port) {
                if !is_ours && is_taken(SocketAddr::new(bind, port)) {
                    return Err(format!(
                        "another program has port {port}, which its NFS server needs: switch it off \
                         (systemctl disable --now nfs-ganesha), or give another port with --nfs-port \
                         and --nfs-mount-port"
                    ));
                }
            }
            Ok(NfsService {
                server: NfsServer::Ganesha,
                nfs_port: config.nfs_port,
                versions: ganesha::versions(mount_port.is_some()),
                mount_port,
                shares,
            })
        }
    }
}

/// Whether somebody listens there. The port is not taken from anybody by that, not even for a moment.
fn is_taken(address: SocketAddr) -> bool {
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    bound().is_err_and(|error: std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse)
}

fn share_place(asked: Asked<'_>) -> SharePlace {
    let place = shares::place(asked.data_directory);
    if !asked.is_isolated {
        let why = "its daemon runs with --isolation none, so jobs have no mounts of their own";
        return SharePlace::Lacks(why.into());
    }
    let place = match directory::checked_name(place) {
        Ok(place) => place,
        Err(error) => return SharePlace::Lacks(explain(&error)),
    };
    match unfit(asked.data_directory) {
        Some(kind) => SharePlace::Lacks(format!(
            "its data directory lies on {kind}, which an NFS server cannot serve"
        )),
        None => SharePlace::Below(place.to_string_lossy().into_owned()),
    }
}

/// The kind of its file system, if that cannot be served.
fn unfit(directory: &Path) -> Option<&'static str> {
    let found = rustix::fs::statfs(directory).ok()?;
    let kind = u64::try_from(found.f_type).ok()? & 0xffff_ffff;
    let mut unfit = UNFIT.iter().filter(|(known, _)| *known == kind);
    unfit.next().map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(config: &ExportConfig, data_directory: &Path, is_isolated: bool) -> SharePlace {
        share_place(Asked {
            config,
            address: "127.0.0.1",
            data_directory,
            is_isolated,
        })
    }

    #[test]
    fn shared_directories_have_their_place_or_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let data = std::fs::canonicalize(folder.path()).unwrap();
        let config = ExportConfig::default();
        let place = data.join("work/shared").display().to_string();
        assert_eq!(asked(&config, &data, true), SharePlace::Below(place));
        assert!(matches!(asked(&config, &data, false), SharePlace::Lacks(_)));
        let run = asked(&config, Path::new("/run"), true);
        assert!(matches!(run, SharePlace::Lacks(_)), "{run:?}");
    }

    #[tokio::test]
    async fn a_port_is_taken_while_somebody_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(is_taken(address));
        drop(listener);
        assert!(!is_taken(address));
    }
}
