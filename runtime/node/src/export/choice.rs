//! Which NFS server serves the exports of this node.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ServerChoice;

/// Where programs of the system are, whatever the daemon's own `PATH` says.
const SYSTEM_DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The file that says how many threads the kernel's server has.
const KERNEL_THREADS: &str = "/proc/fs/nfsd/threads";

/// What there is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) is_root: bool,
    pub(super) kernel: KernelServer,
    pub(super) exportfs: Option<PathBuf>,
    pub(super) ganesha: Option<PathBuf>,
    pub(super) rpcbind: Option<PathBuf>,
}

/// The kernel's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KernelServer {
    /// The kernel has none.
    Absent,
    /// It is there and answers nobody.
    Idle,
    /// It answers.
    Running,
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Kernel {
        exportfs: PathBuf,
    },
    Ganesha {
        ganesha: PathBuf,
        /// Without it version 3 is not served.
        rpcbind: Option<PathBuf>,
    },
}

/// Nobody can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoServer {
    #[error("the daemon does not run as root, so it can export nothing")]
    NotRoot,
    #[error(
        "this node has no NFS server; install nfs-ganesha, nfs-ganesha-vfs and rpcbind, or \
         nfs-kernel-server where the kernel has NFS (Debian's names; nothing has to be configured)"
    )]
    Nothing,
    #[error(
        "the kernel of this node has no NFS server (module nfsd); leave out --nfs-server kernel and \
         install nfs-ganesha, nfs-ganesha-vfs and rpcbind"
    )]
    KernelHasNone,
    #[error("the kernel's NFS server needs exportfs; install nfs-kernel-server")]
    NoExportfs,
    #[error(
        "the kernel's NFS server does not run; start it (systemctl enable --now nfs-server), or \
         install nfs-ganesha, nfs-ganesha-vfs and rpcbind"
    )]
    KernelIdle,
    #[error(
        "there is no ganesha.nfsd on this node; install nfs-ganesha, nfs-ganesha-vfs and rpcbind"
    )]
    NoGanesha,
}

/// The rule.
pub(super) fn choose(choice: ServerChoice, found: &Found) -> Result<Server, NoServer> {
    if !found.is_root {
        return Err(NoServer::NotRoot);
    }
    match choice {
        ServerChoice::Kernel => kernel(found),
        ServerChoice::Ganesha => ganesha(found),
        ServerChoice::Auto => match (kernel(found), ganesha(found)) {
            (Ok(kernel), _) => Ok(kernel),
            (Err(_), Ok(ganesha)) => Ok(ganesha),
            (Err(NoServer::KernelHasNone), Err(_)) => Err(NoServer::Nothing),
            (Err(reason), Err(_)) => Err(reason),
        },
    }
}

fn kernel(found: &Found) -> Result<Server, NoServer> {
    let exportfs = found.exportfs.clone();
    match (found.kernel, exportfs) {
        (KernelServer::Absent, _) => Err(NoServer::KernelHasNone),
        (_, None) => Err(NoServer::NoExportfs),
        (KernelServer::Idle, Some(_)) => Err(NoServer::KernelIdle),
        (KernelServer::Running, Some(exportfs)) => Ok(Server::Kernel { exportfs }),
    }
}

fn ganesha(found: &Found) -> Result<Server, NoServer> {
    let ganesha = found.ganesha.clone().ok_or(NoServer::NoGanesha)?;
    Ok(Server::Ganesha {
        ganesha,
        rpcbind: found.rpcbind.clone(),
    })
}

/// Looks at this machine.
pub(super) fn look() -> Found {
    Found {
        is_root: nix::unistd::geteuid().is_root(),
        kernel: kernel_server(),
        exportfs: program("exportfs"),
        ganesha: program("ganesha.nfsd"),
        rpcbind: program("rpcbind"),
    }
}

fn kernel_server() -> KernelServer {
    let threads = std::fs::read_to_string(KERNEL_THREADS).unwrap_or_default();
    if threads.trim().parse::<u32>().is_ok_and(|count| count > 0) {
        return KernelServer::Running;
    }
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if has_nfsd(&file_systems) || can_load_nfsd() {
        KernelServer::Idle
    } else {
        KernelServer::Absent
    }
}

fn has_nfsd(file_systems: &str) -> bool {
    file_systems.split_whitespace().any(|word| word == "nfsd")
}

fn can_load_nfsd() -> bool {
    let Some(modprobe) = program("modprobe") else {
        return false;
    };
    let asked = Command::new(modprobe)
        .args(["--dry-run", "--quiet", "nfsd"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// Where a program of the system is.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let own: Vec<PathBuf> = std::env::split_paths(&own).collect();
    let system = SYSTEM_DIRECTORIES.iter().map(PathBuf::from);
    let directories = own.into_iter().filter(|path| path.is_absolute());
    let mut candidates = directories.chain(system).map(|path| path.join(name));
    candidates.find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            is_root: true,
            kernel: KernelServer::Running,
            exportfs: Some("/usr/sbin/exportfs".into()),
            ganesha: Some("/usr/bin/ganesha.nfsd".into()),
            rpcbind: Some("/usr/sbin/rpcbind".into()),
        }
    }

    fn auto(found: &Found) -> Result<Server, NoServer> {
        choose(ServerChoice::Auto, found)
    }

    #[test]
    fn the_kernel_serves_where_it_can() {
        assert!(matches!(auto(&found()), Ok(Server::Kernel { .. })));
        let chosen = choose(ServerChoice::Ganesha, &found());
        assert!(matches!(chosen, Ok(Server::Ganesha { .. })));
    }

    #[test]
    fn ganesha_serves_where_the_kernel_does_not() {
        for (kernel, exportfs) in [
            (KernelServer::Absent, found().exportfs),
            (KernelServer::Idle, found().exportfs),
            (KernelServer::Running, None),
        ] {
            let here = Found {
                kernel,
                exportfs,
                ..found()
            };
            assert!(matches!(auto(&here), Ok(Server::Ganesha { .. })));
            assert!(choose(ServerChoice::Kernel, &here).is_err());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let nothing = Found {
            kernel: KernelServer::Absent,
            exportfs: None,
            ganesha: None,
            ..found()
        };
        let idle = Found {
            kernel: KernelServer::Idle,
            ganesha: None,
            ..found()
        };
        let user = Found {
            is_root: false,
            ..found()
        };
        let said = |found: &Found| auto(found).unwrap_err().to_string();
        assert!(said(&nothing).contains("install nfs-ganesha, nfs-ganesha-vfs and rpcbind"));
        assert!(said(&idle).contains("systemctl enable --now nfs-server"));
        assert!(said(&user).contains("root"));
        let absent = choose(ServerChoice::Ganesha, &nothing).unwrap_err();
        assert_eq!(absent, NoServer::NoGanesha);
    }

    #[test]
    fn file_systems_are_read_by_word() {
        assert!(has_nfsd("nodev\tsysfs\nnodev\tnfsd\n\text4\n"));
        assert!(!has_nfsd("nodev\tnfs\n"));
    }
}
