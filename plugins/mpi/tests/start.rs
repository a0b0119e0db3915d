//! The start script, run by the machine's `bash` with launchers that print what they are
//! asked for. What the launchers of real MPIs do with it is tested with real hosts.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use lote_mpi::hosts::Host;
use lote_mpi::script::Script;
use lote_plugin_sdk::testkit;
use lote_plugin_sdk::types::Allocation;
use serde_json::json;
use tempfile::TempDir;

const LINE: &str = "exec train --name \"it's\" $RANK";
const AGENT: &str = "/job/peer/lote-rsh";

const OPEN_MPI_1: &str = "mpirun (Open MPI) 1.10.7\n\nReport bugs to …";
const OPEN_MPI_4: &str = "mpirun.openmpi (OpenRTE) 4.1.4\n\nReport bugs to …";
const OPEN_MPI_5: &str = "mpirun (Open MPI) 5.0.11\n\nReport bugs to …";
const MPICH: &str = "HYDRA build details:\n    Version:                                 4.0.2";
const INTEL: &str = "Intel(R) MPI Library for Linux* OS, Version 2021.18.1 Build 20260626";

/// A node with a script and, if wanted, an MPI on its `PATH`.
struct Node {
    folder: TempDir,
    script: Script,
}

impl Node {
    fn new(addresses: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = |(rank, address): (usize, &&str)| Host {
            address: (*address).to_owned(),
            name: format!("node-{rank}"),
            slots: 2,
        };
        let hosts: Vec<Host> = addresses.iter().enumerate().map(host).collect();
        let agent = (hosts.len() > 1).then_some(AGENT);
        let allocation: Allocation =
            serde_json::from_value(testkit::allocation(1, &json!({}))).unwrap();
        let mut script = Script::new(4, &hosts, agent, &allocation);
        script.intel_root = path(&folder, "intel");
        script.rdma_devices = path(&folder, "rdma");
        fs::create_dir(folder.path().join("bin")).unwrap();
        Self { folder, script }
    }

    /// Puts a launcher into a folder: it says its version, or what it was asked for.
    fn install(&self, place: &str, version: &str) {
        let script = format!(
            "#!/bin/bash\nif [ \"$1\" = --version ]; then printf '%s\\n' '{version}'; exit; fi\nprintf '%s\\n' \"${{0##*/}}\" \"$@\"\n"
        );
        let path = self.folder.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn start(&self, variables: &[(&str, &str)]) -> Output {
        self.start_line(LINE, variables)
    }

    fn start_line(&self, line: &str, variables: &[(&str, &str)]) -> Output {
        let file = self.folder.path().join("start");
        fs::write(&file, self.script.text()).unwrap();
        Command::new("/bin/bash")
            .arg(file)
            .arg(line)
            .env_clear()
            .env("PATH", self.folder.path().join("bin"))
            .env("TMPDIR", "/tmp")
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    }

    /// What the launcher was asked for, its line left out, which is always the same.
    fn asked(&self, variables: &[(&str, &str)]) -> String {
        let output = self.start(variables);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = text.lines().collect();
        let shell = words.iter().position(|word| *word == "bash");
        let (asked, rest) = words.split_at(shell.unwrap());
        assert_eq!((rest[1], rest.last()), ("-c", Some(&LINE)));
        asked.join(" ")
    }
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn two_nodes(version: &str) -> Node {
    let node = Node::new(&["10.0.0.4", "10.0.0.5"]);
    node.install("bin/mpirun", version);
    node
}

fn one_node(version: &str) -> Node {
    let node = Node::new(&["10.0.0.4"]);
    node.install("bin/mpirun", version);
    node
}

const OPEN: &str = "mpirun -np 4 --hostfile /scratch/job/mpi/hosts --allow-run-as-root --bind-to none --map-by slot";

#[test]
fn open_mpi_is_given_the_agent_and_the_network() {
    for version in [OPEN_MPI_1, OPEN_MPI_4] {
        assert_eq!(
            two_nodes(version).asked(&[]),
            format!(
                "{OPEN} --mca plm_rsh_agent {AGENT} --mca plm_rsh_no_tree_spawn 1 --mca btl_tcp_if_include 10.0.0.4/31 --mca oob_tcp_if_include 10.0.0.4/31"
            )
        );
    }
}

#[test]
fn open_mpi_5_has_names_of_its_own_for_that() {
    assert_eq!(
        two_nodes(OPEN_MPI_5).asked(&[]),
        format!(
            "{OPEN} --prtemca plm_ssh_agent {AGENT} --prtemca plm_ssh_no_tree_spawn 1 --mca btl_tcp_if_include 10.0.0.4/31 --prtemca prte_if_include 10.0.0.4/31"
        )
    );
}

#[test]
fn hydra_launchers_leave_the_environment_to_the_agent() {
    assert_eq!(
        two_nodes(MPICH).asked(&[]),
        format!(
            "mpirun -genvnone -n 4 -f /scratch/job/mpi/machines -localhost 10.0.0.4 -launcher rsh -launcher-exec {AGENT}"
        )
    );
    assert_eq!(
        two_nodes(INTEL).asked(&[]),
        format!(
            "mpirun -genvnone -n 4 -f /scratch/job/mpi/machines -bootstrap rsh -bootstrap-exec {AGENT}"
        )
    );
}

#[test]
fn one_node_needs_no_agent() {
    assert_eq!(
        one_node(OPEN_MPI_4).asked(&[]),
        format!("{OPEN} --mca plm_rsh_agent false")
    );
    assert_eq!(
        one_node(OPEN_MPI_5).asked(&[]),
        format!("{OPEN} --prtemca plm_ssh_agent false")
    );
    for version in [MPICH, INTEL] {
        assert_eq!(one_node(version).asked(&[]), "mpirun -n 4");
    }
}

#[test]
fn without_one_network_the_usual_interfaces_are_left_out() {
    let node = Node::new(&["10.0.0.4", "fd00::5"]);
    node.install("bin/mpirun", OPEN_MPI_4);
    let asked = node.asked(&[]);
    assert!(
        asked.ends_with("--mca btl_tcp_if_exclude docker0,lo"),
        "{asked}"
    );
}

#[test]
fn a_user_who_names_interfaces_is_not_overruled() {
    for name in ["OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_btl_tcp_if_exclude"] {
        let asked = two_nodes(OPEN_MPI_4).asked(&[(name, "ib0")]);
        assert!(asked.ends_with("plm_rsh_no_tree_spawn 1"), "{asked}");
    }
}

#[test]
fn mpiexec_will_do() {
    let node = Node::new(&["10.0.0.4"]);
    node.install("bin/mpiexec", MPICH);
    assert_eq!(node.asked(&[]), "mpiexec -n 4");
}

#[test]
fn intel_mpi_is_found_where_there_is_rdma() {
    let node = one_node(OPEN_MPI_4);
    node.install("intel/impi/2018.4.274/intel64/bin/mpirun", INTEL);
    let intel = node.folder.path().join("intel/impi/2018.4.274/intel64/bin");
    // It reads its arguments, as Intel's own does.
    let vars = format!("[ $# = 0 ] && PATH={}:$PATH\n", intel.display());
    fs::write(intel.join("mpivars.sh"), vars).unwrap();
    assert!(
        node.asked(&[]).starts_with("mpirun -np 4"),
        "no RDMA, so that on PATH"
    );
    fs::create_dir(&node.script.rdma_devices).unwrap();
    assert!(node.asked(&[]).starts_with("mpirun -np 4"), "no device yet");
    fs::write(Path::new(&node.script.rdma_devices).join("mlx5_0"), "").unwrap();
    assert_eq!(node.asked(&[]), "mpirun -n 4");
}

#[test]
fn what_is_missing_or_unknown_is_said() {
    let nothing = Node::new(&["10.0.0.4"]).start(&[]);
    assert_eq!(nothing.status.code(), Some(127));
    let said = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert!(
        said.starts_with("lote: there is no mpirun on PATH; install"),
        "{said}"
    );
    let unknown = one_node("LAM 7.1.4").start(&[]);
    assert_eq!(unknown.status.code(), Some(126));
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(
        said.contains("/bin/mpirun is none of Open MPI") && said.contains("LAM 7.1.4"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_long_folder_for_temporary_files_is_not_open_mpis() {
    let node = two_nodes(OPEN_MPI_4);
    let report = "#!/bin/bash\n[ \"$1\" = --version ] && { echo '(Open MPI) 4.1'; exit; }\necho \"$OMPI_MCA_orte_tmpdir_base\"\n";
    fs::write(node.folder.path().join("bin/mpirun"), report).unwrap();
    let base = |folder: &str| node.start(&[("TMPDIR", folder)]).stdout;
    assert_eq!(base("/tmp"), b"\n");
    assert_eq!(base(&format!("/{}", "x".repeat(80))), b"/tmp\n");
}

/// Does what `mpirun` does on the node of rank 3, in the end.
const BECOMES_RANK_3: &str = "#!/bin/bash
[ \"$1\" = --version ] && { echo '(Open MPI) 4.1'; exit; }
until [ \"$1\" = bash ]; do shift; done
PATH=/usr/bin:/bin OMPI_COMM_WORLD_RANK=3 AZ_BATCH_NODE_ID=n2 exec \"$@\"
";

#[test]
fn a_rank_that_fails_says_where_it_was() {
    let node = two_nodes(OPEN_MPI_4);
    fs::write(node.folder.path().join("bin/mpirun"), BECOMES_RANK_3).unwrap();
    for (line, code, said) in [
        ("exit 0", 0, ""),
        ("exit 42", 42, "rank 3 on node n2 ended with code 42"),
        ("kill -9 $$", 137, "rank 3 on node n2 ended with code 137"),
        // What mpirun hands on to a rank is the rank's.
        (
            "trap 'exit 7' USR1; kill -USR1 $PPID $$; sleep 9",
            7,
            "rank 3 on node n2 ended with code 7",
        ),
        // One that was ended because another has failed is not the one to tell of.
        ("kill -TERM $PPID; exit 143", 143, ""),
    ] {
        let output = node.start_line(line, &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<&str> = errors
            .lines()
            .filter(|line| line.starts_with("rank "))
            .collect();
        assert_eq!(
            (output.status.code(), ours.concat().as_str()),
            (Some(code), said),
            "{line}: {errors}"
        );
    }
}
