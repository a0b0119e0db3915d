//! The output of one job's processes, where it is spooled: from the plan to what is left at the
//! end.

use std::io;
use std::path::Path;
use std::sync::Arc;

use lote_model::allocation::NodePlan;
use lote_model::environment::{self, Directories};
use lote_model::planned_mount::PlannedMount;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Node;
use super::allocations::Directive;
use super::fence::Pass;
use super::process_spec::{DIRECTORY_MODE, JobContext, UMASK, run_name};
use super::task::is_withdrawn;
use crate::mount::Layout;
use crate::spool::{Delivery, Manifest, Place, SpoolPaths, Undelivered, spools};

/// Where a job's output waits, and where it goes from there. Only for a job whose output directory
/// lies on something mounted.
#[derive(Clone, Debug)]
pub(super) struct JobSpool {
    pub(super) paths: SpoolPaths,
    place: Place,
    mount: PlannedMount,
}

impl JobSpool {
    /// `None` if the output stays on this machine: then nothing is spooled.
    pub(super) fn of(
        data_directory: &Path,
        plan: &NodePlan,
        layout: &Layout,
        directories: &Directories,
    ) -> Option<Self> {
        let run = run_name(&plan.uid, plan.attempt);
        let (placed, below) = layout.innermost(&directories.stdouterr)?;
        Some(Self {
            paths: SpoolPaths::new(&spools(data_directory), &run),
            place: Place {
                mount_point: layout.host_path(placed),
                below: below.into(),
                mode: DIRECTORY_MODE,
            },
            mount: PlannedMount {
                relative_path: placed.relative.clone(),
                source: placed.source.clone(),
            },
        })
    }

    fn manifest(&self, job: &JobContext, boot_id: &str) -> Manifest {
        let plan = &job.plan;
        Manifest {
            job: plan.job.clone(),
            uid: plan.uid.clone(),
            attempt: plan.attempt,
            identity: job.identity,
            boot_id: boot_id.to_owned(),
            directory: job.directories.stdouterr.clone().into(),
            place: self.place.clone(),
            mount: self.mount.clone(),
            umask: UMASK,
            names: names(plan),
            log: environment::execution_log(plan),
        }
    }
}

/// The names of all files that the processes of a plan and their launcher write.
fn names(plan: &NodePlan) -> Vec<String> {
    let preparation = environment::preparation_output(plan);
    let preparation = plan.preparation.as_ref().map(|_| Some(preparation));
    let processes = plan.launch.processes.iter();
    let outputs = processes.map(|process| process.output.clone());
    let mut names: Vec<String> = preparation
        .into_iter()
        .chain(outputs)
        .flat_map(|output| {
            ["stdout", "stderr"].map(|stream| environment::output_file(stream, output.as_deref()))
        })
        .chain([environment::execution_log(plan)])
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The delivery of a job's output, for as long as the job is this node's.
#[derive(Debug)]
pub(super) struct Output {
    delivery: Arc<Delivery>,
    keeper: JoinHandle<()>,
}

impl Output {
    /// Starts to deliver what there is and will be.
    pub(super) async fn start(
        node: &Arc<Node>,
        job: &Arc<JobContext>,
        spool: JobSpool,
        pass: Pass,
        directive: watch::Receiver<Directive>,
    ) -> io::Result<Self> {
        let (limit, boot_id) = (node.config.spool.limit_bytes, node.record.boot_id.clone());
        let job = Arc::clone(job);
        let started = tokio::task::spawn_blocking(move || {
            let manifest = spool.manifest(&job, &boot_id);
            Delivery::start(spool.paths, manifest, &boot_id, limit)
        });
        let delivery = Arc::new(started.await.map_err(io::Error::other)??);
        let keeper = keep_within_bounds(Arc::clone(node), Arc::clone(&delivery), pass, directive);
        Ok(Self {
            delivery,
            keeper: tokio::spawn(keeper),
        })
    }

    /// Waits until all of it has arrived. Nothing may be added any more.
    pub(super) async fn finish(&self, node: &Node) -> Result<(), Undelivered> {
        self.delivery.finish(node.config.spool.patience).await
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Nothing is written while another node may have the job: it writes into the same files.
async fn keep_within_bounds(
    node: Arc<Node>,
    delivery: Arc<Delivery>,
    mut pass: Pass,
    directive: watch::Receiver<Directive>,
) {
    let mut withdrawal = directive.clone();
    let fence = async {
        loop {
            node.fence.closed(pass).await;
            delivery.set_paused(true);
            // By then the node has been told what is its own, and what is not any more.
            pass = node.fence.opened().await;
            delivery.set_paused(false);
        }
    };
    tokio::select! {
        () = fence => {}
        _ = withdrawal.wait_for(is_withdrawn) => delivery.set_paused(true),
    }
}

#[cfg(test)]
mod tests {
    use lote_model::planned_mount::{MountSource, PlannedMounts};

    use super::super::process_spec::tests::job;
    use super::*;

    fn spooled(job: &JobContext) -> Option<JobSpool> {
        let layout = Layout::new(Path::new("/data"), "u1.1", &job.plan.mounts, &job.paths);
        JobSpool::of(Path::new("/data"), &job.plan, &layout, &job.directories)
    }

    #[test]
    fn only_output_on_a_mount_is_spooled() {
        let mut job = job(Path::new("/data"), &["0"], None);
        assert!(spooled(&job).is_none());
        job.plan.std_out_err_path_prefix = "$AZ_BATCHAI_MOUNT_ROOT/nfs".into();
        job.plan.mounts = PlannedMounts {
            cluster: vec![PlannedMount {
                relative_path: "nfs".into(),
                source: MountSource::Command("mount".into()),
            }],
            ..PlannedMounts::default()
        };
        job.directories = Directories::new(&job.plan, &job.paths).unwrap();
        let spool = spooled(&job).unwrap();
        assert_eq!(
            spool.place.mount_point,
            Path::new("/data/mounts/u1.1/cluster/nfs")
        );
        assert_eq!(spool.place.below, Path::new("s/stdouterr"));
        job.spool = Some(spool);
        let spec = job.process(&job.plan.launch.processes[0], 0);
        assert!(spec.spooled);
        assert_eq!(
            spec.stdout,
            Path::new("/data/spool/u1.1/files/stdout-0.txt")
        );
        // The job itself still finds its directory where it was promised.
        assert!(spec.env.iter().any(|(name, value)| {
            name == "AZ_BATCHAI_STDOUTERR_DIR" && *value == job.directories.stdouterr
        }));
    }

    #[test]
    fn every_file_has_its_place() {
        let mut job = job(Path::new("/data"), &["0", "1"], None);
        job.plan.preparation = Some("true".into());
        let expected = [
            "execution.log",
            "stderr-0.txt",
            "stderr-1.txt",
            "stderr-job_prep.txt",
            "stdout-0.txt",
            "stdout-1.txt",
            "stdout-job_prep.txt",
        ];
        assert_eq!(names(&job.plan), expected);
    }
}
