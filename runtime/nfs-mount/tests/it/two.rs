//! What one mount sees of another: on opening a file, all that was closed before.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};

use crate::mounted::Mounted;
use crate::until;
use crate::user::{SOMEBODY, as_user};
use lote_tests::ganesha::Server;

#[test]
fn what_one_has_closed_the_other_opens() {
    let Some(server) = Server::start("what_one_has_closed_the_other_opens") else {
        return;
    };
    let (one, other) = (Mounted::new(&server), Mounted::new(&server));
    as_user(SOMEBODY, || {
        let (here, there) = (one.path().join("shared"), other.path().join("shared"));
        for round in 0..50 {
            let text = format!("round {round}: {}", "x".repeat(round * 100));
            fs::write(&here, &text).unwrap();
            assert_eq!(fs::read_to_string(&there).unwrap(), text);
            // Of the same size, so that nothing but the time tells.
            let text = text.replace('x', "y");
            fs::write(&there, &text).unwrap();
            assert_eq!(fs::read_to_string(&here).unwrap(), text);
        }
    });
}

#[test]
fn names_appear_and_files_grow() {
    let Some(server) = Server::start("names_appear_and_files_grow") else {
        return;
    };
    let (one, other) = (Mounted::new(&server), Mounted::new(&server));
    as_user(SOMEBODY, || {
        assert!(!other.path().join("log").exists());
        let mut log = File::create(one.path().join("log")).unwrap();
        // That a name is missing is not remembered.
        let mut reader = File::open(other.path().join("log")).unwrap();
        let mut read = String::new();
        for line in 0..5 {
            writeln!(log, "line {line}").unwrap();
            log.sync_all().unwrap();
            // As `tail -f` does.
            until("the line arrives", || {
                reader.read_to_string(&mut read).unwrap();
                read.ends_with(&format!("line {line}\n"))
            });
        }
        assert_eq!(read, "line 0\nline 1\nline 2\nline 3\nline 4\n");
        reader.seek(SeekFrom::Start(0)).unwrap();
        fs::rename(one.path().join("log"), one.path().join("log.1")).unwrap();
        until("the old name goes", || !other.path().join("log").exists());
        assert!(other.path().join("log.1").exists());
    });
}

#[test]
fn what_the_server_removes_is_stale() {
    let Some(server) = Server::start("what_the_server_removes_is_stale") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        let path = mounted.path().join("file");
        fs::write(&path, "content").unwrap();
        let mut file = File::open(&path).unwrap();
        fs::remove_file(server.data().join("file")).unwrap();
        until("the server forgets it", || {
            let attributes = nix::sys::stat::fstat(&file);
            attributes == Err(nix::errno::Errno::ESTALE)
        });
        let stale = file.read(&mut [0; 8]).unwrap_err();
        assert_eq!(stale.raw_os_error(), Some(116));
        // And the mount is as good as before.
        fs::write(&path, "another").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
    });
}
