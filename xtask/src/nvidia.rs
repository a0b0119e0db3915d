//! NVIDIA's own `libnvidia-ml.so.1`, from Debian's package, for a machine without a GPU.
//!
//! It is not installed: the package is in the component `non-free`, which this machine's package
//! sources need not have, and nothing but one test wants it. So it is fetched with a configuration
//! of its own and unpacked below the target directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::Error;
use crate::workspace::Workspace;

/// The package.
const PACKAGE: &str = "libnvidia-ml1";

/// What signs Debian's packages.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where Debian says which release it is.
const RELEASE: &str = "/etc/os-release";

/// Fetches the library, once, and answers where it is.
pub(crate) fn library(workspace: &Workspace) -> Result<PathBuf, Error> {
    let folder = workspace.target.join("xtask/nvidia-ml");
    let unpacked = folder.join("unpacked");
    if let Some(found) = find(&unpacked) {
        return Ok(found);
    }
    println!("fetching {PACKAGE} from Debian's non-free component");
    for name in ["lists/partial", "cache/archives/partial", "package"] {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
    }
    let release =
        std::fs::read_to_string(RELEASE).map_err(Error::file("read", Path::new(RELEASE)))?;
    let sources = folder.join("non-free.sources");
    std::fs::write(&sources, source(code_name(&release)?))
        .map_err(Error::file("write", &sources))?;
    command::capture(apt(&folder, &sources).arg("update"))?;
    let package = folder.join("package");
    let mut download = apt(&folder, &sources);
    // The folder is root's, and apt would say that it cannot download as somebody else.
    download.args(["-o", "APT::Sandbox::User=root", "download", PACKAGE]);
    command::capture(download.current_dir(&package))?;
    let mut unpack = Command::new("dpkg");
    unpack.arg("--extract").arg(only_file(&package)?);
    command::run(unpack.arg(&unpacked))?;
    find(&unpacked)
        .ok_or_else(|| Error::Other(format!("the package {PACKAGE} has no libnvidia-ml.so.1")))
}

/// `apt-get` that knows nothing but the one source, and changes nothing of the machine's.
fn apt(folder: &Path, sources: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    let options = [
        ("Dir::Etc::sourcelist", sources.to_owned()),
        ("Dir::Etc::sourceparts", "/nonexistent".into()),
        ("Dir::State::lists", folder.join("lists")),
        ("Dir::Cache", folder.join("cache")),
    ];
    apt.arg("--quiet");
    for (name, value) in options {
        apt.arg("-o").arg(format!("{name}={}", value.display()));
    }
    apt
}

fn source(code_name: &str) -> String {
    format!(
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: {code_name}\n\
         Components: non-free\nSigned-By: {KEYRING}\n"
    )
}

/// `bookworm`, from `VERSION_CODENAME=bookworm`.
fn code_name(release: &str) -> Result<&str, Error> {
    let line = |name: &str| release.lines().find_map(|line| line.strip_prefix(name));
    let is_debian = line("ID=") == Some("debian");
    let code_name = line("VERSION_CODENAME=").filter(|_| is_debian);
    code_name.ok_or_else(|| Error::Missing {
        what: format!("Debian's package {PACKAGE}"),
        advice: "it is fetched on Debian only".into(),
    })
}

fn only_file(folder: &Path) -> Result<PathBuf, Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files.next().ok_or_else(|| {
        Error::Other(format!(
            "apt-get has put nothing into '{}'",
            folder.display()
        ))
    })
}

/// The library somewhere below a folder.
fn find(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.find_map(|path| {
        if path.is_dir() {
            return find(&path);
        }
        path.ends_with("libnvidia-ml.so.1").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_decides_the_source() {
        let debian = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(code_name(debian).unwrap(), "bookworm");
        let other = "VERSION_CODENAME=noble\nID=ubuntu\n";
        assert!(matches!(code_name(other), Err(Error::Missing { .. })));
    }
}
