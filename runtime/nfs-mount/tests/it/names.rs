//! Names: made, found, changed, removed.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::mounted::Mounted;
use crate::until;
use crate::user::{SOMEBODY, as_user};
use lote_tests::ganesha::Server;

fn with_mount(test: &str, what: impl FnOnce(&Path, &Path) + Send) {
    let Some(server) = Server::start(test) else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || what(&mounted.path(), &server.data()));
}

#[test]
fn every_kind_of_file_is_made_and_removed() {
    with_mount("every_kind_of_file_is_made_and_removed", |mount, data| {
        fs::create_dir(mount.join("folder")).unwrap();
        fs::write(mount.join("folder/file"), "content").unwrap();
        symlink("folder/file", mount.join("symlink")).unwrap();
        fs::hard_link(mount.join("folder/file"), mount.join("link")).unwrap();
        mkfifo(&mount.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        assert_eq!(
            fs::read_to_string(mount.join("symlink")).unwrap(),
            "content"
        );
        assert_eq!(
            fs::read_link(mount.join("symlink")).unwrap(),
            Path::new("folder/file")
        );
        let file = fs::metadata(mount.join("folder/file")).unwrap();
        let link = fs::metadata(mount.join("link")).unwrap();
        assert_eq!((file.ino(), file.nlink()), (link.ino(), 2));
        assert_eq!((file.uid(), file.gid()), (SOMEBODY, SOMEBODY));
        assert!(
            fs::metadata(mount.join("pipe"))
                .unwrap()
                .file_type()
                .is_fifo()
        );
        // The server's disk has the same.
        assert_eq!(fs::read_to_string(data.join("link")).unwrap(), "content");
        assert_eq!(
            fs::metadata(data.join("folder/file")).unwrap().uid(),
            SOMEBODY
        );

        let full = fs::remove_dir(mount.join("folder")).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
        for name in ["folder/file", "symlink", "link", "pipe"] {
            fs::remove_file(mount.join(name)).unwrap();
        }
        fs::remove_dir(mount.join("folder")).unwrap();
        assert_eq!(fs::read_dir(data).unwrap().count(), 0);
        let missing = fs::metadata(mount.join("folder")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn names_of_every_script_and_length() {
    with_mount("names_of_every_script_and_length", |mount, data| {
        let long = "x".repeat(255);
        let names = [
            "naïve",
            "данные",
            "数据集",
            "🦀",
            "with space\nand line",
            "-rf",
            &long,
        ];
        for name in names {
            fs::write(mount.join(name), name).unwrap();
            assert_eq!(fs::read_to_string(data.join(name)).unwrap(), name);
        }
        let mut listed: Vec<_> = fs::read_dir(mount)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        listed.sort_unstable();
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        assert_eq!(listed, sorted);
        let too_long = fs::write(mount.join("x".repeat(256)), "").unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(36));
    });
}

#[test]
fn a_file_is_created_exclusively_once() {
    with_mount("a_file_is_created_exclusively_once", |mount, data| {
        let path = mount.join("lock");
        let new = || OpenOptions::new().write(true).create_new(true).open(&path);
        let made = new().unwrap();
        assert_eq!(new().unwrap_err().kind(), ErrorKind::AlreadyExists);
        // The server kept a verifier where times and mode are; they are right afterwards.
        let age = made.metadata().unwrap().modified().unwrap().elapsed();
        assert!(age.unwrap_or_default() < Duration::from_mins(1));
        assert_eq!(
            fs::metadata(data.join("lock")).unwrap().mode() & 0o777,
            0o644
        );
    });
}

#[test]
fn renamed_over_another() {
    with_mount("renamed_over_another", |mount, _| {
        fs::create_dir(mount.join("folder")).unwrap();
        fs::write(mount.join("new"), "new").unwrap();
        fs::write(mount.join("folder/old"), "old").unwrap();
        let mut old = File::open(mount.join("folder/old")).unwrap();
        fs::rename(mount.join("new"), mount.join("folder/old")).unwrap();
        assert_eq!(fs::read_to_string(mount.join("folder/old")).unwrap(), "new");
        // Who has it open keeps it.
        let mut text = String::new();
        old.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
        drop(old);
        until("the replaced file goes when it is closed", || {
            fs::read_dir(mount.join("folder")).unwrap().count() == 1
        });
        // The protocol has no rename that spares what is there; programs fall back.
        let status = Command::new("setpriv")
            .args([
                "--reuid",
                "20001",
                "--regid",
                "20001",
                "--clear-groups",
                "mv",
                "-n",
            ])
            .arg(mount.join("folder/old"))
            .arg(mount.join("moved"))
            .status()
            .unwrap();
        assert!(status.success());
    });
}

#[test]
fn a_removed_file_that_is_open_is_still_there() {
    with_mount(
        "a_removed_file_that_is_open_is_still_there",
        |mount, data| {
            let path = mount.join("temporary");
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .unwrap();
            file.write_all(b"before").unwrap();
            fs::remove_file(&path).unwrap();
            assert!(!path.exists());
            file.write_all(b" and after").unwrap();
            file.sync_all().unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "before and after");
            drop(file);
            until("it goes when it is closed", || {
                fs::read_dir(data).unwrap().count() == 0
            });
        },
    );
}

#[test]
fn attributes_are_changed() {
    with_mount("attributes_are_changed", |mount, data| {
        let path = mount.join("file");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"0123456789").unwrap();
        let then = UNIX_EPOCH + Duration::new(1_000_000_000, 123_000_000);
        // Set while what was written is still on its way.
        file.set_modified(then).unwrap();
        drop(file);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), then);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        let on_disk = fs::metadata(data.join("file")).unwrap();
        assert_eq!((on_disk.mode() & 0o7777, on_disk.len()), (0o604, 10));
        assert_eq!(on_disk.modified().unwrap(), then);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0123");
        file.set_len(6).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"0123\0\0");
        let chown = std::os::unix::fs::chown(&path, Some(0), None).unwrap_err();
        assert_eq!(chown.kind(), ErrorKind::PermissionDenied);
        let space = nix::sys::statvfs::statvfs(mount).unwrap();
        assert!(space.blocks() > 0 && space.blocks_available() <= space.blocks());
    });
}
