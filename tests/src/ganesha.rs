//! NFS-Ganesha with an export of its own, as the product runs it: in a mount namespace of its own, because version 3 wants an
//! rpcbind at a fixed place.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{PATIENCE, wait_for};

/// The private `/run`, and an rpcbind that opens ports in an empty network only.
const NAMESPACE: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/ganesha /run/rpcbind && \
     exec unshare -n sh -c 'ip link set lo up; exec rpcbind -f -w'";

/// A running server; ends when dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    namespace: Child,
    ganesha: Option<Child>,
    /// Where it serves NFS, on 127.0.0.1.
    pub port: u16,
    /// Where it serves the mount protocol.
    pub mount_port: u16,
}

/// Why no server, or no mount in user space, can be had here.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("only root mounts".to_owned());
    }
    if !Path::new("/dev/fuse").exists() {
        return Some("the kernel has no FUSE".to_owned());
    }
    let has = |program: &str| {
        ["/usr/bin", "/usr/sbin", "/sbin", "/bin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists())
    };
    ["ganesha.nfsd", "rpcbind", "unshare", "nsenter", "ip"]
        .into_iter()
        .find(|program| !has(program))
        .map(|program| format!("{program} is not installed"))
}

impl Server {
    /// A server with an empty export, or a line that says why the test is skipped.
    pub fn start(test: &str) -> Option<Self> {
        if let Some(reason) = missing() {
            println!("SKIPPED: {test}: {reason}");
            return None;
        }
        let folder = tempfile::tempdir_in("/var/tmp").expect("/var/tmp takes a folder");
        fs::create_dir(folder.path().join("data")).expect("a folder takes another");
        // Every user comes through to the export.
        open_to_all(folder.path(), 0o755);
        open_to_all(&folder.path().join("data"), 0o777);
        let namespace = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                NAMESPACE,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let mut server = Self {
            folder,
            namespace,
            ganesha: None,
            port: 0,
            mount_port: 0,
        };
        [server.port, server.mount_port] = free_ports();
        wait_for("rpcbind", PATIENCE, || server.rpcbind());
        fs::write(server.configuration(), server.settings()).expect("a folder takes a file");
        server.run();
        Some(server)
    }

    /// The export, on the server's disk.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("ganesha.conf")
    }

    fn settings(&self) -> String {
        let (data, state) = (self.data(), self.folder.path().join("state"));
        fs::create_dir_all(&state).expect("a folder takes another");
        format!(
            "NFS_CORE_PARAM {{ Protocols = 3,4; NFS_Port = {}; MNT_Port = {}; Enable_NLM = false;
               Enable_RQUOTA = false; Enable_UDP = false; Bind_addr = 127.0.0.1; mount_path_pseudo = true; }}
             NFSV4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = \"{state}\"; Minor_Versions = 0,1,2; }}
             EXPORT_DEFAULTS {{ Attr_Expiration_Time = 0; }}
             MDCACHE {{ FD_LWMark_Percent = 0; LRU_Run_Interval = 10; }}
             EXPORT {{ Export_Id = 1; Path = \"{data}\"; Pseudo = \"{data}\"; Access_Type = NONE; Squash = Root_Squash; Anonymous_Uid = 65534; Anonymous_Gid = 65534;
               SecType = sys; Protocols = 3,4; Transports = TCP; PrivilegedPort = true; FSAL {{ Name = VFS; }}
               CLIENT {{ Clients = 127.0.0.1; Access_Type = RW; }} }}\n",
            self.port,
            self.mount_port,
            data = data.display(),
            state = state.display(),
        )
    }

    /// Starts the server's program, again if it was killed, and waits until it answers.
    pub fn run(&mut self) {
        let first = self.rpcbind().expect("rpcbind runs");
        let log = self.folder.path().join("log");
        let ganesha = Command::new("nsenter")
            .args(["--mount", "--target", &first, "ganesha.nfsd", "-F", "-f"])
            .arg(self.configuration())
            .arg("-L")
            .arg(&log)
            .arg("-p")
            .arg(self.folder.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter starts");
        self.ganesha = Some(ganesha);
        let ports = [self.port, self.mount_port];
        let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_for("Ganesha", PATIENCE, || {
            ports.into_iter().all(listens).then_some(())
        });
    }

    /// The server's process, for its account.
    pub fn process(&self) -> u32 {
        self.ganesha.as_ref().map(Child::id).unwrap_or_default()
    }

    /// The process whose `/run` has rpcbind's socket.
    fn rpcbind(&self) -> Option<String> {
        let id = self.namespace.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let first = children.split_whitespace().next()?.to_owned();
        // Before that it is a shell, whose `/run` may still be the machine's.
        let name = fs::read_to_string(format!("/proc/{first}/comm")).ok()?;
        if name.trim() != "rpcbind" {
            return None;
        }
        let socket = format!("/proc/{first}/root/run/rpcbind.sock");
        Path::new(&socket).exists().then_some(first)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut ganesha) = self.ganesha.take() {
            ganesha.kill().expect("a child of ours can be killed");
            ganesha.wait().expect("a child of ours can be waited for");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // rpcbind is the first process there: everything else goes with it.
        if let Some(first) = self.rpcbind().and_then(|first| first.parse().ok()) {
            kill(Pid::from_raw(first), Signal::SIGKILL).ok();
        }
        drop(self.namespace.kill());
        drop(self.namespace.wait());
    }
}

fn open_to_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a folder of ours");
}

/// Two ports that nobody listens on.
fn free_ports() -> [u16; 2] {
    [(); 2]
        .map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports"))
        .map(|listener| listener.local_addr().expect("a bound socket").port())
}
