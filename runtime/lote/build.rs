//! Puts the framework plugins into the binary: every component that `cargo xtask
//! plugins` has built. And the sources of the SDK, for `lote plugin new`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    let folder = plugin_folder();
    println!("cargo::rerun-if-env-changed=LOTE_PLUGIN_DIR");
    println!("cargo::rerun-if-changed={}", folder.display());
    let components = files(&folder, "wasm");
    if components.is_empty() {
        println!(
            "cargo::error=there are no framework plugins in {}: run `cargo xtask plugins` first",
            folder.display()
        );
        exit(1);
    }
    let mut code = String::from("pub(super) static BUILTINS: &[Builtin] = &[\n");
    for path in components {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // As a Rust literal, whatever characters the path has.
        let path = path.to_string_lossy();
        let _ = writeln!(
            code,
            "    Builtin {{ name: {name:?}, component: include_bytes!({path:?}) }},"
        );
    }
    code.push_str("];\n");
    write("builtins.rs", &code);
    write("sdk.rs", &sdk());
}

fn write(name: &str, code: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join(name);
    if let Err(error) = fs::write(&out, code) {
        println!("cargo::error=cannot write {}: {error}", out.display());
        exit(1);
    }
}

/// Every source file of the SDK, as files of a project.
fn sdk() -> String {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = manifest.join("../../plugins/sdk/src");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut code = String::from("pub(super) const SDK: &[Template] = &[\n");
    for path in files(&folder, "rs") {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("sdk/src/{name}");
        let path = path.to_string_lossy();
        let _ = writeln!(
            code,
            "    Template {{ path: {inside:?}, text: include_str!({path:?}) }},"
        );
    }
    code + "];\n"
}

/// Where the built components are: the folder that is named, or `plugins` in
/// Cargo's target folder, four levels above what a build script may write to.
fn plugin_folder() -> PathBuf {
    if let Some(folder) = env::var_os("LOTE_PLUGIN_DIR") {
        return folder.into();
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    out.ancestors()
        .nth(4)
        .map(|target| target.join("plugins"))
        .unwrap_or_default()
}

/// The files of a folder with this ending, in the order of their names.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    files
}
