//! NFS-Ganesha's configuration file. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// In Ganesha's root: a mount for each export, named by its number.
pub(super) const EXPORTS: &str = "/exports";

/// In Ganesha's root: its own files.
pub(super) const STATE: &str = "/state";

/// What holds for the whole server; a change of it needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Core {
    /// Where it listens.
    pub(super) bind: IpAddr,
    pub(super) nfs_port: u16,
    /// None without version 3.
    pub(super) mount_port: Option<u16>,
}

/// One export; all of it can change while it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServedExport {
    pub(super) number: u16,
    /// Checked by [`checked_name`](super::directory::checked_name).
    pub(super) path: PathBuf,
    /// Who may mount it.
    pub(super) clients: Vec<IpAddr>,
}

/// The part of the file that holds for the whole server. Files that nobody uses are closed within
/// seconds, because what others remove of them takes room until then.
pub(super) fn core(core: &Core) -> String {
    let protocols = protocols(core);
    let mount_port = core
        .mount_port
        .map_or_else(String::new, |port| format!("    MNT_Port = {port};\n"));
    format!(
        "# Written by lote; changes are overwritten.\n\
         NFS_CORE_PARAM {{\n    \
             Protocols = {protocols};\n    \
             Bind_addr = {bind};\n    \
             NFS_Port = {nfs_port};\n\
         {mount_port}    \
             Enable_NLM = false;\n    \
             Enable_RQUOTA = false;\n    \
             Enable_UDP = false;\n    \
             mount_path_pseudo = true;\n\
         }}\n\
         NFSV4 {{\n    \
             Graceless = true;\n    \
             RecoveryBackend = fs;\n    \
             RecoveryRoot = \"{STATE}/recovery\";\n    \
             Minor_Versions = 0, 1, 2;\n    \
             Only_Numeric_Owners = true;\n\
         }}\n\
         NFS_KRB5 {{\n    \
             Active_krb5 = false;\n\
         }}\n\
         MDCACHE {{\n    \
             FD_LWMark_Percent = 0;\n    \
             LRU_Run_Interval = 10;\n\
         }}\n\
         LOG {{\n    \
             COMPONENTS {{ TIRPC = CRIT; DBUS = FATAL; }}\n\
         }}\n",
        bind = core.bind,
        nfs_port = core.nfs_port,
    )
}

fn protocols(core: &Core) -> &'static str {
    match core.mount_port {
        Some(_) => "3, 4",
        None => "4",
    }
}

/// The whole file.
pub(super) fn render(server: &Core, exports: &[ServedExport]) -> String {
    let mut text = core(server);
    for export in exports {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "EXPORT {{\n    \
                 Export_Id = {number};\n    \
                 Path = \"{place}\";\n    \
                 Pseudo = \"{path}\";\n    \
                 Protocols = {protocols};\n    \
                 Transports = TCP;\n    \
                 SecType = sys;\n    \
                 Access_Type = NONE;\n    \
                 Squash = Root_Squash;\n    \
                 Attr_Expiration_Time = 0;\n    \
                 Anonymous_Uid = 65534;\n    \
                 Anonymous_Gid = 65534;\n    \
                 PrivilegedPort = true;\n    \
                 FSAL {{ Name = VFS; }}\n\
             {clients}\
             }}\n",
            number = export.number,
            place = place(export.number).display(),
            path = export.path.display(),
            protocols = protocols(server),
            clients = clients(&export.clients),
        );
    }
    text
}

/// Where Ganesha finds the files of an export, in the root that [`helper`](super::helper) makes.
fn place(number: u16) -> PathBuf {
    Path::new(EXPORTS).join(number.to_string())
}

/// Nobody else has access at all.
fn clients(clients: &[IpAddr]) -> String {
    if clients.is_empty() {
        return String::new();
    }
    let list: Vec<String> = clients.iter().map(IpAddr::to_string).collect();
    format!(
        "    CLIENT {{ Clients = {}; Access_Type = RW; Squash = Root_Squash; }}\n",
        list.join(", ")
    )
}

/// Whether a file was written for a server like this, so that it can be read again without a
/// restart.
pub(super) fn is_for(text: &str, server: &Core) -> bool {
    text.starts_with(&core(server))
}

/// The directories that a file exports.
pub(super) fn exported(text: &str) -> impl Iterator<Item = &Path> {
    let paths = text.lines().filter_map(|line| {
        line.strip_prefix("    Pseudo = \"")
            .and_then(|rest| rest.strip_suffix("\";"))
    });
    paths.map(Path::new)
}

/// Whether a file has an export of this directory.
pub(super) fn has_export(text: &str, path: &Path) -> bool {
    exported(text).any(|known| known == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(mount_port: Option<u16>) -> Core {
        Core {
            bind: "10.0.0.7".parse().unwrap(),
            nfs_port: 2049,
            mount_port,
        }
    }

    fn exports() -> Vec<ServedExport> {
        let address = |text: &str| text.parse().unwrap();
        vec![
            ServedExport {
                number: 1,
                path: "/var/lib/lote/exports/u1".into(),
                clients: vec![address("10.0.0.7"), address("fd00::8")],
            },
            ServedExport {
                number: 513,
                path: "/srv/my daten".into(),
                clients: Vec::new(),
            },
        ]
    }

    #[test]
    fn the_file_is_as_expected() {
        insta::assert_snapshot!(render(&server(Some(20_048)), &exports()));
    }

    #[test]
    fn without_rpcbind_only_version_4_is_served() {
        let text = render(&server(None), &exports());
        assert!(!text.contains("MNT_Port") && !text.contains("3, 4"));
        assert!(text.contains("Protocols = 4;"));
    }

    #[test]
    fn what_needs_a_restart_is_told_from_what_does_not() {
        let old = render(&server(None), &exports());
        assert!(is_for(&old, &server(None)));
        assert!(is_for(&render(&server(None), &[]), &server(None)));
        assert!(!is_for(&old, &server(Some(20_048))));
        assert!(has_export(&old, Path::new("/srv/my daten")));
        assert!(!has_export(&old, Path::new("/srv/my")));
    }
}
