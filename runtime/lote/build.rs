//! Puts the framework plugins into the binary: every component that `cargo xtask
//! plugins` has built.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

fn main() {
    let folder = plugin_folder();
    println!("cargo::rerun-if-env-changed=LOTE_PLUGIN_DIR");
    println!("cargo::rerun-if-changed={}", folder.display());
    let components = components(&folder);
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
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("builtins.rs");
    if let Err(error) = fs::write(&out, code) {
        println!("cargo::error=cannot write {}: {error}", out.display());
        exit(1);
    }
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

fn components(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut components: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    components.sort();
    components
}
