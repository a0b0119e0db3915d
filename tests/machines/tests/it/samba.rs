//! An SMB server that is not Lote's: Samba on the host, with a share and a user.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lote_tests::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

use crate::network::Network;

/// Whom the server knows, which is the storage account of the share.
pub(crate) const ACCOUNT: &str = "office";

/// What the user shows, which is the account's key.
pub(crate) const KEY: &str = "d2hhdCB0aGUgb2ZmaWNlIGtub3dz";

/// What it serves.
pub(crate) const SHARE: &str = "reports";

/// What there is in it.
pub(crate) const DIRECTORY: &str = "spring";

/// Not the usual one, which another server of the host may have.
const PORT: u16 = 1445;

/// As whom files lie on the host.
const OWNER: &str = "nobody";

/// Until dropped.
pub(crate) struct Samba {
    server: Child,
    directory: PathBuf,
}

impl Samba {
    /// Serves a share with an empty directory on the host's address.
    pub(crate) fn start(network: &Network, folder: &Path) -> Self {
        let folder = folder.join("samba");
        let directory = folder.join(SHARE).join(DIRECTORY);
        fs::create_dir_all(&directory).expect("a share");
        fs::set_permissions(&folder, Permissions::from_mode(0o711)).expect("its mode");
        let owner = User::from_name(OWNER).expect("users can be read");
        let owner = owner.expect("Debian has this user");
        let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
        chown(&directory, Some(uid), Some(gid)).expect("an owner");
        let users = folder.join("users");
        fs::write(&users, format!("{OWNER} = {ACCOUNT}\n")).expect("the names of users");
        let address = network.address(254);
        let configuration = folder.join("smb.conf");
        fs::write(&configuration, options(&address, &folder)).expect("a configuration");
        add_user(&configuration);
        let log = fs::File::create(folder.join("log")).expect("a log file");
        let server = Command::new("smbd")
            .arg("--foreground")
            .arg(format!("--configfile={}", configuration.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("smbd of Debian's package samba");
        let samba = Self { server, directory };
        wait_for("Samba to listen", Duration::from_mins(1), || {
            TcpStream::connect((address.as_str(), PORT)).ok()
        });
        samba
    }

    /// A file in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The line of a storage table that names the share.
    pub(crate) fn table(network: &Network) -> String {
        let address = network.address(254);
        format!(
            "\"{ACCOUNT}/*\" = {{ smb = {{ server = \"{address}\", share = \"{{share}}\", \
             options = \"port={PORT}\" }} }}\n"
        )
    }
}

impl Drop for Samba {
    fn drop(&mut self) {
        // It takes its children along, which it does not when it is killed.
        if let Ok(pid) = i32::try_from(self.server.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        self.server.wait().ok();
    }
}

fn options(address: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[global]\n\
         server role = standalone server\n\
         interfaces = {address}\n\
         bind interfaces only = yes\n\
         smb ports = {PORT}\n\
         disable netbios = yes\n\
         disable spoolss = yes\n\
         load printers = no\n\
         map to guest = never\n\
         username map = {folder}/users\n\
         passdb backend = tdbsam:{folder}/passdb.tdb\n\
         private dir = {folder}\n\
         state directory = {folder}\n\
         cache directory = {folder}\n\
         lock directory = {folder}\n\
         pid directory = {folder}\n\
         ncalrpc dir = {folder}/ncalrpc\n\
         log file = {folder}/log\n\
         [{SHARE}]\n\
         path = {folder}/{SHARE}\n\
         read only = no\n"
    )
}

fn add_user(configuration: &Path) {
    let mut add = Command::new("smbpasswd")
        .arg("-c")
        .arg(configuration)
        .args(["-L", "-a", "-s", OWNER])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("smbpasswd of Debian's package samba");
    let mut input = add.stdin.take().expect("an input");
    write!(input, "{KEY}\n{KEY}\n").expect("a password");
    drop(input);
    assert!(add.wait().expect("an end").success(), "no user was added");
}
