//! The unmodified Python SDK against a live daemon, over plain HTTP.

use std::process::Command;

use lote_tests::daemon::Daemon;

/// The interpreter of a virtual environment with `azure-mgmt-batchai` 2.0.0.
fn sdk_python(test: &str) -> Option<String> {
    let found = std::env::var("LOTE_VENV")
        .ok()
        .map(|venv| format!("{venv}/bin/python"));
    if found.is_none() {
        crate::skip(
            test,
            "LOTE_VENV names no virtual environment; `cargo xtask test sdk` makes one",
        );
    }
    found
}

#[test]
fn the_python_sdk_trains_and_reads_the_result() {
    let Some(python) = sdk_python("the_python_sdk_trains_and_reads_the_result") else {
        return;
    };
    let daemon = Daemon::start(&[]);
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/first_job.py");
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/train_digits.py");
    let output = Command::new(python)
        .args([here, &daemon.url(), demo])
        .output()
        .expect("the interpreter runs");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("state succeeded"), "{stdout}\n{stderr}");
    assert!(stdout.contains("accuracy 0.9"), "{stdout}\n{stderr}");
}
