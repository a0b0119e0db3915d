//! Calls of `ip` and `tc`, from Debian's iproute2.

use std::process::Command;

/// Runs `ip`; what it says on failure is the error.
pub fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments)
}

/// Runs `tc`, likewise.
pub fn tc(arguments: &[&str]) -> Result<(), String> {
    run("tc", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run {program}: {error}; install iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{program} {}: {}",
        arguments.join(" "),
        said.trim()
    ))
}
