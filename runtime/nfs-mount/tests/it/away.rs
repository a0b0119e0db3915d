//! The server is away meanwhile; the mount ends.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::content::noise;
use crate::mounted::Mounted;
use crate::until;
use crate::user::{SOMEBODY, as_user};
use lote_tests::ganesha::Server;

#[test]
fn a_write_goes_on_when_the_server_is_back() {
    let Some(mut server) = Server::start("a_write_goes_on_when_the_server_is_back") else {
        return;
    };
    let mounted = Mounted::new(&server);
    let content = noise(64 << 20);
    let path = mounted.path().join("large");
    let on_disk = server.data().join("large");
    let source = tempfile::NamedTempFile::new().unwrap();
    fs::write(source.path(), &content).unwrap();
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o644)).unwrap();
    // In a process of its own: one that is forked here would have the file open too, and could not start the server again.
    let mut writing = Command::new("setpriv")
        .args(["--reuid", "20001", "--regid", "20001", "--clear-groups"])
        .args(["dd", "bs=256k", "conv=fsync", "status=none"])
        .arg(format!("if={}", source.path().display()))
        .arg(format!("of={}", path.display()))
        .spawn()
        .unwrap();
    until("a part arrives", || {
        fs::metadata(&on_disk).is_ok_and(|file| file.len() > 8 << 20)
    });
    server.kill();
    std::thread::sleep(Duration::from_secs(3));
    server.run();
    assert!(writing.wait().unwrap().success());
    assert!(fs::read(&on_disk).unwrap() == content);
    as_user(SOMEBODY, || {
        assert!(fs::read(&path).unwrap() == content);
    });
}

#[test]
fn names_are_changed_when_the_server_is_back() {
    let Some(mut server) = Server::start("names_are_changed_when_the_server_is_back") else {
        return;
    };
    let mounted = Mounted::new(&server);
    let root = mounted.path();
    as_user(SOMEBODY, || {
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/file"), "x").unwrap();
    });
    server.kill();
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            as_user(SOMEBODY, || {
                fs::create_dir(root.join("another")).unwrap();
                fs::rename(root.join("folder/file"), root.join("another/file")).unwrap();
                fs::remove_dir(root.join("folder")).unwrap();
            });
        });
        std::thread::sleep(Duration::from_millis(500));
        assert!(!changing.is_finished());
        server.run();
        changing.join().unwrap();
    });
    assert_eq!(fs::read(server.data().join("another/file")).unwrap(), b"x");
    assert!(!server.data().join("folder").exists());
}

#[test]
fn who_waits_can_be_killed() {
    let Some(mut server) = Server::start("who_waits_can_be_killed") else {
        return;
    };
    let mounted = Mounted::new(&server);
    server.kill();
    let path = mounted.path().join("file");
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut waiting = Command::new("stat")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(waiting.try_wait().unwrap().is_none());
        let id = Pid::from_raw(i32::try_from(waiting.id()).unwrap());
        kill(id, signal).unwrap();
        until("it dies", || waiting.try_wait().unwrap().is_some());
    }
    server.run();
}

#[test]
fn sigterm_unmounts_though_a_file_is_open() {
    let Some(server) = Server::start("sigterm_unmounts_though_a_file_is_open") else {
        return;
    };
    let mut mounted = Mounted::new(&server);
    let mut file = as_user(SOMEBODY, || {
        File::create(mounted.path().join("open")).unwrap()
    });
    file.write_all(b"on its way").unwrap();
    mounted.terminate();
    until("the mount goes", || !mounted.is_mounted());
    drop(file);
    assert_eq!(mounted.end().code(), Some(0));
    assert_eq!(fs::read(server.data().join("open")).unwrap(), b"on its way");
}

#[test]
fn umount_ends_the_program() {
    let Some(server) = Server::start("umount_ends_the_program") else {
        return;
    };
    let mut mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        fs::write(mounted.path().join("file"), "there").unwrap();
    });
    let status = Command::new("umount").arg(mounted.path()).status().unwrap();
    assert!(status.success());
    assert_eq!(mounted.end().code(), Some(0));
    assert_eq!(fs::read(server.data().join("file")).unwrap(), b"there");
}

#[test]
fn sigterm_ends_it_though_the_server_is_away() {
    let Some(mut server) = Server::start("sigterm_ends_it_though_the_server_is_away") else {
        return;
    };
    let mut mounted = Mounted::new(&server);
    server.kill();
    mounted.terminate();
    assert_eq!(mounted.end().code(), Some(0));
    assert!(!mounted.is_mounted());
}
