//! The NFS server of the kernel, told by `exportfs`.
//!
//! What is exported stands in a file of its own in `/etc/exports.d`, so that it is there again
//! after a reboot and when somebody else has all files read. A change is put in force export by
//! export: reading all files again would drop what the operator exported by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ganesha_config::ServedExport;
use super::tool::{self, ToolError};
use crate::directories::{PathError, cannot};

/// Where `exportfs` looks for files besides `/etc/exports`.
const EXPORTS_FILE: &str = "/etc/exports.d/lote.exports";

/// What the server says of itself.
const NFSD: &str = "/proc/fs/nfsd";

/// How long `exportfs` may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Ends the name of this file system's UUID, which is the same for as long as the export is: file
/// handles have it.
const FSID_PREFIX: &str = "4c6f7465-0000-4000-8000-00000000";

/// The kernel does not serve.
#[derive(Debug, thiserror::Error)]
pub(super) enum KernelError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the kernel's NFS server does not take the export")]
    Exportfs(#[source] ToolError),
}

/// What the running server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) nfs_port: u16,
    /// Where its MOUNT service is expected: the daemon that has it is the operator's.
    pub(super) mount_port: u16,
    /// Newest first.
    pub(super) versions: Vec<String>,
}

/// One client of one export, as `exportfs` has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    client: IpAddr,
    path: PathBuf,
    options: String,
}

/// Brings about that these are served, and nothing else of ours.
pub(super) async fn serve(exportfs: &Path, exports: &[ServedExport]) -> Result<(), KernelError> {
    let file = Path::new(EXPORTS_FILE);
    let old = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(io_error("read", file))?,
    };
    let new = render(exports);
    // The file last: a daemon that is killed in between does all of it again.
    for arguments in commands(&old, &new) {
        match tool::run(exportfs, &arguments, LIMIT).await {
            Err(ToolError::Failed { said, .. }) if said.contains("Could not find") => {}
            done => done.map_err(KernelError::Exportfs)?,
        }
    }
    if old == new {
        Ok(())
    } else {
        write(file, &new)
    }
}

/// Nothing of ours is exported any more.
pub(super) async fn serve_nothing(exportfs: &Path) -> Result<(), KernelError> {
    if Path::new(EXPORTS_FILE).exists() {
        serve(exportfs, &[]).await?;
        std::fs::remove_file(EXPORTS_FILE).map_err(io_error("remove", Path::new(EXPORTS_FILE)))?;
    }
    Ok(())
}

/// What the server that runs offers.
pub(super) fn offer(mount_port: u16) -> Result<Offer, KernelError> {
    let read = |name: &str| {
        let path = Path::new(NFSD).join(name);
        std::fs::read_to_string(&path).map_err(io_error("read", &path))
    };
    Ok(Offer {
        nfs_port: port(&read("portlist")?),
        mount_port,
        versions: versions(&read("versions")?),
    })
}

fn write(file: &Path, text: &str) -> Result<(), KernelError> {
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent).map_err(io_error("make", parent))?;
    }
    lote_vault::file::replace(file, text.as_bytes(), 0o644).map_err(io_error("write", file))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KernelError {
    cannot(action, path)
}

/// The file: a line for each export and client.
fn render(exports: &[ServedExport]) -> String {
    let mut text = "# Written by lote; changes are overwritten.\n".to_owned();
    for export in exports {
        let path = escaped(&export.path.to_string_lossy());
        for client in &export.clients {
            let options = options(export.number);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{path} {client}({options})");
        }
    }
    text
}

fn options(number: u16) -> String {
    format!("rw,sync,no_subtree_check,root_squash,secure,fsid={FSID_PREFIX}{number:04x}")
}

/// Spaces and the like as `\040`.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_whitespace() {
            let _ = write!(text, "\\{:03o}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

fn unescaped(text: &str) -> String {
    text.replace("\\040", " ")
}

/// What a file of ours says.
fn grants(text: &str) -> BTreeSet<Grant> {
    text.lines().filter_map(grant).collect()
}

fn grant(line: &str) -> Option<Grant> {
    let (path, rest) = line.split_once(' ')?;
    let (client, options) = rest.strip_suffix(')')?.split_once('(')?;
    Some(Grant {
        client: client.parse().ok()?,
        path: unescaped(path).into(),
        options: options.to_owned(),
    })
}

/// The arguments of each `exportfs` that is needed: what is no more goes first.
fn commands(old: &str, new: &str) -> Vec<Vec<String>> {
    let (old, new) = (grants(old), grants(new));
    let place = |grant: &Grant| match grant.client {
        IpAddr::V4(ip) => format!("{ip}:{}", grant.path.display()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", grant.path.display()),
    };
    let is_left = |gone: &Grant| {
        new.iter()
            .any(|grant| (grant.client, &grant.path) == (gone.client, &gone.path))
    };
    let gone = old.iter().filter(|grant| !is_left(grant));
    let gone = gone.map(|grant| vec!["-u".to_owned(), place(grant)]);
    let granted = new.iter().map(|grant| {
        let options = grant.options.clone();
        vec!["-o".to_owned(), options, place(grant)]
    });
    gone.chain(granted).collect()
}

/// The TCP port in `portlist`, such as `tcp 2049`.
fn port(portlist: &str) -> u16 {
    let mut ports = portlist
        .lines()
        .filter_map(|line| line.strip_prefix("tcp ")?.trim().parse().ok());
    ports.next().unwrap_or(super::NFS_PORT_DEFAULT)
}

/// The versions in `versions`, such as `+3 +4 -4.0 +4.1 +4.2`.
fn versions(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let offered = ["4.2", "4.1", "4.0", "3"];
    let is_on = |version: &&str| {
        let word = format!("+{version}");
        words.contains(&word.as_str())
    };
    offered
        .into_iter()
        .filter(is_on)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(number: u16, path: &str, clients: &[&str]) -> ServedExport {
        ServedExport {
            number,
            path: path.into(),
            clients: clients.iter().map(|ip| ip.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn the_file_is_as_expected() {
        let exports = [
            export(1, "/var/lib/lote/exports/u1", &["10.0.0.7", "fd00::8"]),
            export(513, "/srv/my daten", &["10.0.0.7"]),
        ];
        insta::assert_snapshot!(render(&exports), @r"
        # Written by lote; changes are overwritten.
        /var/lib/lote/exports/u1 10.0.0.7(rw,sync,no_subtree_check,root_squash,secure,fsid=4c6f7465-0000-4000-8000-000000000001)
        /var/lib/lote/exports/u1 fd00::8(rw,sync,no_subtree_check,root_squash,secure,fsid=4c6f7465-0000-4000-8000-000000000001)
        /srv/my\040daten 10.0.0.7(rw,sync,no_subtree_check,root_squash,secure,fsid=4c6f7465-0000-4000-8000-000000000201)
        ");
    }

    #[test]
    fn only_what_is_no_more_is_taken_back() {
        let old = render(&[
            export(1, "/srv/a", &["10.0.0.7", "10.0.0.8"]),
            export(2, "/srv/my b", &["fd00::8"]),
        ]);
        let new = render(&[export(1, "/srv/a", &["10.0.0.8", "10.0.0.9"])]);
        let lines: Vec<String> = commands(&old, &new)
            .iter()
            .map(|arguments| format!("exportfs {}", arguments.join(" ")))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        exportfs -u 10.0.0.7:/srv/a
        exportfs -u [fd00::8]:/srv/my b
        exportfs -o rw,sync,no_subtree_check,root_squash,secure,fsid=4c6f7465-0000-4000-8000-000000000001 10.0.0.8:/srv/a
        exportfs -o rw,sync,no_subtree_check,root_squash,secure,fsid=4c6f7465-0000-4000-8000-000000000001 10.0.0.9:/srv/a
        ");
        assert!(commands("", &render(&[])).is_empty());
    }

    #[test]
    fn the_server_says_what_it_offers() {
        assert_eq!(port("udp 2049\ntcp 12049\ntcp 2049\n"), 12_049);
        assert_eq!(port(""), 2049);
        assert_eq!(versions("+3 +4 -4.0 +4.1 +4.2\n"), ["4.2", "4.1", "3"]);
        assert_eq!(versions("-2 -3 +4 +4.0\n"), ["4.0"]);
    }
}
