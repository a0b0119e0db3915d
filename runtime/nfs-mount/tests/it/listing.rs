//! Large directories.

use std::collections::BTreeSet;
use std::fs;

use crate::mounted::Mounted;
use crate::user::{SOMEBODY, as_user};
use lote_tests::ganesha::Server;

const MANY: usize = 20_000;

#[test]
fn a_directory_with_many_entries() {
    let Some(server) = Server::start("a_directory_with_many_entries") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        let folder = server.data().join("many");
        fs::create_dir(&folder).unwrap();
        for number in 0..MANY {
            fs::File::create(folder.join(format!("file-{number}"))).unwrap();
        }
        let folder = mounted.path().join("many");
        let names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                assert!(entry.file_type().unwrap().is_file());
                entry.file_name()
            })
            .collect();
        assert_eq!(names.len(), MANY);
        let different: BTreeSet<_> = names.into_iter().collect();
        assert_eq!(different.len(), MANY);
        // With the attributes of each, as `ls -l` asks for them.
        let sizes: u64 = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(sizes, 0);
        // Removed while it is read.
        fs::remove_dir_all(&folder).unwrap();
        assert!(!server.data().join("many").exists());
    });
}

#[test]
fn what_changes_while_it_is_read() {
    let Some(server) = Server::start("what_changes_while_it_is_read") else {
        return;
    };
    let mounted = Mounted::new(&server);
    as_user(SOMEBODY, || {
        let folder = mounted.path().join("folder");
        fs::create_dir(&folder).unwrap();
        for number in 0..3_000 {
            fs::write(folder.join(format!("{number}")), "old").unwrap();
        }
        let mut reading = fs::read_dir(&folder).unwrap();
        let first = reading.next().unwrap().unwrap().file_name();
        // Made anew, with the attributes of the old ones read already.
        for number in 0..3_000 {
            let path = folder.join(format!("{number}"));
            if path.file_name() == Some(&first) {
                continue;
            }
            fs::remove_file(&path).unwrap();
            fs::write(&path, "a new one").unwrap();
        }
        let mut seen = BTreeSet::from([first.clone()]);
        for entry in reading {
            let entry = entry.unwrap();
            assert!(seen.insert(entry.file_name()));
            assert_eq!(fs::read_to_string(entry.path()).unwrap(), "a new one");
            assert_eq!(entry.metadata().unwrap().len(), 9);
        }
        assert_eq!(seen.len(), 3_000);
    });
}
