//! `cargo xtask bench mpi`: how fast `mpirun` starts 64 ranks on four hosts, by `lote-rsh` inside a
//! job and by `ssh` beside it, on the same hosts.
//!
//! Each host has an `sshd` of its own with keys made here. Figures are printed, never asserted.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that went wrong has no value; there is nothing to recover"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use lote_test_hosts::{HostDaemon, Lab, LabOptions};
use lote_tests::client::DEFAULT_WORKSPACE;
use lote_tests::{processes, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

const HOSTS: u8 = 4;
const RANKS: usize = 64;

/// Starts of 64 ranks, and of one command; the medians are printed.
const RUNS: usize = 10;
const COMMANDS: usize = 50;

/// Long enough for all of them on any machine.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where each host's `sshd` listens.
const SSH_PORT: u16 = 2222;

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("network namespaces need root: run this command as root");
        return ExitCode::FAILURE;
    }
    let lab = Lab::start(&LabOptions::hosts(HOSTS).with_same_paths());
    let servers = SshServers::start(&lab);
    println!(
        "{RANKS} ranks of `true` on {HOSTS} hosts by mpirun, and one command on another host:"
    );
    for (name, text) in [
        ("ssh", servers.measure(&lab)),
        ("lote-rsh", measure_job(&lab)),
    ] {
        report(name, &text);
    }
    ExitCode::SUCCESS
}

/// Writes `{kind} {milliseconds}` for every start. `$start` starts a command on `$other`, `$mpirun`
/// the ranks.
fn script(start: &str, mpirun: &str, prepare: &str) -> String {
    format!(
        "{prepare}
         took() {{ local kind=$1 before=$(date +%s%N); shift; \"$@\" > /dev/null || exit 1
                   echo $kind $(( ($(date +%s%N) - before) / 10000 )); }}
         {start} $other true; {mpirun} true
         for i in $(seq {COMMANDS}); do took command {start} $other true; done
         for i in $(seq {RUNS}); do took ranks {mpirun} true; done
         for i in $(seq {RUNS}); do took nodes {mpirun_one_each} true; done",
        mpirun_one_each = mpirun.replace(&format!("-np {RANKS}"), &format!("-np {HOSTS}")),
    )
}

/// Prints the medians.
fn report(name: &str, text: &str) {
    let median = |kind: &str| {
        let times = text.lines().filter_map(|line| line.strip_prefix(kind));
        let mut times: Vec<f64> = times
            .map(|time| time.trim().parse().expect("a time"))
            .collect();
        assert!(!times.is_empty(), "no times of {kind} in\n{text}");
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] / 100.0
    };
    println!("  {name:9} one command   {:8.1} ms", median("command"));
    println!("  {name:9} 1 rank a host {:8.1} ms", median("nodes"));
    println!("  {name:9} {RANKS} ranks      {:8.1} ms", median("ranks"));
}

fn mpirun(host_file: &str) -> String {
    format!(
        "mpirun.openmpi --allow-run-as-root -np {RANKS} --oversubscribe --bind-to none --map-by node \
         --hostfile {host_file}"
    )
}

/// By `lote-rsh` in a job on all hosts.
fn measure_job(lab: &Lab) -> String {
    let client = lab.client();
    let experiment = client.experiment("bench");
    let path = format!("{DEFAULT_WORKSPACE}/clusters/c");
    let body = json!({"properties": {
        "vmSize": "cpu",
        "scaleSettings": {"manual": {"targetNodeCount": HOSTS}},
        "userAccountSettings": {"adminUserName": "op"},
    }});
    let answer = client.put(&path, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let file = lab.folder().join("bench.sh");
    let prepare = "IFS=, read -r _ other _ <<< $AZ_BATCH_HOST_LIST";
    let line = mpirun("$AZ_BATCHAI_MPI_HOST_FILE");
    fs::write(&file, script("$LOTE_PEER_LAUNCHER", &line, prepare)).expect("a script");
    let job = json!({
        "cluster": {"id": path},
        "nodeCount": HOSTS,
        "stdOutErrPathPrefix": "$AZ_BATCHAI_MOUNT_ROOT",
        "customToolkitSettings": {"commandLine": format!("bash {}", file.display())},
    });
    let job = client.submit(&experiment, "bench", &job);
    let ended = wait_for("the job to end", PATIENCE, || {
        let job = client.job(&job);
        let state = job["executionState"].clone();
        (state == "succeeded" || state == "failed").then_some(job)
    });
    let output = client.stdout(&job);
    assert_eq!(ended["executionState"], "succeeded", "{ended:#}\n{output}");
    output
}

/// An `sshd` on every host, which lets root in by a key made here.
struct SshServers {
    children: Vec<Child>,
    folder: PathBuf,
}

impl SshServers {
    fn start(lab: &Lab) -> Self {
        let folder = lab.folder().join("ssh");
        fs::create_dir(&folder).expect("a folder for keys");
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("its mode");
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(key))
                .status();
            assert!(made.expect("ssh-keygen runs").success());
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized")).expect("a copy");
        // Its place to give up privileges in, which a service would make.
        fs::create_dir_all("/run/sshd").expect("a folder for sshd");
        let children = lab
            .daemons
            .iter()
            .map(|daemon| server(daemon, &folder))
            .collect();
        Self { children, folder }
    }

    /// The options by which `ssh` gets in and asks nobody anything.
    fn ssh(&self) -> String {
        format!(
            "ssh -x -q -p {SSH_PORT} -i {} -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o BatchMode=yes",
            self.folder.join("user").display()
        )
    }

    fn measure(&self, lab: &Lab) -> String {
        let first = lab.daemons.first().expect("a lab has hosts");
        let addresses = lab.daemons.iter().map(|daemon| daemon.host.address());
        let lines: Vec<String> = addresses
            .map(|address| format!("{address} slots=1\n"))
            .collect();
        let host_file = self.folder.join("hosts");
        fs::write(&host_file, lines.concat()).expect("a host file");
        let agent = self.folder.join("agent");
        fs::write(&agent, format!("#!/bin/sh\nexec {} \"$@\"\n", self.ssh())).expect("a script");
        fs::set_permissions(&agent, Permissions::from_mode(0o700)).expect("its mode");
        let line = format!(
            "{} --mca plm_rsh_agent {}",
            mpirun(&host_file.display().to_string()),
            agent.display()
        );
        let other = lab.daemons.get(1).expect("a lab has hosts").host.address();
        wait_for("sshd to answer", PATIENCE, || {
            let mut asked = first.host.command(&agent);
            asked
                .args([other, "true"])
                .status()
                .ok()?
                .success()
                .then_some(())
        });
        let script = script(&self.ssh(), &line, &format!("other={other}"));
        let output = first.host.command("bash").args(["-c", &script]).output();
        let output = output.expect("bash runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn server(daemon: &HostDaemon, folder: &Path) -> Child {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut command = daemon.host.command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f", "/dev/null", "-p", &SSH_PORT.to_string()]);
    command.args(["-h", &file("host")]);
    for option in [
        format!("AuthorizedKeysFile={}", file("authorized")),
        format!("PidFile={}", file(&format!("{}.pid", daemon.name()))),
        "StrictModes=no".to_owned(),
        "PermitRootLogin=yes".to_owned(),
        "MaxStartups=100".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    let log = fs::File::create(folder.join(format!("{}.log", daemon.name()))).expect("a log");
    command.stderr(log).spawn().expect("sshd starts")
}

impl Drop for SshServers {
    fn drop(&mut self) {
        for child in &mut self.children {
            processes::signal(child, Signal::SIGTERM).ok();
            child.wait().ok();
        }
    }
}
