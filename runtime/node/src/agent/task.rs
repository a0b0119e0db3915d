//! One job's part on this node, from preparation to the last report.
//!
//! Every step can be repeated: after a restart of the daemon the task runs from
//! the top again, and finds by the run records what has happened already.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use lote_model::accounting::Account;
use lote_model::allocation::{Allocation, AllocationPhase, NodePlan};
use lote_model::environment::{Directories, JobPaths};
use lote_model::job::{DirectoryLocation, ErrorRecord, STDOUTERR, UNDELIVERED};
use lote_model::key;
use lote_model::plan::Part;
use lote_model::problem::explain;
use lote_model::quantity::format_bytes;
use lote_model::report::{Outcome, Report, ReportPhase};
use lote_store::{StoreError, get_json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::allocations::Directive;
use super::container::Surroundings;
use super::ending::{Failure, LimitsHit};
use super::fence::Pass;
use super::output::{JobSpool, Output};
use super::preparation::{job_directories, record_directory, remove_job_directory};
use super::process_spec::{JobContext, attempt_name};
use super::processes::{Processes, terminate};
use super::progress::Progress;
use super::reporter::{Reporter, Withdrawn};
use super::room::full_directory;
use super::secrets::{self, JobSecrets};
use super::{Node, cgroup_record, container, ending, mounts, registration};
use crate::cgroup::{CgroupLayout, CgroupUsage, Controller, DeviceControl, JobCgroup, Limits};
use crate::container::remembered;
use crate::devices::{self, DeviceError};
use crate::directories;
use crate::gpu::{GpuFailure, GpuHold};
use crate::isolation::DeviceNode;
use crate::launch::LostReason;
use crate::mount::{self, Made};
use crate::peer::{Member, MemberParts};
use crate::spool::Undelivered;

/// Pause after a failed call of the store, and between tries to kill what hangs.
const RETRY: Duration = Duration::from_millis(500);

/// A job that ends sooner needs no report that it runs: the last one says all. Long
/// enough for short jobs on a busy machine, where each report costs a durable write;
/// short enough for people, who see a job's output from this moment on.
const RUNNING_REPORT_DELAY: Duration = Duration::from_millis(40);

/// What supports the primary processes has this long to end after them.
const SUPPORT_GRACE_MAX: Duration = Duration::from_secs(5);

/// The most time one clean-up step of a plan may take.
const FINISH_STEP_MAX: Duration = Duration::from_mins(1);

/// Carries out one allocation. `processes_gone` is cancelled once nothing of it runs here.
pub(super) async fn run(
    node: Arc<Node>,
    allocation: Allocation,
    gpus: GpuHold,
    directive: watch::Receiver<Directive>,
    processes_gone: CancellationToken,
) {
    let reporter = Arc::new(Reporter::new(
        Arc::clone(&node),
        allocation.clone(),
        directive.clone(),
    ));
    let stored = loop {
        match load(&node, &allocation).await {
            Ok(stored) => break stored,
            Err(_) if directive.borrow().phase.is_none() => return,
            Err(error) => {
                tracing::warn!(%error, job = %allocation.job, "cannot read a plan; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let Some(plan) = stored.plan else {
        let error = ErrorRecord::new("PlanMissing", "the plan of the job is not in the store");
        report_end(&reporter, failed(error), Account::default(), &[]).await;
        return;
    };
    let started_at = Timestamp::now();
    let paths = JobPaths::new(&node.record.work_directory, &plan);
    let directories = match Directories::new(&plan, &paths) {
        Ok(directories) => directories,
        Err(error) => {
            report_end(&reporter, failed(error), Account::default(), &[]).await;
            return;
        }
    };
    let job = context(&node, allocation, plan, paths, directories, stored.secrets);
    let mut withdrawal = directive.clone();
    let pass = tokio::select! {
        pass = node.fence.opened() => pass,
        // Whatever ran before the fence closed is gone.
        _ = withdrawal.wait_for(is_withdrawn) => return,
    };
    let progress = Progress::new(Arc::clone(&reporter));
    let mut task = Task {
        pass,
        gpus: Arc::new(gpus),
        processes_gone,
        node,
        job: Arc::new(job),
        directive,
        reporter,
        cgroup: None,
        output: None,
        mounts: Vec::new(),
        member: None,
        progress: Some(progress),
        running_report: None,
        all_ended: stored.ended,
    };
    if stored.ended {
        task.end(started_at).await;
    } else {
        let mut outcome = task.execute().await;
        let (account, undelivered) = task.end(started_at).await;
        task.settle_running_report().await;
        let mut locations = task.locations();
        if let Some(undelivered) = undelivered {
            let node = &task.node.config.name;
            outcome = ending::not_delivered(outcome, node.as_str(), &undelivered);
            locations.push(DirectoryLocation {
                id: UNDELIVERED.to_owned(),
                node: node.clone(),
                path: undelivered.local.to_string_lossy().into_owned(),
                root: None,
                while_mounted: false,
            });
        }
        report_end(&task.reporter, outcome, account, &locations).await;
    }
    task.forget().await;
}

/// What the store knows of an allocation.
struct Stored {
    plan: Option<NodePlan>,
    secrets: JobSecrets,
    /// Whether this node has reported the end before.
    ended: bool,
}

async fn load(node: &Node, allocation: &Allocation) -> Result<Stored, StoreError> {
    let Allocation {
        uid, attempt, rank, ..
    } = allocation;
    let store = &*node.store;
    let plan = get_json::<NodePlan>(store, &key::plan(uid, *attempt, *rank)).await?;
    let report = get_json::<Report>(store, &key::report(uid, &node.config.name)).await?;
    let ended = report.is_some_and(|report| {
        report.value.attempt == *attempt && matches!(report.value.phase, ReportPhase::Ended { .. })
    });
    let plan = plan.map(|plan| plan.value);
    let secrets = match plan.as_ref().filter(|_| !ended) {
        Some(plan) => secrets::load(node, plan).await?,
        None => JobSecrets::default(),
    };
    Ok(Stored {
        plan,
        secrets,
        ended,
    })
}

/// What the operator tells the daemon and not its jobs, beside the daemon's data.
fn hidden(node: &Node) -> Vec<PathBuf> {
    let config = &node.config;
    let tables = config.mounts.storage_table.iter();
    let tables = tables.chain(&config.containers.image_table);
    tables.chain(&config.hidden).cloned().collect()
}

fn context(
    node: &Node,
    allocation: Allocation,
    plan: NodePlan,
    paths: JobPaths,
    directories: Directories,
    secrets: JobSecrets,
) -> JobContext {
    let name = attempt_name(&allocation);
    let layout = mounts::layout(&node.config.data_directory, &name, &plan.mounts, &paths);
    let made = plan.container.as_ref();
    let made = made.and_then(|_| remembered(&node.config.data_directory, &name));
    let mut job = JobContext {
        surroundings: Surroundings::Node(None),
        root: made.map_or_else(OnceLock::new, OnceLock::from),
        spool: JobSpool::of(&node.config.data_directory, &plan, &layout, &directories),
        layout,
        hidden: hidden(node),
        identity: node.identity(plan.unix_id),
        run_directory: node.run_directory(),
        identity_directory: node.identity_directory(),
        data_directory: node.config.data_directory.clone(),
        peer_directory: (plan.peer_launcher && node.cgroups.is_some())
            .then(|| node.peer_directory(&name)),
        cgroup_procs: Vec::new(),
        fence: node.fence.file(),
        devices: Vec::new(),
        open_files_max: node.open_files_max,
        allocation,
        plan,
        paths,
        directories,
        secrets,
    };
    let made = job.root.get();
    job.surroundings = container::surroundings(node, &job.plan, made, job.has_started());
    job
}

fn failed(error: ErrorRecord) -> Outcome {
    Outcome::Failed {
        exit_code: None,
        error,
    }
}

async fn report_end(
    reporter: &Reporter,
    outcome: Outcome,
    account: Account,
    directories: &[DirectoryLocation],
) {
    // Withdrawn: nobody waits for it any more, and there is nothing left to do.
    let _: Result<(), Withdrawn> = reporter
        .report(ReportPhase::Ended { outcome, account }, directories)
        .await;
}

struct Task {
    /// The right to run processes, as long as the node is not cut off.
    pass: Pass,
    processes_gone: CancellationToken,
    /// Its GPUs, as long as the task lives.
    gpus: Arc<GpuHold>,
    node: Arc<Node>,
    job: Arc<JobContext>,
    directive: watch::Receiver<Directive>,
    reporter: Arc<Reporter>,
    cgroup: Option<JobCgroup>,
    /// Its output on the way, if that is spooled.
    output: Option<Output>,
    /// The file systems that are mounted for it.
    mounts: Vec<Made>,
    /// Its part in remote starts, if there are such.
    member: Option<Arc<Member>>,
    /// Until the job is prepared.
    progress: Option<Progress>,
    running_report: Option<RunningReport>,
    /// Whether every process of the plan is known to have ended.
    all_ended: bool,
}

/// A report on its way that the processes run; dropping `wanted` recalls it if
/// it has not been sent yet.
struct RunningReport {
    wanted: oneshot::Sender<()>,
    sending: JoinHandle<()>,
}

/// How a job's part comes to its end before anything is cleaned up.
enum Verdict {
    Completed,
    Failed(Failure),
    /// A GPU of the job failed.
    GpuFailed(GpuFailure),
    /// A file system of the job is gone.
    MountLost(ErrorRecord),
    Stopped,
    /// The node was cut off.
    Fenced,
}

impl Task {
    /// Everything up to the end of the processes that matter.
    async fn execute(&mut self) -> Outcome {
        if let Err(outcome) = self.set_up().await {
            return outcome;
        }
        let node = self.node.config.name.to_string();
        self.begin_account().await;
        if !self.job.has_started()
            && let Err(failure) = self.gpus.check().await
        {
            return ending::gpu_failed(&node, &failure);
        }
        let verdict = self.run_processes().await;
        match verdict {
            Verdict::Completed => Outcome::Completed,
            Verdict::Stopped => Outcome::Stopped,
            Verdict::Fenced => Outcome::Lost {
                reason: format!("on node {node}: {}", LostReason::Fenced),
                error: None,
            },
            Verdict::GpuFailed(failure) => ending::gpu_failed(&node, &failure),
            Verdict::MountLost(error) => Outcome::Lost {
                reason: error.message.clone(),
                error: Some(error),
            },
            Verdict::Failed(failure) => failure.outcome(&node, &self.limits_hit().await),
        }
    }

    /// Everything that processes need before any is started.
    async fn set_up(&mut self) -> Result<(), Outcome> {
        self.control().map_err(failed)?;
        self.mount().await?;
        self.make_directories().await.map_err(failed)?;
        self.enter_container().await
    }

    /// The job's container; gives up when nobody wants it any more.
    async fn enter_container(&mut self) -> Result<(), Outcome> {
        let (node, job) = (Arc::clone(&self.node), Arc::clone(&self.job));
        let directories = self.locations();
        let tell = |what: &str| self.tell(what, &directories);
        self.unless_unwanted(container::enter(&node, &job, &tell))
            .await
    }

    /// The file systems of the job; gives up when nobody wants it any more.
    async fn mount(&mut self) -> Result<(), Outcome> {
        let (node, job) = (Arc::clone(&self.node), Arc::clone(&self.job));
        let tell = |what: &str| self.tell(what, &[]);
        let mounting = mounts::mount(&node, &job, &tell);
        self.mounts = self.unless_unwanted(mounting).await?;
        Ok(())
    }

    /// Says what is done for the job, and where what that writes can be read.
    fn tell(&self, doing: &str, directories: &[DirectoryLocation]) {
        if let Some(progress) = &self.progress {
            progress.now(doing, directories);
        }
    }

    /// To the end of `work`, or until nobody wants the job any more.
    async fn unless_unwanted<T>(
        &self,
        work: impl Future<Output = Result<T, Outcome>>,
    ) -> Result<T, Outcome> {
        let mut stop = self.directive.clone();
        let node = &self.node;
        tokio::select! {
            biased;
            made = work => made,
            _ = stop.wait_for(|directive| is_stop(*directive)) => Err(Outcome::Stopped),
            () = node.fence.closed(self.pass) => Err(Outcome::Lost {
                reason: format!("on node {}: {}", node.config.name, LostReason::Fenced),
                error: None,
            }),
        }
    }

    /// The control group, after the directory of the run records.
    fn control(&mut self) -> Result<(), ErrorRecord> {
        // A job that runs already is not ended for want of a secret that it has got.
        if let Some(problem) = self.job.secrets.problem()
            && !self.job.has_started()
        {
            return Err(problem.clone());
        }
        let node = self.node.config.name.clone();
        let error =
            |code, message: String| ErrorRecord::new(code, message).with("node", node.as_str());
        // First of all: what is left after a crash is found by it.
        record_directory(&self.job.records())
            .map_err(|cause| error("FailedPreparingNode", cause.to_string()))?;
        if let Some(layout) = &self.node.cgroups {
            let devices = self.devices().map_err(|cause| {
                error("GpuDeviceMissing", explain(&cause)).with("step", "set-up")
            })?;
            let limits = self.limits(layout, &devices);
            if let Some(job) = Arc::get_mut(&mut self.job) {
                job.devices = devices;
            }
            let cgroup = cgroup_record::open_or_create(
                &self.job.records(),
                layout,
                &attempt_name(&self.job.allocation),
                &limits,
            )
            .map_err(|cause| {
                error(
                    "IsolationFailed",
                    format!("no control group for the job: {}", explain(&cause)),
                )
            })?;
            if let Some(job) = Arc::get_mut(&mut self.job) {
                job.cgroup_procs = cgroup.procs_files();
            }
            self.cgroup = Some(cgroup);
        }
        Ok(())
    }

    async fn make_directories(&mut self) -> Result<(), ErrorRecord> {
        let node = self.node.config.name.clone();
        let error = |message: String| {
            ErrorRecord::new("FailedPreparingNode", message).with("node", node.as_str())
        };
        let job = Arc::clone(&self.job);
        let prepared = tokio::task::spawn_blocking(move || job_directories(&job)).await;
        match prepared {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => return Err(error(cause.to_string())),
            Err(cause) => return Err(error(cause.to_string())),
        }
        self.spool_output().await.map_err(|cause| {
            let message = format!("no place for the output of the job: {cause}");
            error(message)
        })?;
        self.take_part().map_err(|cause| {
            let message = format!("no socket for remote starts of the job: {cause}");
            error(message)
        })
    }

    /// Lets processes of the job start others, here and on its other nodes.
    fn take_part(&mut self) -> std::io::Result<()> {
        let Some(directory) = self.job.peer_directory.clone() else {
            return Ok(());
        };
        let (node, job) = (&self.node, Arc::clone(&self.job));
        let directive = self.directive.clone();
        let parts = MemberParts {
            uid: job.plan.uid.clone(),
            attempt: job.plan.attempt,
            node: node.config.name.clone(),
            gang: job.plan.gang.clone(),
            directory,
            records: job.records(),
            cgroup_procs: job.cgroup_procs.clone(),
            secret_names: job.plan.secret_variables.clone(),
            launcher: Arc::clone(&node.launcher),
            calls: Arc::clone(&node.peer_calls),
            specify: Box::new(move |start| job.remote(start)),
            may_run: Box::new(move || directive.borrow().phase > Some(AllocationPhase::Prepare)),
        };
        self.member = Some(Member::open(&node.members, parts)?);
        Ok(())
    }

    /// Nothing more is started from other nodes; what was, ends with the rest.
    async fn leave_gang(&mut self) {
        if let Some(member) = self.member.take() {
            member.close().await;
        }
    }

    /// Starts to deliver the output, if it does not lie on this machine anyway.
    async fn spool_output(&mut self) -> std::io::Result<()> {
        if let Some(spool) = self.job.spool.clone() {
            let directive = self.directive.clone();
            let output = Output::start(&self.node, &self.job, spool, self.pass, directive);
            self.output = Some(output.await?);
        }
        Ok(())
    }

    /// The device files of the job. One that runs already has what it has: what became of a
    /// device meanwhile is no reason to end it.
    fn devices(&self) -> Result<Vec<DeviceNode>, DeviceError> {
        let config = &self.node.config.devices;
        let instance = |uuid: &str| {
            let view = self.node.gpus.view();
            let gpus = &view.borrow().gpus;
            gpus.iter().find(|gpu| gpu.uuid == uuid)?.mig.clone()
        };
        match config.of_job(&self.job.allocation.grant.gpus, instance) {
            Err(_) if self.job.has_started() => Ok(config.of_every_job()),
            devices => devices,
        }
    }

    fn limits(&self, layout: &CgroupLayout, devices: &[DeviceNode]) -> Limits {
        let grant = &self.job.allocation.grant;
        let cores = u64::from(self.node.record.cpu_cores);
        let topology = &self.node.topology;
        let cpuset = topology.cpuset(&grant.numa_nodes, grant.memory_bytes);
        let cpuset = cpuset.filter(|_| layout.has(Controller::Cpuset));
        // Processors that are kept free can be kept so by a quota as well.
        let all = (topology.reserves() && cpuset.is_none()).then_some(cores * 1000);
        let shared = (!grant.exclusive).then_some(u64::from(grant.cpu_millis));
        let restricted = !matches!(layout.device_control(), DeviceControl::Missing(_));
        Limits {
            cpu_share_millis: shared,
            cpu_limit_millis: shared.or(all),
            memory_bytes: grant.memory_bytes,
            // Threads grow with the processors of the machine.
            pids_max: Some(grant.processes_max.map_or(4_096 + 512 * cores, u64::from)),
            cpuset,
            io_weight: shared.map(|millis| io_weight(millis, cores)),
            devices: restricted.then(|| devices::rules(devices)),
        }
    }

    async fn run_processes(&mut self) -> Verdict {
        let processes = self.processes();
        let mut stop = self.directive.clone();
        let (node, pass) = (Arc::clone(&self.node), self.pass);
        let (job, mounts) = (Arc::clone(&self.job), self.mounts.clone());
        let verdict = tokio::select! {
            biased;
            _ = stop.wait_for(|directive| is_stop(*directive)) => Verdict::Stopped,
            () = node.fence.closed(pass) => Verdict::Fenced,
            error = mount::loss(&job.layout, &mounts, &node.config.name) => Verdict::MountLost(error),
            verdict = self.run_with_gpus(&processes) => verdict,
        };
        self.leave_gang().await;
        let asked = Duration::from_secs(self.job.plan.grace_period.0);
        let grace = match &verdict {
            Verdict::Stopped | Verdict::Fenced => Some(asked),
            Verdict::GpuFailed(_) | Verdict::MountLost(_) => Some(SUPPORT_GRACE_MAX.min(asked)),
            _ if self.has_supporters() => Some(SUPPORT_GRACE_MAX.min(asked)),
            Verdict::Completed => {
                // Those of the plan have; others may have been started beside them.
                self.all_ended = self.job.peer_directory.is_none();
                None
            }
            Verdict::Failed(_) => None,
        };
        if let Some(grace) = grace {
            terminate(&processes, self.cgroup.as_ref(), self.patience(grace)).await;
        }
        verdict
    }

    /// Waits for the end of the grace period: sooner when the node is cut off, and at once when
    /// nobody wants the job any more, because another node may have it already.
    async fn patience(&self, grace: Duration) {
        let mut directive = self.directive.clone();
        let fence = &self.node.fence;
        let cut_off = async {
            fence.closed(self.pass).await;
            tokio::time::sleep(fence.grace()).await;
        };
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            () = cut_off => {}
            _ = directive.wait_for(is_withdrawn) => {}
        }
    }

    /// To the end of the processes, or of a GPU.
    async fn run_with_gpus(&mut self, processes: &Processes) -> Verdict {
        let (gpus, records) = (Arc::clone(&self.gpus), self.job.records());
        let verdict = tokio::select! {
            biased;
            failure = gpus.failure() => return Verdict::GpuFailed(failure),
            never = gpus.keep(&records) => match never {},
            verdict = self.run_to_the_end(processes) => verdict,
        };
        match verdict {
            Verdict::Failed(failure) => {
                let node = &self.node.config.name;
                if let Some(error) = mount::lost(&self.job.layout, &self.mounts, node) {
                    return Verdict::MountLost(error);
                }
                match self.gpus.reason_of_failure().await {
                    Some(gpu) => Verdict::GpuFailed(gpu),
                    None => Verdict::Failed(failure),
                }
            }
            verdict => verdict,
        }
    }

    /// What the job uses is counted from here on.
    async fn begin_account(&self) {
        let groups = self.job.cgroup_procs.iter();
        let groups = groups.filter_map(|procs| procs.parent().map(Path::to_path_buf));
        self.gpus.begin(&self.job.records(), groups.collect()).await;
    }

    async fn run_to_the_end(&mut self, processes: &Processes) -> Verdict {
        if let Some(command_line) = &self.job.plan.preparation {
            self.tell("running the preparation command", &self.locations());
            if let Some(failure) = processes.prepare(command_line).await {
                return Verdict::Failed(failure);
            }
        }
        self.progress = None;
        self.pass_barrier().await;
        let mut primaries_left = 0_usize;
        let mut ends = FuturesUnordered::new();
        for started in processes.start().await {
            primaries_left += usize::from(started.is_primary());
            ends.push(processes.follow(started));
        }
        self.report_running_soon();
        let mut done = false;
        loop {
            if primaries_left == 0 && !std::mem::replace(&mut done, true) {
                if !self.job.plan.primaries_elsewhere {
                    return Verdict::Completed;
                }
                self.report_primaries_done().await;
            }
            match ends.next().await {
                Some((_, Some(failure))) => return Verdict::Failed(failure),
                Some((process, None)) => {
                    primaries_left -= usize::from(process.part == Part::Primary);
                }
                // The leader says when the primaries of the other nodes are done.
                None => std::future::pending::<()>().await,
            }
        }
    }

    /// Waits until every node of the gang is prepared.
    async fn pass_barrier(&mut self) {
        if self.directive.borrow().phase == Some(AllocationPhase::Prepare) {
            let _: Result<(), Withdrawn> = self
                .reporter
                .report(ReportPhase::Prepared, &self.locations())
                .await;
        }
        let open = |directive: &Directive| {
            directive
                .phase
                .is_some_and(|phase| phase >= AllocationPhase::Run)
        };
        self.directive.wait_for(open).await.ok();
        if let Some(member) = &self.member {
            member.run();
        }
    }

    fn report_running_soon(&mut self) {
        let (reporter, locations) = (Arc::clone(&self.reporter), self.locations());
        let (wanted, unwanted) = oneshot::channel();
        let sending = tokio::spawn(async move {
            if tokio::time::timeout(RUNNING_REPORT_DELAY, unwanted)
                .await
                .is_err()
            {
                let _: Result<(), Withdrawn> =
                    reporter.report(ReportPhase::Running, &locations).await;
            }
        });
        self.running_report = Some(RunningReport { wanted, sending });
    }

    /// Makes sure that no earlier report can overtake the next one.
    async fn settle_running_report(&mut self) {
        if let Some(RunningReport { wanted, sending }) = self.running_report.take() {
            drop(wanted);
            sending.await.ok();
        }
    }

    async fn report_primaries_done(&mut self) {
        self.settle_running_report().await;
        let phase = ReportPhase::PrimariesDone { exit_code: 0 };
        let _: Result<(), Withdrawn> = self.reporter.report(phase, &self.locations()).await;
    }

    fn processes(&self) -> Processes {
        Processes::new(Arc::clone(&self.node), Arc::clone(&self.job))
    }

    fn has_supporters(&self) -> bool {
        self.job
            .plan
            .launch
            .processes
            .iter()
            .any(|process| process.part == Part::Supporting)
    }

    async fn limits_hit(&self) -> LimitsHit {
        let usage = self.usage();
        let full = full_directory(&self.job).await;
        LimitsHit::new(&usage, self.job.allocation.grant.memory_bytes, full)
    }

    fn usage(&self) -> CgroupUsage {
        let usage = self.cgroup.as_ref().map(JobCgroup::usage);
        usage.and_then(Result::ok).unwrap_or_default()
    }

    /// Ends and removes everything of the job but its output and its records.
    async fn end(&mut self, started_at: Timestamp) -> (Account, Option<Undelivered>) {
        if self.cgroup.is_none()
            && let Some(layout) = &self.node.cgroups
        {
            let name = attempt_name(&self.job.allocation);
            self.cgroup = cgroup_record::open(&self.job.records(), layout, &name)
                .ok()
                .flatten();
        }
        self.leave_gang().await;
        self.kill_rest().await;
        if !self.job.plan.launch.finish.is_empty() {
            let mut directive = self.directive.clone();
            tokio::select! {
                biased;
                _ = directive.wait_for(is_withdrawn) => {}
                () = self.node.fence.closed(self.pass) => {}
                () = self.finish() => {}
            }
            self.kill_rest().await;
        }
        self.processes_gone.cancel();
        self.tell_of_memory().await;
        let account = self.account(started_at).await;
        // Before the mounts it needs go with the rest.
        let undelivered = self.deliver_output().await;
        self.remove().await;
        if self.gpus.has_gpus() {
            self.gpus.settle().await;
            self.tell_of_gpus().await;
        }
        (account, undelivered)
    }

    /// Says in the launcher's log that processes were killed for want of memory. The end of those
    /// that were started from another node is seen there, and the reason only here.
    async fn tell_of_memory(&self) {
        let kills = self.usage().oom_kills;
        if kills == 0 || self.job.peer_directory.is_none() {
            return;
        }
        let job = Arc::clone(&self.job);
        let told = tokio::task::spawn_blocking(move || {
            let limit = job.allocation.grant.memory_bytes.unwrap_or_default();
            let who = match kills {
                1 => "1 process of the job was".to_owned(),
                many => format!("{many} processes of the job were"),
            };
            let message = format!(
                "{who} killed on this node, because the job took more than its memory here ({})",
                format_bytes(limit)
            );
            job.log(&message)
        });
        if let Ok(Err(error)) = told.await {
            tracing::debug!(%error, "cannot say in a job's log that its memory was used up");
        }
    }

    /// Waits until the output has arrived, now that nothing adds to it. What has not by the end of
    /// the operator's patience stays, and so does what belongs to a job that another node may have.
    async fn deliver_output(&mut self) -> Option<Undelivered> {
        let output = self.output.take()?;
        let mut directive = self.directive.clone();
        tokio::select! {
            biased;
            _ = directive.wait_for(is_withdrawn) => None,
            finished = output.finish(&self.node) => finished.err(),
        }
    }

    /// Whoever learns that the job is over may give its GPUs to the next: what is wrong with them
    /// must be known by then.
    async fn tell_of_gpus(&self) {
        if let Err(error) = registration::publish(&self.node).await {
            tracing::warn!(
                error = explain(&error),
                "cannot say what has become of the GPUs of a job"
            );
        }
    }

    /// The clean-up steps of the plan. Not for a job that another node may have already.
    async fn finish(&self) {
        let processes = self.processes();
        for (index, step) in self.job.plan.launch.finish.iter().enumerate() {
            processes
                .finish_step(index, &step.command, FINISH_STEP_MAX)
                .await;
        }
    }

    /// SIGKILL for whatever is left, again and again until nothing is.
    async fn kill_rest(&mut self) {
        if !std::mem::replace(&mut self.all_ended, true) {
            // First the shims: one that is still setting its process up could put
            // it into the control group after everything there was killed.
            terminate(&self.processes(), None, std::future::ready(())).await;
        }
        let Some(cgroup) = &self.cgroup else { return };
        while !cgroup.is_empty().unwrap_or(false) {
            if let Err(error) = cgroup.kill().await {
                tracing::error!(error = explain(&error), job = %self.job.plan.job, "a job does not die; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn account(&self, started_at: Timestamp) -> Account {
        let usage = self.usage();
        let gpus = self.gpus.account().await;
        // An earlier daemon may have started it.
        let started_at = self.gpus.since().unwrap_or(started_at);
        let seconds = (Timestamp::now() - started_at)
            .total(jiff::Unit::Second)
            .unwrap_or(0.0)
            .max(0.0);
        Account {
            cpu_seconds: usage.cpu_seconds.unwrap_or(0.0),
            memory_peak_bytes: usage.memory_peak_bytes.unwrap_or(0),
            node_seconds: seconds,
            gpu_seconds: gpus.iter().map(|gpu| gpu.seconds).sum(),
            gpus,
            read_bytes: usage.read_bytes,
            written_bytes: usage.written_bytes,
        }
    }

    async fn remove(&mut self) {
        if let Some(cgroup) = self.cgroup.take()
            && let Err(error) = cgroup.remove().await
        {
            tracing::warn!(error = explain(&error), job = %self.job.plan.job, "a control group stays behind");
        }
        if self.job.plan.container.is_some() {
            container::leave(&self.node, &attempt_name(&self.job.allocation)).await;
        }
        let is_spooled = self.job.spool.is_some();
        if !is_spooled || !self.node.has_spool(&attempt_name(&self.job.allocation)) {
            mounts::leave(&self.node, &self.job).await;
        }
        mounts::end_share(&self.node, &self.job).await;
        let job = Arc::clone(&self.job);
        let removed = tokio::task::spawn_blocking(move || {
            if let Some(directory) = &job.peer_directory
                && let Err(error) = directories::remove(directory)
            {
                tracing::warn!(%error, "what a job saw of remote starts stays behind");
            }
            remove_job_directory(Path::new(&job.paths.job_root), job.identity.is_some())
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(%error, job = %self.job.plan.job, "a directory of a job stays behind");
        }
    }

    /// Removes the records: the end is in the store, nothing can start again.
    async fn forget(&self) {
        let records = self.job.records();
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(records)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, job = %self.job.plan.job, "run records stay behind");
        }
    }

    fn locations(&self) -> Vec<DirectoryLocation> {
        let Directories {
            stdouterr, outputs, ..
        } = &self.job.directories;
        let outputs = outputs
            .iter()
            .map(|(id, path)| (id.as_str(), path.as_str()));
        let all = std::iter::once((STDOUTERR, stdouterr.as_str())).chain(outputs);
        mounts::locations(&self.node, &self.job, &self.mounts, all)
    }
}

/// A job's part of the node's processors is its part of the disks, in thousandths.
fn io_weight(cpu_millis: u64, cores: u64) -> u16 {
    let weight = cpu_millis / cores.max(1);
    u16::try_from(weight.clamp(1, 1000)).unwrap_or(1000)
}

fn is_stop(directive: Directive) -> bool {
    directive
        .phase
        .is_none_or(|phase| phase == AllocationPhase::Stop)
}

pub(super) fn is_withdrawn(directive: &Directive) -> bool {
    directive.phase.is_none()
}
