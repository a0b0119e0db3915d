use proptest::prelude::*;

use super::*;
use crate::plan::{AllocatedGpu, AllocatedNode};

fn allocation(nodes: u32, gpus: u32) -> AllocationInput {
    AllocationInput {
        nodes: (0..nodes).map(|rank| node(rank, gpus)).collect(),
        shared_scratch: None,
        local_scratch: "/scratch/job".to_owned(),
        peer_launcher: None,
        attempt: 1,
    }
}

fn node(rank: u32, gpus: u32) -> AllocatedNode {
    AllocatedNode {
        rank,
        name: format!("n{rank}"),
        address: format!("10.0.0.{}", rank + 4),
        gpus: (0..gpus)
            .map(|minor| AllocatedGpu {
                uuid: format!("GPU-{rank}-{minor}"),
                minor,
                memory_mib: 80 << 10,
            })
            .collect(),
        cpu_cores: 8,
        ports: vec![2222],
    }
}

fn process(name: &str, node: u32) -> Process {
    Process {
        name: name.to_owned(),
        node,
        command: Command::Shell("exec true".to_owned()),
        variables: vec![],
        working_directory: None,
        output: Some(name.to_owned()),
        gpus: GpuShare::None,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

fn plan(processes: Vec<Process>) -> LaunchPlan {
    LaunchPlan {
        processes,
        ..LaunchPlan::default()
    }
}

/// Changes one process of an acceptable plan of two and returns the findings' paths.
fn findings(change: impl FnOnce(&mut LaunchPlan)) -> Vec<String> {
    let mut plan = plan(vec![process("a", 0), process("b", 1)]);
    change(&mut plan);
    match check(plan, &allocation(2, 2)) {
        Ok(_) => vec![],
        Err(findings) => findings.into_iter().map(|finding| finding.path).collect(),
    }
}

fn file(node: Option<u32>, path: &str) -> PlanFile {
    PlanFile {
        node,
        path: path.to_owned(),
        contents: String::new(),
        executable: false,
    }
}

#[test]
fn a_plain_plan_passes_unchanged() {
    let plan = plan(vec![process("a", 0), process("b", 1)]);
    let checked = check(plan.clone(), &allocation(2, 0)).unwrap();
    assert_eq!(checked.plan(), &plan);
    let stored = serde_json::to_string(&checked).unwrap();
    let read = CheckedPlan::trusted_from_store(serde_json::from_str(&stored).unwrap());
    assert_eq!(read, checked);
}

#[test]
fn a_node_must_exist() {
    assert_eq!(findings(|p| p.processes[1].node = 2), ["/processes/1/node"]);
    assert_eq!(
        findings(|p| p.files.push(file(Some(7), "hosts"))),
        ["/files/0/node"]
    );
    let step = FinishStep {
        node: 2,
        command: Command::Shell("true".into()),
    };
    assert_eq!(findings(|p| p.finish.push(step)), ["/finish/0/node"]);
}

#[test]
fn names_and_outputs_are_unique_and_well_formed() {
    assert_eq!(
        findings(|p| p.processes[1].name = "a".into()),
        ["/processes/1/name"]
    );
    for bad in [
        "",
        "A",
        "a b",
        "../a",
        "cgroup.procs",
        "-a",
        &"x".repeat(65),
    ] {
        assert_eq!(
            findings(|p| p.processes[0].name = bad.into()),
            ["/processes/0/name"],
            "{bad}"
        );
    }
    assert_eq!(
        findings(|p| p.processes.iter_mut().for_each(|p| p.output = None)),
        ["/processes/1/output"]
    );
    for bad in ["", "a/b", "..", "job_prep", "job_prep-1"] {
        let change = |p: &mut LaunchPlan| p.processes[0].output = Some(bad.into());
        assert_eq!(findings(change), ["/processes/0/output"], "{bad}");
    }
}

#[test]
fn gpus_are_leased_and_given_once() {
    let give = |lists: [GpuShare; 2]| {
        findings(|p| {
            p.processes[1].node = 0;
            for (process, gpus) in p.processes.iter_mut().zip(lists) {
                process.gpus = gpus;
            }
        })
    };
    let none: [String; 0] = [];
    assert_eq!(
        give([GpuShare::Some(vec![0]), GpuShare::Some(vec![1])]),
        none
    );
    assert_eq!(give([GpuShare::All, GpuShare::All]), none);
    assert_eq!(give([GpuShare::All, GpuShare::None]), none);
    assert_eq!(
        give([GpuShare::Some(vec![2]), GpuShare::None]),
        ["/processes/0/gpus"]
    );
    assert_eq!(
        give([GpuShare::Some(vec![]), GpuShare::None]),
        ["/processes/0/gpus"]
    );
    assert_eq!(
        give([GpuShare::Some(vec![1]), GpuShare::Some(vec![1])]),
        ["/processes/1/gpus"]
    );
    assert_eq!(
        give([GpuShare::Some(vec![1, 1]), GpuShare::None]),
        ["/processes/0/gpus"]
    );
    assert_eq!(
        give([GpuShare::Some(vec![1]), GpuShare::All]),
        ["/processes/0/gpus"]
    );
}

#[test]
fn files_stay_inside_the_scratch_folder() {
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a/",
        "./a",
        "a\nb",
        "a\0b",
    ] {
        let paths = findings(|p| p.files.push(file(None, bad)));
        assert!(
            paths.iter().all(|path| path == "/files/0/path"),
            "{bad}: {paths:?}"
        );
        assert!(!paths.is_empty(), "{bad}");
    }
    assert!(findings(|p| p.files.push(file(Some(1), "a/..b/c.d"))).is_empty());
}

#[test]
fn a_file_is_written_once_per_node() {
    let write = |nodes: &[Option<u32>]| {
        findings(|p| {
            p.files
                .extend(nodes.iter().map(|&node| file(node, "hosts")));
        })
    };
    assert!(write(&[Some(0), Some(1)]).is_empty());
    assert_eq!(write(&[Some(0), Some(0)]), ["/files/1"]);
    assert_eq!(write(&[None, Some(0)]), ["/files/1"]);
    assert_eq!(write(&[Some(0), None]), ["/files/1"]);
}

#[test]
fn variables_are_well_formed_and_not_the_runtimes() {
    let set = |name: &str| findings(|p| p.variables.push(Variable::new(name, "x")));
    for good in [
        "RANK",
        "_x",
        "AZ_BATCHAI_TASK_INDEX",
        "AZ_BATCHAI_PYTORCH_BACKEND",
        "LD_PRELOAD",
    ] {
        assert!(set(good).is_empty(), "{good}");
    }
    for bad in [
        "",
        "1A",
        "A=B",
        "A B",
        "Ä",
        "HOME",
        "CUDA_VISIBLE_DEVICES",
        "AZ_BATCHAI_NUM_GPUS",
        "AZ_BATCHAI_OUTPUT_MODEL",
        "AZ_BATCH_HOST_LIST",
        "LOTE_TOKEN",
    ] {
        assert_eq!(set(bad), ["/variables/0"], "{bad}");
    }
    let twice = [Variable::new("A", "1"), Variable::new("A", "2")];
    assert_eq!(
        findings(|p| p.processes[0].variables.extend(twice)),
        ["/processes/0/variables/1"]
    );
}

#[test]
fn the_job_must_be_able_to_start_and_to_end() {
    let supporting = |p: &mut LaunchPlan| {
        p.processes
            .iter_mut()
            .for_each(|p| p.part = Part::Supporting);
    };
    assert_eq!(findings(supporting), ["/processes"]);
    assert_eq!(findings(|p| p.processes.clear()), ["/processes"]);
    assert_eq!(findings(|p| p.processes[1].stage = 2), ["/processes"]);
    assert!(findings(|p| p.processes[1].stage = 1).is_empty());
    for empty in [
        Command::Shell(" \n".into()),
        Command::Argv(vec![]),
        Command::Argv(vec![String::new(), "a".into()]),
    ] {
        assert_eq!(
            findings(|p| p.processes[0].command = empty),
            ["/processes/0/command"]
        );
    }
    assert_eq!(
        findings(|p| p.processes[0].working_directory = Some("data".into())),
        ["/processes/0/workingDirectory"]
    );
    let restart = OnFailure::Restart(MAX_RESTARTS + 1);
    assert_eq!(
        findings(|p| p.processes[0].on_failure = restart),
        ["/processes/0/onFailure"]
    );
}

#[test]
fn sizes_and_counts_are_bounded() {
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let shell = Command::Shell(long.clone());
    assert_eq!(
        findings(|p| p.processes[0].command = shell),
        ["/processes/0/command"]
    );
    assert_eq!(
        findings(|p| p.variables.push(Variable::new("A", long))),
        ["/variables/0"]
    );
    assert_eq!(
        findings(|p| p.processes = vec![process("a", 0); MAX_PROCESSES + 1]),
        ["/processes"]
    );
    let big = "x".repeat(MAX_FILE_BYTES);
    let files = (0..5).map(|i| PlanFile {
        contents: big.clone(),
        ..file(None, &format!("f{i}"))
    });
    assert_eq!(findings(|p| p.files.extend(files)), [""]);
    let many = (0..9).map(|i| Variable::new(format!("V{i}"), "x".repeat(MAX_TEXT_BYTES - 8)));
    assert_eq!(
        findings(|p| p.variables.extend(many)),
        ["/processes/0", "/processes/1"]
    );
}

#[test]
fn findings_are_bounded() {
    let foreign: Vec<u32> = (0..1_000_000).map(|i| i + 2).collect();
    let found = findings(|p| p.processes[0].gpus = GpuShare::Some(foreign));
    assert_eq!(found.len(), MAX_FINDINGS);
}

fn any_share() -> impl Strategy<Value = GpuShare> {
    prop_oneof![
        Just(GpuShare::All),
        Just(GpuShare::None),
        prop::collection::vec(0..4u32, 0..3).prop_map(GpuShare::Some),
    ]
}

/// Enough plans must pass for a property of those to say something.
fn mostly(good: &'static str, bad: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![9 => good, 1 => bad]
}

fn any_process() -> impl Strategy<Value = Process> {
    (
        (mostly("[a-z]{3}", "[a-c.]{1,2}"), 0..4u32, any_share()),
        prop::option::of(mostly("[a-z]{3}", "[a-c/.]{0,2}")),
        (mostly("a", "[ a\0]{0,2}"), mostly("A", "(HOME|A=)")),
        (any::<bool>(), 0..3u32),
    )
        .prop_map(
            |((name, node, gpus), output, (line, variable), (primary, stage))| Process {
                command: Command::Shell(line.clone()),
                variables: vec![Variable::new(variable, line)],
                output,
                gpus,
                part: if primary {
                    Part::Primary
                } else {
                    Part::Supporting
                },
                stage,
                ..process(&name, node)
            },
        )
}

fn any_plan() -> impl Strategy<Value = LaunchPlan> {
    let any_file = (prop::option::of(0..4u32), "[a./]{0,4}").prop_map(|(n, path)| file(n, &path));
    (
        prop::collection::vec(any_process(), 0..4),
        prop::collection::vec(any_file, 0..3),
    )
        .prop_map(|(processes, files)| LaunchPlan {
            files,
            ..plan(processes)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever passes keeps every promise that a node relies on, each stated here
    /// in another way than the check does.
    #[test]
    fn what_passes_is_safe_to_run(plan in any_plan(), nodes in 1..4u32, gpus in 0..4u32) {
        let allocation = allocation(nodes, gpus);
        let Ok(checked) = check(plan, &allocation) else { return Ok(()) };
        let text = serde_json::to_string(&checked).unwrap();
        prop_assert!(!text.contains("\\u0000"));
        let root = std::path::Path::new("/scratch");
        for file in &checked.files {
            prop_assert!(root.join(&file.path).components().all(|c| c != std::path::Component::ParentDir));
            prop_assert!(root.join(&file.path).starts_with(root));
        }
        for node in 0..nodes {
            let here = checked.processes.iter().filter(|p| p.node == node);
            let mut used = vec![0; gpus as usize];
            for process in here {
                if let GpuShare::Some(list) = &process.gpus {
                    for &gpu in list {
                        used[gpu as usize] += 1;
                    }
                }
            }
            prop_assert!(used.iter().all(|&count| count <= 1));
        }
        prop_assert!(checked.processes.iter().all(|p| p.node < nodes));
        prop_assert!(checked.processes.iter().any(|p| p.part == Part::Primary));
        prop_assert!(checked.processes.iter().any(|p| p.stage == 0));
    }

    /// A well-formed plan is never refused, whatever its size.
    #[test]
    fn a_rank_per_gpu_passes(nodes in 1..9u32, gpus in 1..9u32) {
        let processes = (0..nodes * gpus)
            .map(|rank| Process {
                gpus: GpuShare::Some(vec![rank % gpus]),
                ..process(&format!("rank-{rank}"), rank / gpus)
            })
            .collect();
        prop_assert!(check(plan(processes), &allocation(nodes, gpus)).is_ok());
    }
}
