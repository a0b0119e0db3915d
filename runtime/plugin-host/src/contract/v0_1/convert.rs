//! Between the types of contract 0.1 and the runtime's own.

use lote_model::plan::{
    AllocatedGpu, AllocatedNode, AllocationInput, Command, Descriptor, FinishStep, GpuShare, Issue,
    JobInput, LaunchPlan, Mount, OnFailure, Part, PlanFailure, PlanFile, Process, Variable,
};

use super::{WitDescriptor, wit};

pub(super) fn job(job: &JobInput) -> wit::Job {
    wit::Job {
        id: job.id.clone(),
        node_count: job.node_count,
        settings: job.settings.to_string(),
        mounts: job.mounts.iter().map(mount).collect(),
        variables: job.variables.iter().map(to_variable).collect(),
    }
}

pub(super) fn allocation(allocation: &AllocationInput) -> wit::Allocation {
    wit::Allocation {
        nodes: allocation.nodes.iter().map(node).collect(),
        shared_scratch: allocation.shared_scratch.clone(),
        local_scratch: allocation.local_scratch.clone(),
        peer_launcher: allocation.peer_launcher.clone(),
        attempt: allocation.attempt,
    }
}

fn mount(mount: &Mount) -> wit::Mount {
    wit::Mount {
        name: mount.name.clone(),
        path: mount.path.clone(),
        shared: mount.shared,
    }
}

fn to_variable(variable: &Variable) -> wit::Variable {
    wit::Variable {
        name: variable.name.clone(),
        value: variable.value.clone(),
    }
}

fn node(node: &AllocatedNode) -> wit::Node {
    wit::Node {
        rank: node.rank,
        name: node.name.clone(),
        address: node.address.clone(),
        gpus: node.gpus.iter().map(gpu).collect(),
        cpu_cores: node.cpu_cores,
        ports: node.ports.clone(),
    }
}

fn gpu(gpu: &AllocatedGpu) -> wit::Gpu {
    wit::Gpu {
        uuid: gpu.uuid.clone(),
        minor: gpu.minor,
        memory_mib: gpu.memory_mib,
    }
}

pub(super) fn descriptor(descriptor: WitDescriptor) -> Descriptor {
    Descriptor {
        name: descriptor.name,
        settings_member: descriptor.settings_member,
        summary: descriptor.summary,
        version: descriptor.version,
        settings_schema: descriptor.settings_schema,
        starts_peers: descriptor.starts_peers,
    }
}

pub(super) fn issues(issues: Vec<wit::Issue>) -> Vec<Issue> {
    let convert = |issue: wit::Issue| Issue {
        path: issue.path,
        message: issue.message,
        hint: issue.hint,
    };
    issues.into_iter().map(convert).collect()
}

pub(super) fn plan_failure(failure: wit::PlanFailure) -> PlanFailure {
    match failure {
        wit::PlanFailure::Invalid(list) => PlanFailure::Invalid(issues(list)),
        wit::PlanFailure::Unsuitable(reason) => PlanFailure::Unsuitable(reason),
    }
}

pub(super) fn launch_plan(plan: wit::LaunchPlan) -> LaunchPlan {
    LaunchPlan {
        variables: variables(plan.variables),
        files: plan.files.into_iter().map(file).collect(),
        processes: plan.processes.into_iter().map(process).collect(),
        finish: plan.finish.into_iter().map(finish_step).collect(),
    }
}

fn variables(variables: Vec<wit::Variable>) -> Vec<Variable> {
    let convert = |variable: wit::Variable| Variable::new(variable.name, variable.value);
    variables.into_iter().map(convert).collect()
}

fn file(file: wit::File) -> PlanFile {
    PlanFile {
        node: file.node,
        path: file.path,
        contents: file.contents,
        executable: file.executable,
    }
}

fn process(process: wit::Process) -> Process {
    Process {
        name: process.name,
        node: process.node,
        command: command(process.command),
        variables: variables(process.variables),
        working_directory: process.working_directory,
        output: process.output,
        gpus: gpu_share(process.gpus),
        part: part(process.part),
        on_failure: on_failure(process.on_failure),
        stage: process.stage,
    }
}

fn finish_step(step: wit::FinishStep) -> FinishStep {
    FinishStep {
        node: step.node,
        command: command(step.command),
    }
}

fn command(command: wit::Command) -> Command {
    match command {
        wit::Command::Argv(arguments) => Command::Argv(arguments),
        wit::Command::Shell(line) => Command::Shell(line),
    }
}

fn gpu_share(share: wit::GpuShare) -> GpuShare {
    match share {
        wit::GpuShare::All => GpuShare::All,
        wit::GpuShare::None => GpuShare::None,
        wit::GpuShare::Some(gpus) => GpuShare::Some(gpus),
    }
}

fn part(part: wit::Part) -> Part {
    match part {
        wit::Part::Primary => Part::Primary,
        wit::Part::Supporting => Part::Supporting,
    }
}

fn on_failure(on_failure: wit::OnFailure) -> OnFailure {
    match on_failure {
        wit::OnFailure::FailJob => OnFailure::FailJob,
        wit::OnFailure::Ignore => OnFailure::Ignore,
        wit::OnFailure::Restart(times) => OnFailure::Restart(times),
    }
}
