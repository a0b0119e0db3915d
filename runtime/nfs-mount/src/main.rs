//! The client as a program of its own, for its tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    lote_nfs_mount::main(std::env::args_os())
}
