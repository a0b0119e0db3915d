//! Compiled code on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lote_plugin_host::{Host, HostError, compile_for_any_processor};

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

#[test]
fn code_that_came_with_the_system_is_used_if_only_root_can_change_it() {
    let parent = tempfile::tempdir().unwrap();
    let (provided, own) = (parent.path().join("provided"), parent.path().join("own"));
    fs::create_dir(&provided).unwrap();
    let component = bytes("custom");
    let (name, code) = compile_for_any_processor(&component).unwrap();
    let file = provided.join(&name);
    fs::write(&file, code).unwrap();
    fs::set_permissions(&provided, fs::Permissions::from_mode(0o755)).unwrap();
    let load = || {
        let host = Host::new(Some(&own)).unwrap();
        let host = host.with_provided(provided.clone());
        let plugin = host.load("custom", &component).unwrap();
        assert_eq!(plugin.info().descriptor.name, "custom");
    };
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let is_roots = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap()) == 0;
    load();
    // Where the tests do not run as root, nothing there can be trusted, and it is compiled.
    assert_eq!(files(&own).is_empty(), is_roots);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    load();
    assert_eq!(files(&own).len(), 1);
}
