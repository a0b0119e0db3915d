//! Compiled code on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lote_plugin_host::{Host, HostError};

use crate::components::bytes;

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn load_custom(folder: &Path) {
    let host = Host::new(Some(folder)).unwrap();
    let plugin = host.load("custom", &bytes("custom")).unwrap();
    assert_eq!(plugin.info().descriptor.name, "custom");
    assert_eq!(plugin.info().contract, "0.1.0");
}

#[test]
fn compiled_code_is_kept_private_and_used_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    load_custom(&folder);
    let first = files(&folder);
    assert_eq!(first.len(), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&first[0]), 0o600);
    let written = fs::metadata(&first[0]).unwrap().modified().unwrap();
    load_custom(&folder);
    assert_eq!(files(&folder), first);
    assert_eq!(
        fs::metadata(&first[0]).unwrap().modified().unwrap(),
        written
    );
}

#[test]
fn a_file_that_does_not_load_is_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    load_custom(&folder);
    let file = files(&folder).remove(0);
    let whole = fs::read(&file).unwrap();
    for broken in [&b""[..], &b"garbage"[..], &whole[..whole.len() / 2]] {
        fs::remove_file(&file).unwrap();
        fs::write(&file, broken).unwrap();
        load_custom(&folder);
        assert_eq!(fs::read(&file).unwrap().len(), whole.len());
    }
}

#[test]
fn a_folder_that_others_can_write_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Host::new(Some(&folder)).err().unwrap();
    assert!(matches!(error, HostError::Cache(_)), "{error:?}");
}
