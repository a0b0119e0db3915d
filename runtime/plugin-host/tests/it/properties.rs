//! Whatever the settings and the nodes, a framework's plugin either says what is wrong or
//! makes a plan that holds together. All nine run natively here.

use std::collections::{BTreeMap, HashSet};

use lote_model::plan::{AllocationInput, Command, GpuShare, LaunchPlan, Part, Process};
use lote_model::plan_check;
use lote_plugin_sdk::bindings::exports::lote::framework::framework::Guest;
use lote_plugin_sdk::types::{Allocation, Job, PlanFailure};
use lote_plugin_sdk::{Adapter, Framework, testkit};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A job and the nodes it was granted.
#[derive(Clone, Debug)]
struct Input {
    settings: Value,
    variables: Value,
    nodes: u32,
    allocation: Value,
}

fn gangs() -> impl Strategy<Value = (u32, Value)> {
    let shared = proptest::option::of(Just("/shared/job"));
    let peer = proptest::option::weighted(0.8, Just("/job/peer/lote-rsh"));
    let sizes = (1..=9_u32, 0..=4_u32, 0..=6_u32);
    (sizes, shared, peer, 1..3_u32).prop_map(|((nodes, gpus, ports), shared, peer, attempt)| {
        let gang = json!({
            "gpusPerNode": gpus, "portsPerNode": ports, "sharedScratch": shared,
            "peerLauncher": peer, "attempt": attempt,
        });
        (nodes, testkit::allocation(nodes.into(), &gang))
    })
}

/// Settings of members that are each there or not, with values of which some are wrong.
fn settings(members: &[(&'static str, BoxedStrategy<Value>)]) -> BoxedStrategy<Value> {
    let members = members.to_vec();
    let fields: Vec<_> = members
        .into_iter()
        .map(|(name, values)| {
            // What is required is there more often.
            let chance = if name.ends_with("FilePath") || name == "commandLine" {
                0.9
            } else {
                0.5
            };
            proptest::option::weighted(chance, values.prop_map(move |value| (name, value)))
        })
        .collect();
    fields
        .prop_map(|fields| {
            let fields = fields.into_iter().flatten();
            Value::Object(
                fields
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        })
        .boxed()
}

fn text() -> BoxedStrategy<Value> {
    prop_oneof![
        8 => Just(json!("$AZ_BATCHAI_INPUT_CODE/train.py")),
        4 => "[a-zA-Z0-9 $'\"\\\\/;=-]{0,40}".prop_map(Value::from),
        1 => Just(json!(" ")),
    ]
    .boxed()
}

fn number(max: u32) -> BoxedStrategy<Value> {
    prop_oneof![8 => (1..=max).prop_map(Value::from), 1 => Just(json!(0)), 1 => Just(json!(u32::MAX))].boxed()
}

fn one_of(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    proptest::sample::select(words)
        .prop_map(Value::from)
        .boxed()
}

fn python() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    vec![
        ("pythonScriptFilePath", text()),
        ("pythonInterpreterPath", text()),
        ("commandLineArgs", text()),
    ]
}

fn with(
    mut members: Vec<(&'static str, BoxedStrategy<Value>)>,
    more: impl IntoIterator<Item = (&'static str, BoxedStrategy<Value>)>,
) -> Vec<(&'static str, BoxedStrategy<Value>)> {
    members.extend(more);
    members
}

fn inputs(
    members: &[(&'static str, BoxedStrategy<Value>)],
) -> impl Strategy<Value = Input> + use<> {
    let forms = one_of(&["chief", "worker", "legacy", "boss"]);
    let variables = proptest::option::weighted(0.3, forms);
    (settings(members), variables, gangs()).prop_map(|(settings, form, (nodes, allocation))| {
        let variables = form.map(|form| json!([{"name": "TF_CONFIG_FORM", "value": form}]));
        let variables = variables.unwrap_or_else(|| json!([]));
        Input {
            settings,
            variables,
            nodes,
            allocation,
        }
    })
}

/// A plan with all that it was made for and of.
struct Planned {
    settings: Value,
    allocation: AllocationInput,
    plan: LaunchPlan,
}

/// Runs one input, checks what holds for every plugin, and answers the plan, if any.
fn run<F: Framework>(input: &Input) -> Result<Option<Planned>, TestCaseError> {
    let job = |settings: &str| -> Job {
        let job = json!({
            "id": "job", "nodeCount": input.nodes, "settings": settings,
            "mounts": [], "variables": input.variables,
        });
        serde_json::from_value(job).unwrap()
    };
    let allocation: Allocation = serde_json::from_value(input.allocation.clone()).unwrap();
    let sent = job(&input.settings.to_string());
    let settings = match Adapter::<F>::validate(sent.clone()) {
        Ok(settings) => settings,
        Err(issues) => {
            prop_assert!(!issues.is_empty());
            for issue in issues {
                prop_assert!(
                    issue.path.is_empty() || issue.path.starts_with('/'),
                    "{issue:?}"
                );
                prop_assert!(!issue.message.is_empty());
            }
            return Ok(None);
        }
    };
    // What is written back is complete: it stays as it is, and gives the same plan.
    prop_assert_eq!(
        &Adapter::<F>::validate(job(&settings)),
        &Ok(settings.clone())
    );
    let plan = Adapter::<F>::plan(sent, allocation.clone());
    prop_assert_eq!(&plan, &Adapter::<F>::plan(job(&settings), allocation));
    let plan = match plan {
        Ok(plan) => plan,
        Err(PlanFailure::Unsuitable(reason)) => {
            prop_assert!(!reason.is_empty());
            return Ok(None);
        }
        Err(failure) => return Err(TestCaseError::fail(format!("accepted, then {failure:?}"))),
    };
    let plan: LaunchPlan = serde_json::from_value(serde_json::to_value(plan).unwrap()).unwrap();
    let allocation: AllocationInput = serde_json::from_value(input.allocation.clone()).unwrap();
    let checked = plan_check::check(plan.clone(), &allocation);
    prop_assert!(checked.is_ok(), "{:?}", checked.err());
    gpus_are_given_once(&plan)?;
    let settings = serde_json::from_str(&settings).unwrap();
    Ok(Some(Planned {
        settings,
        allocation,
        plan,
    }))
}

fn gpus_are_given_once(plan: &LaunchPlan) -> Result<(), TestCaseError> {
    let mut given = HashSet::new();
    for process in &plan.processes {
        if let GpuShare::Some(gpus) = &process.gpus {
            for gpu in gpus {
                prop_assert!(given.insert((process.node, *gpu)), "{process:?}");
            }
        }
    }
    Ok(())
}

impl Planned {
    fn number(&self, member: &str) -> Option<usize> {
        usize::try_from(self.settings[member].as_u64()?).ok()
    }

    fn primaries(&self) -> Vec<&Process> {
        let processes = self.plan.processes.iter();
        processes
            .filter(|process| process.part == Part::Primary)
            .collect()
    }

    fn variable(&self, name: &str) -> &str {
        let mut variables = self.plan.variables.iter();
        let found = variables.find(|variable| variable.name == name);
        found.map_or("", |variable| &variable.value)
    }

    /// One process per rank: numbers without a gap, nodes filled in their order.
    fn has_ranks(&self, count: usize, variable: &str) -> Result<(), TestCaseError> {
        let primaries = self.primaries();
        prop_assert_eq!(primaries.len(), count);
        let mut node = 0;
        for (rank, process) in primaries.into_iter().enumerate() {
            prop_assert_eq!(of(process, variable), rank.to_string());
            prop_assert!(process.node >= node);
            node = process.node;
        }
        Ok(())
    }

    /// One process starts all ranks, and the hosts that it is told have room for them.
    fn is_started_by_mpi(&self) -> Result<(), TestCaseError> {
        let processes = self.number("processCount").unwrap();
        prop_assert_eq!(self.plan.processes.len(), 1);
        prop_assert_eq!(self.plan.processes[0].node, 0);
        let Command::Shell(line) = &self.plan.processes[0].command else {
            return Err(TestCaseError::fail("no shell line"));
        };
        let contents = |path: &str| {
            let mut files = self.plan.files.iter();
            files
                .find(|file| file.path == path)
                .map(|file| file.contents.as_str())
        };
        let Some(hosts) = contents("mpi/hosts") else {
            prop_assert_eq!(processes, 1, "{}", line);
            return Ok(());
        };
        prop_assert!(
            line.starts_with("exec '/scratch/job/mpi/start' '"),
            "{}",
            line
        );
        let hosts: Vec<(&str, usize)> = hosts
            .lines()
            .map(|line| line.split_once(" slots=").unwrap())
            .map(|(address, slots)| (address, slots.parse().unwrap()))
            .collect();
        let nodes = self
            .allocation
            .nodes
            .iter()
            .map(|node| node.address.as_str());
        prop_assert!(
            hosts
                .iter()
                .map(|(address, _)| *address)
                .eq(nodes.take(hosts.len()))
        );
        let room = |hosts: &[(&str, usize)]| hosts.iter().map(|(_, slots)| slots).sum::<usize>();
        prop_assert!(room(&hosts) >= processes);
        prop_assert!(
            room(&hosts[..hosts.len() - 1]) < processes,
            "the last has none"
        );
        let script = contents("mpi/start").unwrap();
        prop_assert!(
            script.contains(&format!("processes='{processes}'\n")),
            "{}",
            script
        );
        let has_agent = !script.contains("agent=''\n");
        prop_assert_eq!(has_agent, hosts.len() > 1);
        Ok(())
    }
}

fn of<'a>(process: &'a Process, name: &str) -> &'a str {
    let found = process
        .variables
        .iter()
        .find(|variable| variable.name == name);
    found.map_or("", |variable| &variable.value)
}

/// Every task of a cluster listens at a port of its own, leased on its node.
fn endpoints_are_leased(planned: &Planned, lists: &[&str]) -> Result<(), TestCaseError> {
    let leased: BTreeMap<&str, &Vec<u16>> = planned
        .allocation
        .nodes
        .iter()
        .map(|node| (node.address.as_str(), &node.ports))
        .collect();
    let mut taken = HashSet::new();
    for endpoint in lists
        .iter()
        .flat_map(|list| list.split(','))
        .filter(|text| !text.is_empty())
    {
        let (address, port) = endpoint.rsplit_once(':').unwrap();
        prop_assert!(
            leased[address].contains(&port.parse().unwrap()),
            "{}",
            endpoint
        );
        prop_assert!(taken.insert(endpoint), "{} twice", endpoint);
    }
    Ok(())
}

proptest! {
    #[test]
    fn custom(input in inputs(&[("commandLine", text())])) {
        if let Some(planned) = run::<lote_plugin_custom::Custom>(&input)? {
            prop_assert_eq!(planned.primaries().len(), 1);
        }
    }

    #[test]
    fn custom_mpi(input in inputs(&[("commandLine", text()), ("processCount", number(40))])) {
        if let Some(planned) = run::<lote_plugin_custom_mpi::CustomMpi>(&input)? {
            planned.is_started_by_mpi()?;
        }
    }

    #[test]
    fn horovod(input in inputs(&with(python(), [("processCount", number(40))]))) {
        if let Some(planned) = run::<lote_plugin_horovod::Horovod>(&input)? {
            planned.is_started_by_mpi()?;
        }
    }

    #[test]
    fn chainer(input in inputs(&with(python(), [("processCount", number(40))]))) {
        if let Some(planned) = run::<lote_plugin_chainer::Chainer>(&input)? {
            planned.is_started_by_mpi()?;
        }
    }

    #[test]
    fn cntk(input in inputs(&with(python(), [
        ("processCount", number(40)),
        ("languageType", one_of(&["BrainScript", "Python", "python", "Basic"])),
        ("configFilePath", text()),
    ]))) {
        if let Some(planned) = run::<lote_plugin_cntk::Cntk>(&input)? {
            planned.is_started_by_mpi()?;
        }
    }

    #[test]
    fn caffe(input in inputs(&with(python(), [("processCount", number(40)), ("configFilePath", text())]))) {
        if let Some(planned) = run::<lote_plugin_caffe::Caffe>(&input)? {
            planned.is_started_by_mpi()?;
        }
    }

    #[test]
    fn caffe2(input in inputs(&python())) {
        if let Some(planned) = run::<lote_plugin_caffe2::Caffe2>(&input)? {
            planned.has_ranks(planned.allocation.nodes.len(), "AZ_BATCHAI_TASK_INDEX")?;
            let shares = planned.allocation.shared_scratch.is_some();
            prop_assert!(shares || planned.allocation.nodes.len() == 1);
        }
    }

    #[test]
    fn pytorch(input in inputs(&with(python(), [
        ("processCount", number(40)),
        ("communicationBackend", one_of(&["TCP", "gloo", "nccl", "MPI", "pigeon"])),
    ]))) {
        if let Some(planned) = run::<lote_plugin_pytorch::PyTorch>(&input)? {
            let count = planned.number("processCount").unwrap();
            prop_assert_eq!(planned.variable("WORLD_SIZE"), count.to_string());
            let first = &planned.allocation.nodes[0];
            prop_assert_eq!(planned.variable("MASTER_ADDR"), &first.address);
            prop_assert!(first.ports.contains(&planned.variable("MASTER_PORT").parse().unwrap()));
            if planned.settings["communicationBackend"] == "MPI" {
                planned.is_started_by_mpi()?;
            } else {
                planned.has_ranks(count, "RANK")?;
            }
        }
    }

    #[test]
    fn tensorflow(input in inputs(&with(python()[..2].to_vec(), [
        ("masterCommandLineArgs", text()),
        ("workerCommandLineArgs", text()),
        ("parameterServerCommandLineArgs", text()),
        ("workerCount", number(20)),
        ("parameterServerCount", number(9)),
    ]))) {
        if let Some(planned) = run::<lote_plugin_tensorflow::TensorFlow>(&input)? {
            let workers = planned.number("workerCount").unwrap_or(1);
            let servers = planned.number("parameterServerCount").unwrap_or(0);
            prop_assert_eq!(planned.primaries().len(), workers);
            prop_assert_eq!(planned.plan.processes.len(), workers + servers);
            let (lists, counts) = (["AZ_BATCHAI_PS_HOSTS", "AZ_BATCHAI_WORKER_HOSTS"], [servers, workers]);
            let lists = lists.map(|name| planned.variable(name));
            prop_assert_eq!(lists.map(|list| list.split(',').filter(|text| !text.is_empty()).count()), counts);
            endpoints_are_leased(&planned, &lists)?;
            let mut expected = (0..servers).map(|i| (i, "ps")).chain((0..workers).map(|i| (i, "wk")));
            for process in &planned.plan.processes {
                let (index, role) = expected.next().unwrap();
                prop_assert_eq!(&process.name, &format!("{role}-{index}"));
                prop_assert_eq!(of(process, "AZ_BATCHAI_TASK_INDEX"), index.to_string());
                let list = if role == "ps" { lists[0] } else { lists[1] };
                let node = &planned.allocation.nodes[process.node as usize];
                let (address, _) = list.split(',').nth(index).unwrap().rsplit_once(':').unwrap();
                prop_assert_eq!(address, &node.address);
            }
        }
    }
}
