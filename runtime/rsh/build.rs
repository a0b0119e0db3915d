//! Builds the program `lote-rsh` for its place in jobs: one static file that needs nothing of the
//! root it runs in, whatever C library that has.
//!
//! By a call of the compiler, because Cargo gives one set of flags to all of a build. The program
//! has no dependencies for that reason.

use std::env;
use std::path::PathBuf;
use std::process::{Command, exit};

fn main() {
    println!("cargo::rerun-if-changed=src");
    let variable = |name: &str| env::var_os(name).unwrap_or_default();
    let program = PathBuf::from(variable("OUT_DIR")).join("lote-rsh");
    let built = Command::new(variable("RUSTC"))
        .args(["--edition", "2024", "--crate-name", "lote_rsh"])
        .args(["--crate-type", "bin", "src/main.rs"])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "lto=fat"])
        .args(["-C", "codegen-units=1", "-C", "strip=symbols"])
        // No relocations to make at each start either.
        .args([
            "-C",
            "target-feature=+crt-static",
            "-C",
            "relocation-model=static",
        ])
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("-o")
        .arg(&program)
        .status();
    if !built.is_ok_and(|status| status.success()) {
        println!(
            "cargo::error=cannot build lote-rsh as a static program; is the C library's static \
             archive there (libc6-dev)?"
        );
        exit(1);
    }
}
