//! From a plan to what the shim is told. Pure but for the launcher's log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lote_model::allocation::{Allocation, NodePlan};
use lote_model::environment::{self, Directories, JobPaths};
use lote_model::id::JobUid;
use lote_model::plan::{Command, Process};

use crate::container::JobRoot;
use crate::isolation::{
    BindMount, DeviceNode, Identity, MountPlan, MountedTree, PrivateDirectory, PrivateSource,
};
use crate::launch::{
    DirectorySpec, ExecutionLog, LimitedResource, ProcessSpec, ResourceLimit, SecretVariables,
};
use crate::mount::{Layout, MOUNTS};
use crate::peer::RemoteStart;

use super::container::Surroundings;
use super::inside;
use super::output::JobSpool;
use super::secrets::JobSecrets;

/// The shell that expands command lines. It reads the user's `~/.bashrc`, as
/// launchers of the original service did (capabilities §6.1), if there is one.
const SHELL: &str = "/bin/bash";

/// The mode of directories that are made for a job's output.
pub(super) const DIRECTORY_MODE: u32 = 0o755;

/// Mode bits that a job's files do not get unless it changes that.
pub(super) const UMASK: u32 = 0o022;

/// Everything about a job on this node that its processes have in common.
#[derive(Debug)]
pub(super) struct JobContext {
    pub(super) allocation: Allocation,
    pub(super) plan: NodePlan,
    pub(super) paths: JobPaths,
    pub(super) directories: Directories,
    /// Where its file systems are mounted.
    pub(super) layout: Layout,
    /// Files that it must not read, beside the daemon's data.
    pub(super) hidden: Vec<PathBuf>,
    pub(super) secrets: JobSecrets,
    /// What its processes run in.
    pub(super) surroundings: Surroundings,
    /// The root of its container, once that is made.
    pub(super) root: OnceLock<JobRoot>,
    pub(super) identity: Option<Identity>,
    /// Where its output waits for its file system; `None` if it lies on this machine.
    pub(super) spool: Option<JobSpool>,
    pub(super) run_directory: PathBuf,
    pub(super) identity_directory: PathBuf,
    /// What its processes see of remote starts, on the host; `None` where there are none.
    pub(super) peer_directory: Option<PathBuf>,
    /// Hidden from jobs, except for what is the job's own.
    pub(super) data_directory: PathBuf,
    /// Files to write a process's id into.
    pub(super) cgroup_procs: Vec<PathBuf>,
    /// The file that says until when its processes may run; none where nothing is fenced.
    pub(super) fence: Option<PathBuf>,
    /// The device files that its processes find; none without isolation.
    pub(super) devices: Vec<DeviceNode>,
    /// How many files a process may open.
    pub(super) open_files_max: u64,
}

impl JobContext {
    /// Where the records of this attempt's processes are.
    pub(super) fn records(&self) -> PathBuf {
        self.run_directory.join(attempt_name(&self.allocation))
    }

    /// The record of the given start of a process or step.
    pub(super) fn record(&self, name: &str, start: u32) -> PathBuf {
        self.records().join(format!("{name}.{start}"))
    }

    /// Whether anything of this attempt was ever started here.
    pub(super) fn has_started(&self) -> bool {
        let processes = self.plan.launch.processes.iter();
        let names = processes.map(|process| process.name.as_str());
        std::iter::once(PREPARATION)
            .chain(names)
            .any(|name| self.record(name, 0).exists())
    }

    /// A process of the plan; `start` counts its restarts from 0.
    pub(super) fn process(&self, process: &Process, start: u32) -> ProcessSpec {
        let output = process.output.as_deref();
        let mut spec = self.command(&process.command, output, Some(process));
        spec.record = self.record(&process.name, start);
        spec.title = format!("process {}: {}", process.name, shown(&process.command));
        if let Some(directory) = &process.working_directory {
            spec.working_directory = directory.into();
        }
        spec
    }

    /// The preparation command of the job.
    pub(super) fn preparation(&self, command_line: &str) -> ProcessSpec {
        let output = environment::preparation_output(&self.plan);
        let command = Command::Shell(command_line.to_owned());
        let mut spec = self.command(&command, Some(&output), None);
        spec.record = self.record(PREPARATION, 0);
        spec.title = format!("job preparation: {command_line}");
        spec
    }

    /// One clean-up step; its output goes to the launcher's log.
    pub(super) fn finish_step(&self, index: usize, command: &Command) -> ProcessSpec {
        let mut spec = self.command(command, None, None);
        // No process of a plan can have this name: theirs have no underscore.
        spec.record = self.record("finish_step", u32::try_from(index).unwrap_or(u32::MAX));
        spec.title = format!("clean-up: {}", shown(command));
        let log = self.output_path(&environment::execution_log(&self.plan));
        spec.stdout.clone_from(&log);
        spec.stderr = log;
        spec
    }

    /// A command that a process on another node asks for. It has that process's environment, but
    /// what is said about a node is this one's, and secrets are never taken from elsewhere.
    pub(super) fn remote(&self, start: RemoteStart<'_>) -> ProcessSpec {
        let RemoteStart {
            record,
            from,
            command,
            environment,
            has_input,
        } = start;
        let title = format!("remote start from node {from}: {}", shortened(&command));
        let argv = [
            REMOTE_SHELL[0],
            REMOTE_SHELL[1],
            REMOTE_SHELL[2],
            "lote-rsh",
            &command,
        ];
        let command = Command::Argv(argv.map(str::to_owned).to_vec());
        let mut spec = self.command(&command, None, None);
        let own: BTreeMap<String, String> = std::mem::take(&mut spec.env).into_iter().collect();
        let is_secret = |name: &String| self.plan.secret_variables.contains(name);
        let mut variables: BTreeMap<String, String> = environment
            .into_iter()
            .filter(|(name, _)| !SHELL_VARIABLES.contains(&name.as_str()) && !is_secret(name))
            .collect();
        for (name, value) in own {
            if environment::is_of_node(&name) {
                variables.insert(name, value);
            } else if name == "PATH" {
                variables.entry(name).or_insert(value);
            }
        }
        spec.env = variables.into_iter().collect();
        spec.record = record;
        // It goes into the launcher's log.
        spec.title = self.secrets.redacted(&title);
        spec.with_pipes(has_input)
    }

    /// A file of the directory that holds the output, or waits for it.
    pub(super) fn output_path(&self, name: &str) -> PathBuf {
        let directory = match &self.spool {
            Some(spool) => spool.paths.files(),
            None => PathBuf::from(&self.directories.stdouterr),
        };
        directory.join(name)
    }

    /// Adds a line to the launcher's log of the job; blocks.
    pub(super) fn log(&self, message: &str) -> io::Result<()> {
        let path = self.output_path(&environment::execution_log(&self.plan));
        let log = ExecutionLog {
            path: &self.layout.to_host(&path),
            spooled: self.spool.is_some(),
            identity: self.identity,
            umask: UMASK,
        };
        log.add(message)
    }

    fn command(
        &self,
        command: &Command,
        output: Option<&str>,
        process: Option<&Process>,
    ) -> ProcessSpec {
        let JobContext {
            plan,
            paths,
            directories,
            allocation,
            ..
        } = self;
        let mut variables =
            environment::environment(plan, paths, directories, &allocation.grant, process);
        if let Some(root) = self.root.get() {
            inside::add_variables(&mut variables, root, plan, process);
        }
        if let Surroundings::Node(Some(directory)) = &self.surroundings {
            inside::search_first(&mut variables, directory, plan);
        }
        ProcessSpec {
            record: PathBuf::new(),
            title: String::new(),
            argv: argv(command, self.root.get()),
            working_directory: working_directory(&variables),
            env: variables.into_iter().collect(),
            secret_env: self.secret_variables(process),
            stdout: self.output_path(&environment::output_file("stdout", output)),
            stderr: self.output_path(&environment::output_file("stderr", output)),
            execution_log: Some(self.output_path(&environment::execution_log(plan))),
            piped: false,
            stdin: None,
            spooled: self.spool.is_some(),
            directories: self.output_directories(),
            identity: self.identity,
            cgroup_procs: self.cgroup_procs.clone(),
            mounts: self.identity.map(|_| self.mounts()),
            resource_limits: vec![ResourceLimit {
                resource: LimitedResource::OpenFiles,
                value: Some(self.open_files_max),
            }],
            umask: UMASK,
            fence: self.fence.clone(),
            // Sooner than the daemon and the system's services, when the machine
            // itself runs out of memory.
            oom_score_adjustment: 500,
        }
    }

    fn secret_variables(&self, process: Option<&Process>) -> SecretVariables {
        let known = self.secrets.known();
        let set = environment::secret_environment(&self.plan, known, process);
        SecretVariables(set.into_iter().cloned().collect())
    }

    fn output_directories(&self) -> Vec<DirectorySpec> {
        let outputs = self.directories.outputs.iter().map(|(_, path)| path);
        std::iter::once(&self.directories.stdouterr)
            .chain(outputs)
            .map(|path| DirectorySpec {
                path: path.into(),
                mode: DIRECTORY_MODE,
            })
            .collect()
    }

    fn mounts(&self) -> MountPlan {
        let mut mounts = self.mounts_on_node();
        if let Some(root) = self.root.get() {
            inside::move_in(&mut mounts, root);
        }
        mounts
    }

    fn mounts_on_node(&self) -> MountPlan {
        let private = |target: &str, source: PrivateSource| PrivateDirectory {
            target: target.into(),
            source,
        };
        let job_root = Path::new(&self.paths.job_root);
        let tmp = PrivateSource::Directory(self.paths.private_tmp.clone().into());
        let var_tmp = PrivateSource::Directory(job_root.join(VAR_TMP));
        let bind = |name: &str| BindMount {
            source: self
                .identity_directory
                .join(format!("{}.{name}", self.plan.unix_id.0)),
            target: Path::new("/etc").join(name),
            read_only: true,
        };
        let mut private = vec![private("/tmp", tmp), private("/var/tmp", var_tmp)];
        private.push(PrivateDirectory {
            target: "/dev/shm".into(),
            source: self.shared_memory(),
        });
        let mut binds = vec![bind("passwd"), bind("group")];
        binds.extend(self.knows_others().then(|| BindMount {
            source: job_root.join(HOST_NAMES),
            target: "/etc/hosts".into(),
            read_only: true,
        }));
        MountPlan {
            root: None,
            devices: Some(self.devices.clone()),
            private,
            hidden: std::iter::once(&self.data_directory)
                .chain(&self.hidden)
                .cloned()
                .collect(),
            keep: vec![PathBuf::from(&self.paths.user_root)],
            binds,
            trees: self.trees(),
            // Those of other jobs as well: none sees where others have their files, or keeps
            // anything mounted that they have left.
            detached: vec![self.data_directory.join(MOUNTS)],
            read_only: Vec::new(),
        }
    }

    fn trees(&self) -> Vec<MountedTree> {
        let peer = self.peer_directory.as_ref().map(|directory| MountedTree {
            source: directory.clone(),
            base: self.paths.job_root.clone().into(),
            relative: PEER.into(),
        });
        self.layout.trees().into_iter().chain(peer).collect()
    }

    /// Processes of one job share `/dev/shm` (data loaders and collective
    /// libraries pass data there); a single process has one that goes with it.
    fn shared_memory(&self) -> PrivateSource {
        if self.shares_memory() {
            PrivateSource::Directory(Path::new(&self.paths.job_root).join(SHARED_MEMORY))
        } else {
            PrivateSource::Memory {
                size_bytes: self.shared_memory_bytes(),
            }
        }
    }

    /// Whether its processes need to find those on other nodes.
    pub(super) fn knows_others(&self) -> bool {
        self.plan.gang.len() > 1
    }

    /// Whether several processes of the plan need one `/dev/shm`.
    pub(super) fn shares_memory(&self) -> bool {
        self.plan.launch.processes.len() > 1 || self.peer_directory.is_some() || self.is_contained()
    }

    /// Whether its processes run in a container.
    pub(super) fn is_contained(&self) -> bool {
        !matches!(self.surroundings, Surroundings::Node(_))
    }

    /// Half of the job's memory, as systems do for the whole machine, unless a container asks for
    /// more or less.
    pub(super) fn shared_memory_bytes(&self) -> u64 {
        let container = self.plan.container.as_ref().filter(|_| self.is_contained());
        if let Some(bytes) = container.and_then(|container| container.shared_memory_bytes) {
            return bytes;
        }
        self.allocation.grant.memory_bytes.unwrap_or(2 << 30) / 2
    }
}

/// Where the job sees the directory for remote starts, below its root directory.
const PEER: &str = "peer";

/// Runs a line as `sshd` does, by the shell of the user; by whatever shell there is in a root
/// without that.
const REMOTE_SHELL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "[ -x /bin/bash ] && exec /bin/bash -c \"$1\"; exec /bin/sh -c \"$1\"",
];

/// Variables by which a shell remembers where it is; true of another process only.
const SHELL_VARIABLES: [&str; 5] = ["HOSTNAME", "OLDPWD", "PWD", "SHLVL", "_"];

/// How much of a command a title shows. Those of launchers are long.
const TITLE_LENGTH_MAX: usize = 200;

fn shortened(command: &str) -> String {
    let mut text: String = command.chars().take(TITLE_LENGTH_MAX).collect();
    if text.len() < command.len() {
        text.push('…');
    }
    text.replace(['\n', '\r'], " ")
}

/// The name under which the preparation command is recorded.
pub(super) const PREPARATION: &str = "job_prep";

/// What a job sees as `/var/tmp`, below its root directory.
pub(super) const VAR_TMP: &str = "var-tmp";

/// What a gang sees as `/etc/hosts`, below the job's root directory.
pub(super) const HOST_NAMES: &str = "hosts";

/// What processes of a job share as `/dev/shm`, below its root directory.
pub(super) const SHARED_MEMORY: &str = "shm";

/// The name of an attempt in the file system and among the control groups.
pub(super) fn attempt_name(allocation: &Allocation) -> String {
    run_name(&allocation.uid, allocation.attempt)
}

/// The same by job and attempt.
pub(super) fn run_name(uid: &JobUid, attempt: u32) -> String {
    format!("{uid}.{attempt}")
}

fn working_directory(variables: &BTreeMap<String, String>) -> PathBuf {
    let told = variables.get("AZ_BATCHAI_JOB_WORK_DIR");
    told.map(PathBuf::from).unwrap_or_default()
}

fn argv(command: &Command, root: Option<&JobRoot>) -> Vec<String> {
    match (command, root) {
        (Command::Argv(argv), _) => argv.clone(),
        (Command::Shell(line), Some(root)) => inside::shell(line, root),
        (Command::Shell(line), None) => {
            let script = format!("if [ -r ~/.bashrc ]; then . ~/.bashrc; fi\n{line}");
            [SHELL, "-c", &script].map(str::to_owned).to_vec()
        }
    }
}

/// A command as people know it, for messages.
pub(super) fn shown(command: &Command) -> String {
    match command {
        Command::Argv(argv) => argv.join(" "),
        Command::Shell(line) => line.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use lote_model::allocation::{AllocationPhase, GangMember, Grant};
    use lote_model::duration::Seconds;
    use lote_model::id::{NodeName, UnixId};
    use lote_model::name::{GroupName, ResourceName};
    use lote_model::path::{JobPath, WorkspacePath};
    use lote_model::plan::{GpuShare, LaunchPlan, OnFailure, Part, PlanFile, Variable};
    use lote_model::secret::SecretText;

    use super::*;
    use crate::cgroup::DeviceKind;

    fn process(name: &str) -> Process {
        Process {
            name: name.into(),
            node: 0,
            command: Command::Shell("python train.py".into()),
            variables: vec![Variable::new("RANK", name)],
            working_directory: None,
            output: Some(name.into()),
            gpus: GpuShare::All,
            part: Part::Primary,
            on_failure: OnFailure::FailJob,
            stage: 0,
        }
    }

    pub(in crate::agent) fn job_path() -> JobPath {
        let name = |text: &str| ResourceName::new(text).unwrap();
        let workspace = WorkspacePath {
            group: GroupName::new("g").unwrap(),
            workspace: name("w"),
        };
        JobPath::new(&workspace.child(name("e")), name("j"))
    }

    fn plan(processes: &[&str]) -> NodePlan {
        NodePlan {
            job: job_path(),
            uid: JobUid::new("u1"),
            attempt: 1,
            rank: 0,
            gang: vec![GangMember {
                node: NodeName::new("n1"),
                address: "10.0.0.4".into(),
            }],
            plugin: "test".into(),
            launch: LaunchPlan {
                processes: processes.iter().map(|name| process(name)).collect(),
                files: vec![PlanFile {
                    node: None,
                    path: "etc/hosts.txt".into(),
                    contents: "10.0.0.4 slots=1\n".into(),
                    executable: false,
                }],
                ..LaunchPlan::default()
            },
            primaries_elsewhere: false,
            mounts: lote_model::planned_mount::PlannedMounts::default(),
            container: None,
            user_variables: vec![],
            secret_variables: vec![],
            master_port: None,
            peer_launcher: false,
            preparation: None,
            std_out_err_path_prefix: "$AZ_BATCHAI_MOUNT_ROOT".into(),
            input_directories: vec![],
            output_directories: vec![],
            output_segment: "s".into(),
            working_directory: None,
            unix_id: UnixId(2_000_000),
            cluster: "local".into(),
            grace_period: Seconds(30),
            previous_node: None,
        }
    }

    /// A job of the given processes below `data`.
    pub(in crate::agent) fn job(
        data: &Path,
        processes: &[&str],
        identity: Option<Identity>,
    ) -> JobContext {
        let plan = plan(processes);
        let paths = JobPaths::new(&data.join("work").to_string_lossy(), &plan);
        let directories = Directories::new(&plan, &paths).unwrap();
        let layout = Layout::new(data, "u1.1", &plan.mounts, &paths);
        let allocation = Allocation {
            job: job_path(),
            uid: plan.uid.clone(),
            attempt: 1,
            rank: 0,
            phase: AllocationPhase::Run,
            grant: Grant {
                exclusive: true,
                gpus: vec![],
                cpu_millis: 1000,
                numa_nodes: Vec::new(),
                memory_bytes: Some(1 << 30),
                processes_max: None,
                ports: vec![],
            },
            granted_at: jiff::Timestamp::UNIX_EPOCH,
            boot_id: "b".into(),
        };
        JobContext {
            allocation,
            plan,
            paths,
            directories,
            layout,
            hidden: Vec::new(),
            secrets: JobSecrets::default(),
            surroundings: Surroundings::Node(None),
            root: OnceLock::new(),
            identity,
            spool: None,
            run_directory: data.join("run"),
            identity_directory: data.join("identity"),
            data_directory: data.into(),
            peer_directory: None,
            cgroup_procs: vec!["/sys/fs/cgroup/lote/u1.1/cgroup.procs".into()],
            fence: Some(data.join("fence")),
            devices: vec![DeviceNode {
                name: "nvidia0".into(),
                host: "/dev/nvidia0".into(),
                kind: DeviceKind::Character,
                major: 195,
                minor: 0,
                mode: 0o666,
                uid: 0,
                gid: 0,
            }],
            open_files_max: 1024,
        }
    }

    const USER: Identity = Identity {
        uid: 2_000_000,
        gid: 2_000_000,
    };

    #[test]
    fn the_whole_specification_of_an_isolated_process() {
        let job = job(Path::new("/data"), &["0", "1"], Some(USER));
        insta::assert_json_snapshot!(job.process(&job.plan.launch.processes[1], 2));
    }

    #[test]
    fn without_isolation_nothing_is_mounted_and_nobody_else_is_become() {
        let job = job(Path::new("/data"), &["0"], None);
        let spec = job.process(&job.plan.launch.processes[0], 0);
        assert_eq!((spec.identity, spec.mounts), (None, None));
    }

    #[test]
    fn a_secret_stands_beside_the_environment_and_is_not_shown() {
        let mut job = job(Path::new("/data"), &["0"], None);
        let token = ("TOKEN".to_owned(), SecretText::new("hunter2"));
        job.secrets = JobSecrets::new(Ok(vec![token.clone()]));
        let spec = job.process(&job.plan.launch.processes[0], 0);
        assert_eq!(spec.secret_env, SecretVariables(vec![token]));
        assert!(spec.env.iter().all(|(name, _)| name != "TOKEN"));
        let shown = format!("{spec:?} {job:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        // Only on its way to the spawner is it written out.
        assert!(serde_json::to_string(&spec).unwrap().contains("hunter2"));
    }

    fn remote<'a>(data: &Path, from: &'a NodeName, pairs: &[(&str, &str)]) -> RemoteStart<'a> {
        RemoteStart {
            record: data.join("run/u1.1/remote_00.0"),
            from,
            command: "orted -mca x 1".into(),
            environment: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            has_input: true,
        }
    }

    #[test]
    fn the_whole_specification_of_a_remotely_started_process() {
        let data = Path::new("/data");
        let mut job = job(data, &["0", "1"], Some(USER));
        job.peer_directory = Some(data.join("peer/u1.1"));
        job.plan.secret_variables = vec!["TOKEN".into()];
        job.secrets = JobSecrets::new(Ok(vec![("TOKEN".to_owned(), SecretText::new("hunter2"))]));
        let from = NodeName::new("a");
        let caller = [
            ("AZ_BATCH_NODE_ID", "a"),
            ("CUDA_VISIBLE_DEVICES", "GPU-of-a"),
            ("HOME", "/elsewhere"),
            ("OMPI_MCA_x", "a b=c\nd"),
            ("PATH", "/opt/mpi/bin:/bin"),
            ("PWD", "/elsewhere"),
            ("TOKEN", "another"),
        ];
        let mut spec = job.remote(remote(data, &from, &caller));
        let secret = std::mem::take(&mut spec.secret_env);
        assert_eq!(secret.0[0].1.expose(), "hunter2");
        insta::assert_json_snapshot!(spec);
    }

    #[test]
    fn what_goes_into_the_log_of_a_remote_start_is_short_and_without_secrets() {
        let data = Path::new("/data");
        let mut job = job(data, &["0"], Some(USER));
        job.secrets = JobSecrets::new(Ok(vec![("TOKEN".to_owned(), SecretText::new("hunter2"))]));
        let from = NodeName::new("a");
        let mut start = remote(data, &from, &[]);
        start.command = format!("TOKEN=hunter2 program\n{}", "x".repeat(5_000));
        let spec = job.remote(start);
        assert!(!spec.title.contains("hunter2"), "{}", spec.title);
        assert!(
            !spec.title.contains('\n') && spec.title.len() < 300,
            "{}",
            spec.title
        );
        // A caller without any environment finds programs nevertheless.
        assert!(spec.env.iter().any(|(name, _)| name == "PATH"));
    }

    #[test]
    fn processes_of_one_job_share_memory_and_a_lone_one_has_its_own() {
        let source = |processes: &[&str]| {
            let job = job(Path::new("/data"), processes, Some(USER));
            let mounts = job.preparation("true").mounts.unwrap();
            mounts
                .private
                .into_iter()
                .find(|private| private.target == Path::new("/dev/shm"))
                .unwrap()
                .source
        };
        assert!(matches!(source(&["0", "1"]), PrivateSource::Directory(_)));
        assert_eq!(
            source(&["0"]),
            PrivateSource::Memory {
                size_bytes: 512 << 20
            }
        );
    }

    #[test]
    fn a_process_called_finish_is_not_taken_for_a_clean_up_step() {
        let job = job(Path::new("/data"), &["finish"], None);
        let process = job.process(&job.plan.launch.processes[0], 0);
        let step = job.finish_step(0, &Command::Shell("true".into()));
        assert_ne!(process.record, step.record);
    }

    #[test]
    fn a_working_directory_may_be_named_by_a_variable() {
        let mut job = job(Path::new("/data"), &["0"], None);
        job.plan.working_directory = Some("$AZ_BATCHAI_JOB_TEMP/src".into());
        let spec = job.process(&job.plan.launch.processes[0], 0);
        assert_eq!(
            spec.working_directory,
            Path::new(&job.paths.scratch).join("src")
        );
    }
}
