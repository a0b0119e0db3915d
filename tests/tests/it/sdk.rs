//! The unmodified Batch AI clients for Python and JavaScript against a live
//! daemon, over plain HTTP. Each script has a theme and a daemon of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use lote_tests::daemon::Daemon;
use lote_tests::images::Shelf;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk");

/// The interpreter of a virtual environment with `azure-mgmt-batchai` 2.0.0.
fn python(test: &str) -> Option<Command> {
    let Ok(environment) = std::env::var("LOTE_VENV") else {
        crate::skip(
            test,
            "LOTE_VENV names no virtual environment; `cargo xtask test sdk` makes one",
        );
        return None;
    };
    let mut command = Command::new(format!("{environment}/bin/python"));
    // The checkout stays as it is.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// Node.js with `@azure/arm-batchai` 2.2.1.
fn javascript(test: &str) -> Option<Command> {
    let Ok(modules) = std::env::var("LOTE_NODE_MODULES") else {
        crate::skip(
            test,
            "LOTE_NODE_MODULES names no folder; `cargo xtask test sdk` makes one",
        );
        return None;
    };
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules);
    Some(command)
}

fn run(command: &mut Command, script: &str, daemon: &Daemon, arguments: &[&str]) -> String {
    let output: Output = command
        .arg(format!("{SCRIPTS}/{script}"))
        .arg(daemon.url())
        .args(arguments)
        .output()
        .expect("the interpreter runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{stdout}\n{stderr}\n{}",
        daemon.log()
    );
    stdout
}

/// Runs a script that prints one line for each thing it has found right.
fn check(command: Option<Command>, script: &str) {
    let Some(mut command) = command else { return };
    let stdout = run(&mut command, script, &Daemon::start(&[]), &[]);
    assert!(stdout.contains("ok: "), "the script checked nothing");
}

#[test]
fn the_python_sdk_trains_and_reads_the_result() {
    let Some(mut python) = python("the_python_sdk_trains_and_reads_the_result") else {
        return;
    };
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/train_digits.py");
    let daemon = Daemon::start(&[]);
    let stdout = run(&mut python, "python/first_job.py", &daemon, &[demo]);
    assert!(stdout.contains("state succeeded"), "{stdout}");
    assert!(stdout.contains("accuracy 0.9"), "{stdout}");
}

#[test]
fn the_python_sdk_trains_on_file_servers_and_shares() {
    let Some(mut python) = python("the_python_sdk_trains_on_file_servers_and_shares") else {
        return;
    };
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/train_digits.py");
    // Not below /tmp or /var/tmp, of which jobs have their own.
    let site = tempfile::Builder::new()
        .prefix("lote-shares-")
        .tempdir_in("/srv")
        .expect("a folder");
    fs::set_permissions(site.path(), Permissions::from_mode(0o711)).expect("its mode");
    let (table, shares) = (site.path().join("table.toml"), site.path().join("shares"));
    let line = format!(
        "'recipes/*' = {{ directory = '{}/{{share}}', create = true, owner = 'job' }}\n",
        shares.display()
    );
    fs::write(&table, line).expect("the operator's table");
    fs::set_permissions(&table, Permissions::from_mode(0o600)).expect("its mode");
    fs::create_dir(&shares).expect("a folder for shares");
    let daemon = Daemon::start(&["--storage-table", &table.display().to_string()]);
    let shares = shares.display().to_string();
    let stdout = run(&mut python, "python/storage.py", &daemon, &[demo, &shares]);
    assert_eq!(stdout.matches("ok: ").count(), 3, "{stdout}");
}

#[test]
fn the_python_sdk_bodies_with_secrets_mounts_and_containers() {
    let test = "the_python_sdk_bodies_with_secrets_mounts_and_containers";
    let Some(mut python) = python(test) else {
        return;
    };
    // A node that takes jobs with images, also where it cannot run containers.
    let shelf = Shelf::new();
    let table = shelf.table("[default]\npull = false\n[[image]]\nname = 'local'\nhost = true\n");
    let daemon = Daemon::start(&["--image-table", &table]);
    let stdout = run(&mut python, "python/bodies.py", &daemon, &[]);
    assert!(stdout.contains("ok: "), "the script checked nothing");
}

/// One test for each script, so that the summary counts them.
macro_rules! scripts {
    ($($test:ident: $client:ident $script:literal;)*) => {$(
        #[test]
        fn $test() {
            check($client(stringify!($test)), $script);
        }
    )*};
}

scripts! {
    the_python_sdk_workspaces_and_experiments: python "python/workspaces.py";
    the_python_sdk_clusters: python "python/clusters.py";
    the_python_sdk_file_servers: python "python/file_servers.py";
    the_python_sdk_jobs: python "python/jobs.py";
    the_python_sdk_files: python "python/files.py";
    the_python_sdk_failures: python "python/failures.py";
    the_python_sdk_subscription: python "python/subscription.py";
    the_javascript_sdk_resources: javascript "javascript/resources.js";
    the_javascript_sdk_file_servers: javascript "javascript/file_servers.js";
    the_javascript_sdk_jobs: javascript "javascript/jobs.js";
    the_javascript_sdk_subscription: javascript "javascript/subscription.js";
}
