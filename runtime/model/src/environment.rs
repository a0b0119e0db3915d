//! The variables, directories and file names of a job on one of its nodes
//! (capabilities §7.1, §7.3 and §7.4).

use std::collections::BTreeMap;

use crate::allocation::{GangMember, Grant, NodePlan};
use crate::expand::expand;
use crate::job::{ErrorRecord, STDOUTERR};
use crate::plan::{GpuShare, Process};
use crate::planned_mount::{MountRoot, PlannedMounts};
use crate::secret::SecretText;

/// Where a node keeps what belongs to a job. Short on purpose: long paths broke
/// programs that put sockets below their temporary directory (capabilities §7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPaths {
    /// Everything of the workspace's user on this node.
    pub user_root: String,
    /// Cluster-level mounts: `AZ_BATCHAI_MOUNT_ROOT`.
    pub mount_root: String,
    /// The directories of all jobs of the user: `AZ_BATCHAI_JOB_TEMP_DIR`.
    pub jobs_root: String,
    /// Everything of this job; removed after its end.
    pub job_root: String,
    /// The job's own mounts: `AZ_BATCHAI_JOB_MOUNT_ROOT`.
    pub job_mount_root: String,
    /// The job's scratch directory on this node: `AZ_BATCHAI_JOB_TEMP`.
    pub scratch: String,
    /// A directory with the same path on every node of the job. While a job has one node,
    /// it is also the one that all its nodes share: `AZ_BATCHAI_SHARED_JOB_TEMP`.
    pub shared: String,
    /// The directory that the nodes of a gang share, on a file server or on the first of them:
    /// their `AZ_BATCHAI_SHARED_JOB_TEMP`. None if they have none, or there is one node only.
    pub shared_scratch: Option<String>,
    /// The file that names the job's nodes: `AZ_BATCHAI_MPI_HOST_FILE`.
    pub host_file: String,
    /// What the job sees as `/tmp`.
    pub private_tmp: String,
    /// Where a gang's processes find the program that starts others on its nodes, with what that
    /// needs.
    pub peer: String,
}

impl JobPaths {
    /// The paths below a node's work directory.
    pub fn new(work_directory: &str, plan: &NodePlan) -> Self {
        let user_root = format!("{work_directory}/users/{}", plan.unix_id.0);
        let jobs_root = format!("{user_root}/jobs");
        let job_root = format!("{jobs_root}/{}", plan.uid);
        let (mount_root, job_mount_root) = mount_roots(
            work_directory,
            plan.unix_id.0,
            &plan.cluster,
            plan.uid.as_str(),
        );
        let shared_scratch = SharedScratch {
            work_directory,
            unix_id: plan.unix_id.0,
            cluster: &plan.cluster,
            uid: plan.uid.as_str(),
            attempt: plan.attempt,
        };
        let is_gang = plan.gang.len() > 1;
        Self {
            mount_root,
            job_mount_root,
            shared_scratch: is_gang.then(|| shared_scratch.path(&plan.mounts)).flatten(),
            scratch: scratch_path(work_directory, plan.unix_id.0, plan.uid.as_str()),
            shared: format!("{job_root}/{SHARED}"),
            host_file: format!("{job_root}/hosts"),
            private_tmp: format!("{job_root}/tmp"),
            peer: peer_path(work_directory, plan.unix_id.0, plan.uid.as_str()),
            user_root,
            jobs_root,
            job_root,
        }
    }
}

/// The job's scratch directory on a node, which plugins are told before there
/// is a node plan.
pub fn scratch_path(work_directory: &str, unix_id: u32, uid: &str) -> String {
    format!("{work_directory}/users/{unix_id}/jobs/{uid}/scratch")
}

/// The directory of the program for remote starts.
fn peer_path(work_directory: &str, unix_id: u32, uid: &str) -> String {
    format!("{work_directory}/users/{unix_id}/jobs/{uid}/peer")
}

/// The program that starts processes on the other nodes of a job, the same on each of them; which
/// plugins are told before there is a node plan.
pub fn peer_launcher_path(work_directory: &str, unix_id: u32, uid: &str) -> String {
    let directory = peer_path(work_directory, unix_id, uid);
    format!("{directory}/{PEER_LAUNCHER}")
}

/// The name of the program for remote starts.
pub const PEER_LAUNCHER: &str = "lote-rsh";

/// The mount roots of a job's cluster and of the job itself on a node, which plugins are told
/// before there is a node plan.
pub fn mount_roots(
    work_directory: &str,
    unix_id: u32,
    cluster: &str,
    uid: &str,
) -> (String, String) {
    let user_root = format!("{work_directory}/users/{unix_id}");
    let of_cluster = format!("{user_root}/mounts/{cluster}");
    (of_cluster, format!("{user_root}/jobs/{uid}/mounts"))
}

/// Of which attempt of a job the directory is that its nodes share.
#[derive(Clone, Copy, Debug)]
pub struct SharedScratch<'a> {
    /// The work directory of its nodes, the same on all.
    pub work_directory: &'a str,
    /// The user that the job runs as.
    pub unix_id: u32,
    /// The name of its cluster.
    pub cluster: &'a str,
    /// The job.
    pub uid: &'a str,
    /// Which start of it this is: the nodes of another one may still be there.
    pub attempt: u32,
}

impl SharedScratch<'_> {
    /// Its absolute path as every process of the job sees it: on the first file server among
    /// its mounts that can be written to, else what the first node serves. None if there is
    /// neither. It is what a gang has as `AZ_BATCHAI_SHARED_JOB_TEMP`; a job on one node needs
    /// none.
    pub fn path(&self, mounts: &PlannedMounts) -> Option<String> {
        let Self { uid, attempt, .. } = self;
        let job_root = format!("{}/users/{}/jobs/{uid}", self.work_directory, self.unix_id);
        let Some((root, relative)) = mounts.shared_between_nodes() else {
            return mounts.share().map(|_| format!("{job_root}/{SHARED}"));
        };
        let (of_cluster, of_job) =
            mount_roots(self.work_directory, self.unix_id, self.cluster, uid);
        let root = match root {
            MountRoot::Cluster => of_cluster,
            MountRoot::Job => of_job,
            MountRoot::Own => job_root,
        };
        Some(format!(
            "{root}/{relative}/{SHARED_SCRATCH}/{uid}.{attempt}"
        ))
    }
}

/// The directory that has the same path on every node of a job, in the job's own directory.
pub const SHARED: &str = "shared";

/// Where shared scratch directories are, below the mount of a file server.
pub const SHARED_SCRATCH: &str = ".lote/scratch";

/// The directories of a job on a node, all variables expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    /// Where the output of the processes goes.
    pub stdouterr: String,
    /// Output directories by id.
    pub outputs: Vec<(String, String)>,
    /// Input paths by id.
    pub inputs: Vec<(String, String)>,
}

impl Directories {
    /// Expands the directories of a plan. A path that is not absolute after
    /// expansion (a variable in it is not defined, say) is an error.
    pub fn new(plan: &NodePlan, paths: &JobPaths) -> Result<Self, ErrorRecord> {
        let mut known: BTreeMap<String, String> = roots(paths).into_iter().collect();
        for variable in &plan.user_variables {
            known
                .entry(variable.name.clone())
                .or_insert_with(|| variable.value.clone());
        }
        let expanded = |text: &str| expand(text, |name| known.get(name).cloned());
        let inputs: Vec<(String, String)> = plan
            .input_directories
            .iter()
            .map(|input| (input.id.clone(), expanded(&input.path)))
            .collect();
        let segment = &plan.output_segment;
        let mut outputs = Vec::new();
        for output in &plan.output_directories {
            let suffix = output
                .path_suffix
                .as_deref()
                .map(&expanded)
                .unwrap_or_default();
            let prefix = expanded(&output.path_prefix);
            let path = joined(&prefix, &[segment, "outputs", &suffix]);
            check_path(&output.id, &prefix, &path)?;
            outputs.push((output.id.clone(), path));
        }
        let prefix = expanded(&plan.std_out_err_path_prefix);
        let stdouterr = joined(&prefix, &[segment, STDOUTERR]);
        check_path(STDOUTERR, &prefix, &stdouterr)?;
        Ok(Self {
            stdouterr,
            outputs,
            inputs,
        })
    }
}

fn joined(prefix: &str, parts: &[&str]) -> String {
    let mut path = prefix.trim_end_matches('/').to_owned();
    for part in parts
        .iter()
        .map(|part| part.trim_matches('/'))
        .filter(|part| !part.is_empty())
    {
        path.push('/');
        path.push_str(part);
    }
    path
}

fn check_path(id: &str, prefix: &str, path: &str) -> Result<(), ErrorRecord> {
    if prefix.starts_with('/') && !path.split('/').any(|part| part == "..") {
        return Ok(());
    }
    let message = format!(
        "the directory '{id}' is not an absolute path without '..': its prefix became '{prefix}'"
    );
    Err(ErrorRecord::new("InvalidDirectory", message))
}

/// The variables that name the roots.
fn roots(paths: &JobPaths) -> Vec<(String, String)> {
    [
        ("AZ_BATCHAI_MOUNT_ROOT", &paths.mount_root),
        ("AZ_BATCHAI_JOB_MOUNT_ROOT", &paths.job_mount_root),
        ("AZ_BATCHAI_JOB_TEMP_DIR", &paths.jobs_root),
        ("AZ_BATCHAI_JOB_TEMP", &paths.scratch),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .collect()
}

/// The environment of the job's preparation and, with `process`, of one of its
/// processes. Later sources win: roots and directories, the user's variables,
/// the plan's, the process's, and last what the runtime alone may say.
pub fn environment(
    plan: &NodePlan,
    paths: &JobPaths,
    directories: &Directories,
    grant: &Grant,
    process: Option<&Process>,
) -> BTreeMap<String, String> {
    let mut variables = base(paths);
    variables.extend(roots(paths));
    let named = |kind: &str, list: &[(String, String)]| -> Vec<(String, String)> {
        list.iter()
            .map(|(id, path)| (format!("AZ_BATCHAI_{kind}_{id}"), path.clone()))
            .collect()
    };
    variables.extend(named("INPUT", &directories.inputs));
    variables.extend(named("OUTPUT", &directories.outputs));
    variables.insert(
        "AZ_BATCHAI_STDOUTERR_DIR".into(),
        directories.stdouterr.clone(),
    );
    variables.extend(gang(plan, grant));
    variables.extend(job(plan, paths));
    variables.extend(previous(plan, directories));
    variables.extend(peer_launcher(plan, paths));
    for variable in &plan.user_variables {
        let value = expand_runtime_names(&variable.value, &variables);
        variables.insert(variable.name.clone(), value);
    }
    let own = process
        .map(|process| process.variables.as_slice())
        .unwrap_or_default();
    for variable in plan.launch.variables.iter().chain(own) {
        variables.insert(variable.name.clone(), variable.value.clone());
    }
    variables.extend(gpus(grant, process));
    let work = plan.working_directory.as_deref();
    let work = work.map_or_else(
        || paths.scratch.clone(),
        |directory| expand(directory, |name| variables.get(name).cloned()),
    );
    variables.insert("AZ_BATCHAI_JOB_WORK_DIR".into(), work);
    variables
}

/// The secret variables of a process: like the user's others, they give way to what the
/// plan and the process set. They are never expanded and never part of a path.
pub fn secret_environment<'a>(
    plan: &NodePlan,
    secrets: &'a [(String, SecretText)],
    process: Option<&Process>,
) -> Vec<&'a (String, SecretText)> {
    let own = process
        .map(|process| process.variables.as_slice())
        .unwrap_or_default();
    let is_set = |name: &str| {
        let mut set = plan.launch.variables.iter().chain(own);
        set.any(|variable| variable.name == name)
    };
    secrets.iter().filter(|(name, _)| !is_set(name)).collect()
}

/// What every program expects to find. The search path ends where the
/// administrator's programs are, as for a login on Debian.
fn base(paths: &JobPaths) -> BTreeMap<String, String> {
    [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", paths.scratch.as_str()),
        ("USER", USER_NAME),
        ("LOGNAME", USER_NAME),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("TMPDIR", "/tmp"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The name that a job's user has inside the job.
pub const USER_NAME: &str = "lote";

/// The variables that the layer below Batch AI set (capabilities §7.1).
fn gang(plan: &NodePlan, grant: &Grant) -> Vec<(String, String)> {
    let addresses: Vec<&str> = plan
        .gang
        .iter()
        .map(|member| member.address.as_str())
        .collect();
    let own = plan
        .gang
        .get(plan.rank as usize)
        .map(|member| member.node.as_str())
        .unwrap_or_default();
    let first = addresses.first().copied().unwrap_or_default();
    let master = match plan.master_port {
        Some(port) if first.contains(':') => format!("[{first}]:{port}"),
        Some(port) => format!("{first}:{port}"),
        None => first.to_owned(),
    };
    let cores = grant.cpu_millis.div_ceil(1000).max(1);
    let nodes = addresses
        .iter()
        .map(|address| format!(" {address} {cores}"));
    let ccp_nodes = format!("{}{}", addresses.len(), nodes.collect::<String>());
    [
        ("AZ_BATCH_HOST_LIST", addresses.join(",")),
        ("AZ_BATCH_NODE_LIST", addresses.join(";")),
        ("AZ_BATCH_MASTER_NODE", master),
        (
            "AZ_BATCH_IS_CURRENT_NODE_MASTER",
            (plan.rank == 0).to_string(),
        ),
        ("AZ_BATCH_NODE_ID", own.to_owned()),
        ("CCP_NODES", ccp_nodes),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// What tells a job about itself. `AZ_BATCHAI_SHARED_JOB_TEMP` is missing where the nodes
/// of a gang share no file system: a path that each has for itself would be no rendezvous.
fn job(plan: &NodePlan, paths: &JobPaths) -> Vec<(String, String)> {
    let shared = match plan.gang.len() {
        1 => Some(&paths.shared),
        _ => paths.shared_scratch.as_ref(),
    };
    let shared = shared.map(|path| ("AZ_BATCHAI_SHARED_JOB_TEMP", path));
    let attempt = plan.attempt.to_string();
    let (name, experiment) = (plan.job.job.to_string(), plan.job.experiment.to_string());
    [
        ("AZ_BATCHAI_JOB_NAME", &name),
        ("AZ_BATCHAI_EXPERIMENT_NAME", &experiment),
        ("AZ_BATCHAI_CLUSTER_NAME", &plan.cluster),
        ("AZ_BATCHAI_MPI_HOST_FILE", &paths.host_file),
        ("AZ_BATCH_TASK_SHARED_DIR", &paths.shared),
        ("LOTE_ATTEMPT", &attempt),
    ]
    .into_iter()
    .chain(shared)
    .map(|(name, value)| (name.to_owned(), value.clone()))
    .collect()
}

/// How a gang's processes start others on its nodes. The launchers of Open MPI (and of PRRTE,
/// which is its from version 5 on), MPICH and Intel MPI find it by variables of theirs, so that
/// their `mpirun` works as it is; where there is no remote start, they try `ssh` as ever.
fn peer_launcher(plan: &NodePlan, paths: &JobPaths) -> Vec<(String, String)> {
    if !plan.peer_launcher {
        return Vec::new();
    }
    let program = format!("{}/{PEER_LAUNCHER}", paths.peer);
    let programs = [
        "LOTE_PEER_LAUNCHER",
        "OMPI_MCA_plm_rsh_agent",
        "PRTE_MCA_plm_ssh_agent",
        "HYDRA_LAUNCHER_EXEC",
        "I_MPI_HYDRA_BOOTSTRAP_EXEC",
    ];
    let others = [
        ("HYDRA_LAUNCHER", "ssh"),
        // Ranks get what the launcher's helper on their node has. Otherwise they would get what is
        // true of the first node, its GPUs for one.
        ("HYDRA_ENV", "none"),
        ("I_MPI_HYDRA_BOOTSTRAP", "ssh"),
    ];
    let programs = programs.map(|name| (name.to_owned(), program.clone()));
    let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
    programs.into_iter().chain(others).collect()
}

/// Whether a variable says something about the node that a process is on: one that is started from
/// another node has this node's. All of Batch AI's do, or are the same on all nodes.
pub fn is_of_node(name: &str) -> bool {
    const OTHERS: [&str; 10] = [
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "HYDRA_LAUNCHER_EXEC",
        "I_MPI_HYDRA_BOOTSTRAP_EXEC",
        "LOTE_PEER_LAUNCHER",
        "LOTE_PREVIOUS_OUTPUT_DIR",
        "NVIDIA_VISIBLE_DEVICES",
        "OMPI_MCA_plm_rsh_agent",
        "PRTE_MCA_plm_ssh_agent",
        "TMPDIR",
    ];
    name.starts_with("AZ_BATCH") || OTHERS.contains(&name)
}

/// Where the attempt before left its output, so that a job can go on from there.
fn previous(plan: &NodePlan, directories: &Directories) -> Vec<(String, String)> {
    let Some(node) = &plan.previous_node else {
        return Vec::new();
    };
    let fixed = [
        ("LOTE_PREVIOUS_NODE".to_owned(), node.to_string()),
        (
            "LOTE_PREVIOUS_OUTPUT_DIR".to_owned(),
            directories.stdouterr.clone(),
        ),
    ];
    let outputs = directories.outputs.iter();
    let outputs = outputs.map(|(id, path)| (format!("LOTE_PREVIOUS_OUTPUT_{id}"), path.clone()));
    // Of an output directory with the id DIR the first one has the name.
    outputs.chain(fixed).collect()
}

/// The contents of the host file, as OpenMPI reads it: a line for each node in rank order.
/// The nodes of a gang have the same size, so each has as many slots as this one has GPUs,
/// and one if it has none.
pub fn host_file(plan: &NodePlan, grant: &Grant) -> String {
    let slots = grant.gpus.len().max(1);
    let line = |member: &GangMember| format!("{} slots={slots}\n", member.address);
    plan.gang.iter().map(line).collect::<Vec<_>>().concat()
}

/// Users refer to the runtime's variables in their own ones. Every other `$`
/// stays: it may be part of a password or a format.
fn expand_runtime_names(value: &str, known: &BTreeMap<String, String>) -> String {
    expand(value, |name| {
        if name.starts_with("AZ_BATCH") {
            known.get(name).cloned()
        } else {
            Some(format!("${name}"))
        }
    })
}

/// Which GPUs the process may see: by UUID, in local order.
fn gpus(grant: &Grant, process: Option<&Process>) -> Vec<(String, String)> {
    let all: Vec<&str> = grant.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    let visible = match process.map(|process| &process.gpus) {
        None | Some(GpuShare::All) => all.clone(),
        Some(GpuShare::None) => Vec::new(),
        Some(GpuShare::Some(indices)) => indices
            .iter()
            .filter_map(|&index| all.get(index as usize).copied())
            .collect(),
    };
    let count = all.len().to_string();
    let list = visible.join(",");
    // An empty list hides every device from CUDA; the container runtime's
    // variable has the word "void" for the same.
    let container_list = if list.is_empty() {
        "void".to_owned()
    } else {
        list.clone()
    };
    vec![
        ("CUDA_VISIBLE_DEVICES".into(), list),
        ("NVIDIA_VISIBLE_DEVICES".into(), container_list),
        ("AZ_BATCHAI_NUM_GPUS".into(), count.clone()),
        ("AZ_BATCHAI_NUM_GPUS_PER_NODE".into(), count),
    ]
}

/// The names of a stream's file: `stdout.txt`, or `stdout-0.txt` for output `0`.
pub fn output_file(stream: &str, output: Option<&str>) -> String {
    match output {
        Some(output) => format!("{stream}-{output}.txt"),
        None => format!("{stream}.txt"),
    }
}

/// The part of the preparation's output file names: nodes of a gang have their own.
pub fn preparation_output(plan: &NodePlan) -> String {
    of_node(plan).map_or_else(|| "job_prep".into(), |node| format!("job_prep-{node}"))
}

/// The name of the launcher's own log.
pub fn execution_log(plan: &NodePlan) -> String {
    of_node(plan).map_or_else(
        || "execution.log".into(),
        |node| format!("execution-{node}.log"),
    )
}

fn of_node(plan: &NodePlan) -> Option<&str> {
    let several = plan.gang.len() > 1;
    plan.gang
        .get(plan.rank as usize)
        .filter(|_| several)
        .map(|member| member.node.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::Seconds;
    use crate::id::{JobUid, NodeName, UnixId};
    use crate::job::{InputDirectory, OutputDirectory};
    use crate::name::{GroupName, ResourceName};
    use crate::path::{JobPath, WorkspacePath};
    use crate::plan::{AllocatedGpu, Command, LaunchPlan, OnFailure, Part, Variable};

    fn name(text: &str) -> ResourceName {
        ResourceName::new(text).unwrap()
    }

    fn plan() -> NodePlan {
        let workspace = WorkspacePath {
            group: GroupName::new("g").unwrap(),
            workspace: name("w"),
        };
        NodePlan {
            job: JobPath::new(&workspace.child(name("e")), name("j")),
            uid: JobUid::new("u1"),
            attempt: 2,
            rank: 1,
            gang: ["a", "b"]
                .map(|node| GangMember {
                    node: NodeName::new(node),
                    address: format!("10.0.0.{node}"),
                })
                .into(),
            plugin: "custom 1".into(),
            launch: LaunchPlan {
                variables: vec![Variable::new("RANK", "1")],
                ..LaunchPlan::default()
            },
            primaries_elsewhere: true,
            mounts: crate::planned_mount::PlannedMounts::default(),
            container: None,
            user_variables: vec![
                Variable::new("WHERE", "$AZ_BATCHAI_INPUT_DATA/x"),
                Variable::new("SECRET", "pa$$word$HOME"),
                Variable::new("RANK", "user"),
            ],
            secret_variables: vec![],
            master_port: Some(20_015),
            peer_launcher: false,
            preparation: None,
            std_out_err_path_prefix: "$AZ_BATCHAI_MOUNT_ROOT/logs/".into(),
            input_directories: vec![InputDirectory {
                id: "DATA".into(),
                path: "/data".into(),
            }],
            output_directories: vec![OutputDirectory {
                id: "MODEL".into(),
                path_prefix: "$AZ_BATCHAI_MOUNT_ROOT".into(),
                path_suffix: Some("models".into()),
            }],
            output_segment: "s/g/workspaces/w/experiments/e/jobs/j/u1".into(),
            working_directory: None,
            unix_id: UnixId(7),
            cluster: "c".into(),
            grace_period: Seconds(30),
            previous_node: Some(NodeName::new("c")),
        }
    }

    fn grant() -> Grant {
        let gpu = |minor: u32| AllocatedGpu {
            uuid: format!("GPU-{minor}"),
            minor,
            memory_mib: 1,
        };
        Grant {
            exclusive: true,
            gpus: vec![gpu(0), gpu(1)],
            cpu_millis: 1000,
            numa_nodes: Vec::new(),
            memory_bytes: None,
            processes_max: None,
            ports: vec![],
        }
    }

    fn process(gpus: GpuShare) -> Process {
        Process {
            name: "p".into(),
            node: 1,
            command: Command::Shell("true".into()),
            variables: vec![],
            working_directory: None,
            output: None,
            gpus,
            part: Part::Primary,
            on_failure: OnFailure::FailJob,
            stage: 0,
        }
    }

    fn variables(process: Option<&Process>) -> BTreeMap<String, String> {
        let paths = JobPaths::new("/w", &plan());
        environment(
            &plan(),
            &paths,
            &Directories::new(&plan(), &paths).unwrap(),
            &grant(),
            process,
        )
    }

    #[test]
    fn the_environment_of_a_process() {
        insta::assert_json_snapshot!(variables(Some(&process(GpuShare::Some(vec![1])))));
    }

    #[test]
    fn a_job_on_one_node_has_a_directory_that_all_its_nodes_share() {
        let shared = |plan: &NodePlan| {
            let paths = JobPaths::new("/w", plan);
            let directories = Directories::new(plan, &paths).unwrap();
            let variables = environment(plan, &paths, &directories, &grant(), None);
            variables.get("AZ_BATCHAI_SHARED_JOB_TEMP").cloned()
        };
        assert_eq!(shared(&plan()), None);
        let mut alone = plan();
        alone.gang.truncate(1);
        let expected = "/w/users/7/jobs/u1/shared";
        assert_eq!(shared(&alone).as_deref(), Some(expected));
    }

    #[test]
    fn a_gang_with_a_file_server_shares_a_directory_on_it() {
        let mut plan = plan();
        let server = serde_json::json!({"relativePath": "nfs", "source": {"fileServer": {
            "name": "f", "uid": "f1", "node": "n9", "address": "10.0.0.9", "point": {
                "server": "ganesha", "path": "/srv", "nfsPort": 2049, "versions": ["4.2"],
                "sizeLimit": {"inForce": false, "note": ""}}}}});
        plan.mounts.cluster = vec![serde_json::from_value(server).unwrap()];
        let paths = JobPaths::new("/w", &plan);
        let expected = format!("{}/nfs/.lote/scratch/u1.{}", paths.mount_root, plan.attempt);
        assert_eq!(paths.shared_scratch.as_deref(), Some(expected.as_str()));
        let directories = Directories::new(&plan, &paths).unwrap();
        let variables = environment(&plan, &paths, &directories, &grant(), None);
        assert_eq!(variables["AZ_BATCHAI_SHARED_JOB_TEMP"], expected);
        // One node needs no network for what is its own.
        plan.gang.truncate(1);
        assert_eq!(JobPaths::new("/w", &plan).shared_scratch, None);
    }

    #[test]
    fn a_first_attempt_has_no_previous_one() {
        let plan = NodePlan {
            previous_node: None,
            ..plan()
        };
        let paths = JobPaths::new("/w", &plan);
        let directories = Directories::new(&plan, &paths).unwrap();
        let variables = environment(&plan, &paths, &directories, &grant(), None);
        let told = variables.keys().filter(|name| name.contains("PREVIOUS"));
        assert_eq!(told.count(), 0);
    }

    #[test]
    fn a_gang_whose_nodes_offer_it_is_told_how_to_start_processes() {
        let told = |plan: &NodePlan| {
            let paths = JobPaths::new("/w", plan);
            let directories = Directories::new(plan, &paths).unwrap();
            environment(plan, &paths, &directories, &grant(), None)
        };
        assert!(!told(&plan()).contains_key("LOTE_PEER_LAUNCHER"));
        let mut plan = plan();
        plan.peer_launcher = true;
        let program = peer_launcher_path("/w", 7, "u1");
        assert_eq!(program, "/w/users/7/jobs/u1/peer/lote-rsh");
        assert_eq!(told(&plan)["LOTE_PEER_LAUNCHER"], program);
        assert_eq!(told(&plan)["OMPI_MCA_plm_rsh_agent"], program);
        plan.user_variables = vec![Variable::new("HYDRA_LAUNCHER", "fork")];
        assert_eq!(told(&plan)["HYDRA_LAUNCHER"], "fork");
    }

    #[test]
    fn the_host_file_is_openmpi_s() {
        let text = host_file(&plan(), &grant());
        assert_eq!(text, "10.0.0.a slots=2\n10.0.0.b slots=2\n");
        let none = Grant {
            gpus: vec![],
            ..grant()
        };
        assert!(host_file(&plan(), &none).starts_with("10.0.0.a slots=1\n"));
    }

    #[test]
    fn the_working_directory_is_told() {
        let mut plan = plan();
        plan.working_directory = Some("$AZ_BATCHAI_INPUT_DATA/src".into());
        let paths = JobPaths::new("/w", &plan);
        let directories = Directories::new(&plan, &paths).unwrap();
        let variables = environment(&plan, &paths, &directories, &grant(), None);
        assert_eq!(variables["AZ_BATCHAI_JOB_WORK_DIR"], "/data/src");
    }

    #[test]
    fn a_secret_gives_way_to_the_plan() {
        let secrets =
            ["RANK", "OTHER", "TOKEN"].map(|name| (name.to_owned(), SecretText::new("hunter2")));
        let mut process = process(GpuShare::All);
        process.variables = vec![Variable::new("OTHER", "1")];
        let set = secret_environment(&plan(), &secrets, Some(&process));
        let names: Vec<&str> = set.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["TOKEN"]);
        assert_eq!(secret_environment(&plan(), &secrets, None).len(), 2);
    }

    #[test]
    fn preparation_sees_all_gpus_and_a_process_what_its_plan_says() {
        assert_eq!(variables(None)["CUDA_VISIBLE_DEVICES"], "GPU-0,GPU-1");
        let hidden = variables(Some(&process(GpuShare::None)));
        assert_eq!(hidden["CUDA_VISIBLE_DEVICES"], "");
        assert_eq!(hidden["NVIDIA_VISIBLE_DEVICES"], "void");
    }

    #[test]
    fn directories_follow_the_documented_layout() {
        let paths = JobPaths::new("/w", &plan());
        let directories = Directories::new(&plan(), &paths).unwrap();
        assert_eq!(
            directories.stdouterr,
            "/w/users/7/mounts/c/logs/s/g/workspaces/w/experiments/e/jobs/j/u1/stdouterr"
        );
        assert_eq!(
            directories.outputs[0].1,
            "/w/users/7/mounts/c/s/g/workspaces/w/experiments/e/jobs/j/u1/outputs/models"
        );
    }

    #[test]
    fn a_prefix_with_an_undefined_variable_is_refused() {
        for prefix in ["$NOWHERE", "relative", "/a/../b"] {
            let plan = NodePlan {
                std_out_err_path_prefix: prefix.into(),
                ..plan()
            };
            let error = Directories::new(&plan, &JobPaths::new("/w", &plan)).unwrap_err();
            assert_eq!(error.code, "InvalidDirectory");
        }
    }

    #[test]
    fn file_names_are_those_that_clients_stream() {
        assert_eq!(output_file("stdout", None), "stdout.txt");
        assert_eq!(output_file("stderr", Some("wk-0")), "stderr-wk-0.txt");
        assert_eq!(preparation_output(&plan()), "job_prep-b");
        assert_eq!(execution_log(&plan()), "execution-b.log");
    }
}
