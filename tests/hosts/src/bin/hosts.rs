//! `cargo xtask hosts N`: a site of N hosts to play with.

use std::process::ExitCode;

use lote_test_hosts::{Lab, LabOptions, console};

fn main() -> ExitCode {
    let count = std::env::args().nth(1).map_or(Ok(4), |text| text.parse());
    let Some(count) = count.ok().filter(|count| (1..=100).contains(count)) else {
        eprintln!("give the number of hosts, 1 to 100");
        return ExitCode::FAILURE;
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("network namespaces need root: run this command as root");
        return ExitCode::FAILURE;
    }
    let mut lab = Lab::start(&LabOptions::hosts(count));
    print!("{}", console::introduction(&lab));
    console::run(&mut lab, std::io::stdin().lock());
    ExitCode::SUCCESS
}
