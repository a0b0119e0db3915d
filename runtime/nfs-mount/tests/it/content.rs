//! Content: large, sparse, small, together.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use crate::mounted::Mounted;
use crate::user::{SOMEBODY, as_user};
use lote_tests::ganesha::Server;

#[test]
fn a_large_sparse_file() {
    let Some(server) = Server::start("a_large_sparse_file") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        let path = mounted.path().join("sparse");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        let size = 4 << 30;
        file.set_len(size).unwrap();
        for offset in [0, (1 << 31) - 2, (1 << 32) - 4] {
            file.write_all_at(b"data", offset).unwrap();
        }
        file.sync_all().unwrap();
        let on_disk = fs::metadata(server.data().join("sparse")).unwrap();
        assert_eq!(on_disk.len(), size);
        assert!(on_disk.blocks() < 1024, "{} blocks", on_disk.blocks());
        let mut four = [0; 4];
        file.seek(SeekFrom::End(-4)).unwrap();
        file.read_exact(&mut four).unwrap();
        assert_eq!(&four, b"data");
        file.read_exact_at(&mut four, (1 << 31) - 4).unwrap();
        assert_eq!(&four, b"\0\0da");
    });
}

#[test]
fn many_small_writes_and_appends() {
    let Some(server) = Server::start("many_small_writes_and_appends") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        let path = mounted.path().join("log");
        let mut expected = String::new();
        for round in 0..3 {
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .unwrap();
            for number in 0..5_000 {
                let line = format!("round {round}, line {number}\n");
                file.write_all(line.as_bytes()).unwrap();
                expected.push_str(&line);
            }
            // Another descriptor sees what is on its way.
            let length = fs::metadata(&path).unwrap().len();
            assert_eq!(length, expected.len() as u64);
        }
        assert!(fs::read_to_string(&path).unwrap() == expected);
        assert!(fs::read_to_string(server.data().join("log")).unwrap() == expected);
    });
}

#[test]
fn what_is_read_is_what_was_written() {
    let Some(server) = Server::start("what_is_read_is_what_was_written") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        let content = noise(24 << 20);
        fs::write(server.data().join("of-the-server"), &content).unwrap();
        assert!(fs::read(mounted.path().join("of-the-server")).unwrap() == content);
        fs::write(mounted.path().join("of-the-mount"), &content).unwrap();
        assert!(fs::read(server.data().join("of-the-mount")).unwrap() == content);
        // Past the page cache.
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(0o40_000)
            .open(mounted.path().join("of-the-mount"));
        let mut read = Vec::new();
        direct.unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content);
    });
    assert!(mounted.memory() < 400 << 10, "{} KiB", mounted.memory());
}

#[test]
fn a_disk_that_is_full_is_told() {
    let Some(server) = Server::start("a_disk_that_is_full_is_told") else {
        return;
    };
    let mounted = Mounted::new(&server);
    // A file size that no disk here has room for: the server's file system refuses the offset.
    as_user(SOMEBODY, || {
        let file = File::create(mounted.path().join("too-far")).unwrap();
        let written = file.write_all_at(b"x", 1 << 62);
        let outcome = written.and_then(|()| file.sync_all());
        assert!(outcome.is_err());
        // It is told once, and the file is as good as before.
        file.write_all_at(b"x", 0).unwrap();
        file.sync_all().unwrap();
    });
}

/// Bytes that look random and are always the same.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
