//! A user name space that outlives its makers: all processes of a job on a node are in it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::SYSTEM_PATH;

/// Makes a user name space with these ids, `uid_map` and `gid_map` alike.
///
/// A process has to begin it: util-linux's `unshare`, which becomes a `cat` that ends with its
/// input. (Forking the daemon, which has threads, would be unsafe.)
pub(super) fn make(mapping: &str) -> io::Result<File> {
    let mut child = Command::new("unshare")
        .args(["--user", "--", "cat"])
        .current_dir("/")
        .env_clear()
        .env("PATH", SYSTEM_PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let made = enter(&mut child, mapping);
    // Without input it ends.
    drop(child.stdin.take());
    child.wait()?;
    made
}

fn enter(child: &mut std::process::Child, mapping: &str) -> io::Result<File> {
    let (Some(input), Some(output)) = (child.stdin.as_mut(), child.stdout.as_mut()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    // What comes back comes from within.
    input.write_all(b"x")?;
    let mut echo = [0];
    output
        .read_exact(&mut echo)
        .map_err(|_| io::Error::other("this kernel gives no user name space"))?;
    let process = format!("/proc/{}", child.id());
    for file in ["uid_map", "gid_map"] {
        std::fs::write(Path::new(&process).join(file), mapping)?;
    }
    File::open(Path::new(&process).join("ns/user"))
}
