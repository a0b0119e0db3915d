//! Who may do what.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;

use crate::mounted::Mounted;
use crate::user::{OTHER, SOMEBODY, as_user};
use lote_tests::ganesha::Server;

#[test]
fn a_user_has_what_is_his() {
    let Some(server) = Server::start("a_user_has_what_is_his") else {
        return;
    };
    let mounted = Mounted::new(&server);
    let secret = mounted.path().join("home/secret");
    as_user(SOMEBODY, || {
        fs::create_dir(mounted.path().join("home")).unwrap();
        fs::write(&secret, "mine").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        // What he opened when he created it, though its mode says that nobody may write.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(mounted.path().join("home/read-only"))
            .unwrap();
        file.write_all(b"written").unwrap();
        file.sync_all().unwrap();
    });
    as_user(OTHER, || {
        let denied = fs::read(&secret).unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        let denied = fs::write(mounted.path().join("home/new"), "").unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        let denied = fs::remove_file(&secret).unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    });
    // Root of a node is nobody at the server, whatever the node's kernel lets him try.
    let denied = fs::read(&secret).unwrap_err();
    assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
    fs::write(mounted.path().join("of-root"), "").unwrap();
    assert_eq!(
        fs::metadata(server.data().join("of-root")).unwrap().uid(),
        65534
    );
}

#[test]
fn other_groups_count() {
    let Some(server) = Server::start("other_groups_count") else {
        return;
    };
    let mounted = Mounted::new(&server);
    let shared = server.data().join("shared");
    fs::write(&shared, "ours").unwrap();
    std::os::unix::fs::chown(&shared, Some(SOMEBODY), Some(30_000)).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
    let read_with_groups = |groups: &str| {
        Command::new("setpriv")
            .args([
                "--reuid", "20002", "--regid", "20002", "--groups", groups, "cat",
            ])
            .arg(mounted.path().join("shared"))
            .output()
            .unwrap()
    };
    assert!(!read_with_groups("40000").status.success());
    assert_eq!(read_with_groups("40000,30000").stdout, b"ours");
}

#[test]
fn a_descriptor_keeps_the_right_it_was_opened_with() {
    let Some(server) = Server::start("a_descriptor_keeps_the_right_it_was_opened_with") else {
        return;
    };
    let mounted = Mounted::new(&server);
    let path = mounted.path().join("output");
    let mut file = as_user(SOMEBODY, || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap()
    });
    // Another user, who got it from the first, as a job gets its output from the daemon.
    as_user(OTHER, || {
        file.write_all(b"by another").unwrap();
        file.sync_all().unwrap();
    });
    assert_eq!(
        fs::read(server.data().join("output")).unwrap(),
        b"by another"
    );
    let mut text = String::new();
    as_user(SOMEBODY, || {
        fs::File::open(&path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
    });
    assert_eq!(text, "by another");
}

#[test]
fn a_read_only_mount_refuses_changes() {
    let Some(server) = Server::start("a_read_only_mount_refuses_changes") else {
        return;
    };
    fs::write(server.data().join("file"), "there").unwrap();
    let mounted = Mounted::with(&server, &["--read-only"]);
    assert_eq!(fs::read(mounted.path().join("file")).unwrap(), b"there");
    let refused = fs::write(mounted.path().join("new"), "").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn a_directory_below_the_export_is_all_there_is() {
    let Some(server) = Server::start("a_directory_below_the_export_is_all_there_is") else {
        return;
    };
    fs::create_dir_all(server.data().join("a/b")).unwrap();
    fs::write(server.data().join("a/b/file"), "deep").unwrap();
    // Not even root of the node could look up what is below.
    std::os::unix::fs::chown(server.data().join("a"), Some(SOMEBODY), None).unwrap();
    fs::set_permissions(server.data().join("a"), fs::Permissions::from_mode(0o700)).unwrap();
    let mounted = Mounted::with(&server, &["--directory", "a/b"]);
    assert_eq!(fs::read(mounted.path().join("file")).unwrap(), b"deep");
}

#[test]
fn what_cannot_be_mounted_is_told() {
    let Some(server) = Server::start("what_cannot_be_mounted_is_told") else {
        return;
    };
    let missing = Mounted::refused(&server, &["--directory", "missing"]);
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        text.contains("refuses to mount") && text.contains("missing"),
        "{text}"
    );
    let silent = Mounted::refused(&server, &["--mount-port", "1"]);
    assert!(!silent.status.success());
}
