//! A folder to build plugins in, that jobs can see as well.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lote_tests::daemon;
use tempfile::TempDir;

/// Where Cargo builds the guide's project: kept between runs, as building its dependencies
/// is most of the work.
const TARGET_VARIABLE: &str = "LOTE_AUTHORS_TARGET";

/// A folder, with a `lote` on the path that talks to the daemon of the test.
pub(super) struct Workshop {
    folder: TempDir,
    pub(super) port: u16,
}

impl Workshop {
    pub(super) fn new() -> Self {
        // Not below /tmp or /var/tmp: jobs have their own.
        let folder = tempfile::Builder::new()
            .prefix("lote-test-authors-")
            .tempdir_in("/srv")
            .expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        let workshop = Self {
            folder,
            port: free_port(),
        };
        workshop.put_lote_on_the_path();
        workshop
    }

    /// A path below it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As the guide's reader has it; only the ports of the daemon are the test's.
    fn put_lote_on_the_path(&self) {
        let binary = daemon::binary();
        let binary = fs::canonicalize(&binary).expect("the binary");
        let script = format!(
            "#!/bin/sh\ncase \"$1 $2\" in\n\"node --\"*) exec '{0}' \"$@\" --listen 127.0.0.1:{1} --nfs-port {2} --nfs-mount-port {3};;\nesac\nexec '{0}' \"$@\"\n",
            binary.display(),
            self.port,
            free_port(),
            free_port(),
        );
        fs::create_dir(self.path("bin")).expect("a folder");
        let program = self.path("bin/lote");
        fs::write(&program, script).expect("a script");
        fs::set_permissions(program, Permissions::from_mode(0o755)).expect("its mode");
    }

    /// A shell in it.
    pub(super) fn bash(&self, script: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("LOTE_URL", format!("http://127.0.0.1:{}", self.port))
            .env("NO_COLOR", "1")
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("PIP_CACHE_DIR", pip_cache())
            .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
        // What the tests themselves were built with is not the reader's.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_") && name != "CARGO_HOME" {
                command.env_remove(name);
            }
        }
        if let Some(target) = std::env::var_os(TARGET_VARIABLE) {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }

    /// Runs a script to its end, which must be a good one.
    pub(super) fn run(&self, script: &str) -> String {
        let output = self.bash(script).output().expect("bash runs");
        let Output { status, .. } = output;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(
            status.success(),
            "{status}: {script}\n--- output\n{stdout}\n--- errors\n{stderr}"
        );
        stdout
    }
}

/// Wheels that were fetched once are kept where pip keeps them.
fn pip_cache() -> PathBuf {
    let caches = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    caches.join("pip")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("its address").port()
}
