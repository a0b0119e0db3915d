//! What a node does with its GPUs, as a simulated driver tells of them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lote_model::allocation::AllocationPhase::Run;
use lote_model::gpu::GpuDistance;
use lote_model::node::NodeRecord;
use lote_model::plan::AllocatedGpu;
use lote_model::report::Outcome;
use lote_node::devices::DeviceConfig;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::devices;
use crate::host::{Host, TestJob, gone};
use crate::support::{Test, cgroup_test};

pub const TESTS: &[Test] = &[
    cgroup_test("gpus::the_record_tells_of_them_and_follows_them", record),
    cgroup_test("gpus::a_job_ends_with_its_gpu", broken),
    cgroup_test("gpus::what_a_job_uses_is_counted_across_daemons", account),
    cgroup_test("gpus::a_stranger_is_named", stranger),
];

/// What Cargo calls the library.
const BUILT: &str = "liblote_nvml_sim.so";

/// Eight H100 on two sockets.
const TWO_SOCKETS: &str = "
    layout = { numa_nodes = 2, gpus_per_switch = 2, nvlink = [[0, 1, 2, 3], [4, 5, 6, 7]] }
    [[gpu]]
    model = \"H100\"
    count = 8
";

/// A copy of the library with a machine of its own: one that is loaded twice from one file is
/// one library.
struct Sim {
    folder: TempDir,
}

impl Sim {
    fn new() -> Self {
        let sim = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let own = std::env::current_exe().unwrap();
        let mut folders = own.ancestors().skip(1).take(2);
        let built = folders.find(|folder| folder.join(BUILT).is_file());
        let built = built
            .expect("the library is built with the tests")
            .join(BUILT);
        std::fs::copy(built, sim.library()).unwrap();
        sim.change("");
        sim
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    /// The machine, with this besides. In one step, so that no half of a file is read.
    fn change(&self, change: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{TWO_SOCKETS}\n{change}")).unwrap();
        std::fs::rename(&new, self.library().with_extension("1.toml")).unwrap();
    }
}

fn on<F: Future<Output = ()>>(test: impl FnOnce(Host, Sim) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let sim = Sim::new();
        let mut host = Host::with_gpus(sim.library());
        host.devices = device_files(&sim.folder.path().join("dev"));
        let test = test(host, sim);
        let ended = tokio::time::timeout(Duration::from_mins(1), test).await;
        ended.expect("the test hangs");
    });
}

/// Stand-ins for the files of all eight.
fn device_files(at: &Path) -> DeviceConfig {
    std::fs::create_dir(at).unwrap();
    let config = devices::machine(at);
    for minor in 2..8 {
        devices::device(&at.join(format!("nvidia{minor}")), 10, 229);
    }
    config
}

fn codes(record: &NodeRecord, gpu: usize) -> Vec<&str> {
    let conditions = record.gpus[gpu].conditions.iter();
    conditions
        .map(|condition| condition.code.as_str())
        .collect()
}

/// A job with one of the GPUs.
fn job_on(record: &NodeRecord, gpu: usize, script: &str) -> TestJob {
    let gpu = &record.gpus[gpu];
    let mut job = TestJob::new(script);
    job.gpus = vec![AllocatedGpu {
        uuid: gpu.uuid.clone(),
        minor: gpu.minor,
        memory_mib: gpu.memory_mib,
    }];
    job
}

fn on_gpu(gpu: usize, pid: Pid) -> String {
    format!("[change.{gpu}]\nprocess = [{{ pid = {pid}, memory = \"9 GiB\" }}]\nutilization = 90\n")
}

fn record() {
    on(async |host, sim| {
        let _daemon = host.start();
        let record = host.record(|record| record.gpus.len() == 8).await;
        assert_eq!(record.size, "gpu8-h100");
        assert_eq!(record.gpu_driver.as_ref().unwrap().cuda_version, "13.0");
        let (near, far) = (record.gpu_distances[0][3], record.gpu_distances[0][4]);
        assert!(matches!(near, GpuDistance::NvLink(_)), "{near}");
        assert_eq!(far, GpuDistance::System);
        assert!(record.is_schedulable());
        let bus_id = record.gpus[5].bus_id.clone().unwrap();
        assert_eq!(bus_id, bus_id.to_lowercase());

        sim.change("[change.5]\nstate = \"lost\"");
        let lost = host
            .record(|record| codes(record, 5) == ["GpuFellOffBus"])
            .await;
        assert_eq!((lost.gpus.len(), lost.size), (8, record.size.clone()));
        sim.change("");
        let well = host.record(|record| codes(record, 5).is_empty()).await;
        assert_eq!(well, record);
    });
}

fn broken() {
    on(async |host, sim| {
        let _daemon = host.start();
        let record = host.record(|record| record.gpus.len() == 8).await;
        let ill = job_on(&record, 3, "sleep 1000");
        let well = job_on(&record, 4, "while [ ! -e end ]; do sleep 0.02; done");
        host.allocate(&ill, Run).await;
        host.allocate(&well, Run).await;
        let main = host.pid(&ill, "pid").await;
        host.pid(&well, "pid").await;
        sim.change("[[event]]\nid = 1\ngpu = 3\nxid = 79");
        let Outcome::Lost { reason, error } = host.end(&ill).await else {
            panic!("it ended otherwise");
        };
        // Whoever reads the report finds the GPU blocked.
        let record = host.record(|_| true).await;
        assert_eq!(codes(&record, 3), ["GpuFellOffBus"]);
        assert!(!record.gpus[3].is_schedulable() && record.is_schedulable());
        gone(main).await;
        assert!(reason.contains(&record.gpus[3].uuid), "{reason}");
        let error = error.unwrap();
        assert_eq!(error.code, "GpuFailed");
        let detail = |name: &str| {
            let details = error.details.iter();
            let mut named = details.filter(|detail| detail.name == name);
            named.next().map(|detail| detail.value.clone())
        };
        assert_eq!(detail("xid").as_deref(), Some("79"));
        assert_eq!(detail("busId"), record.gpus[3].bus_id);
        std::fs::write(host.output(&well, "end"), "").unwrap();
        assert_eq!(host.end(&well).await, Outcome::Completed);
    });
}

fn account() {
    on(async |host, sim| {
        let daemon = host.start();
        let record = host.record(|record| record.gpus.len() == 8).await;
        let job = job_on(&record, 6, "while [ ! -e end ]; do sleep 0.02; done");
        host.allocate(&job, Run).await;
        let main = host.pid(&job, "pid").await;
        sim.change(&on_gpu(6, main));
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        daemon.kill();
        let _daemon = host.start();
        host.alive().await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        std::fs::write(host.output(&job, "end"), "").unwrap();
        let (outcome, account) = host.end_and_account(&job).await;
        assert_eq!(outcome, Outcome::Completed);
        let [gpu] = account.gpus.as_slice() else {
            panic!("{account:?}");
        };
        assert_eq!(
            (&gpu.uuid, gpu.model.as_str()),
            (&record.gpus[6].uuid, "NVIDIA H100 80GB HBM3")
        );
        assert!(
            gpu.seconds > 3.5 && account.node_seconds > 3.5,
            "{account:?}"
        );
        assert!((account.gpu_seconds - gpu.seconds).abs() < 0.01);
        assert_eq!(gpu.utilization_peak, Some(90));
        assert_eq!(gpu.memory_peak_bytes, Some(9 << 30));
        // At least what an idle one draws, and no more than a busy one.
        let watts = gpu.energy_joules.unwrap() / gpu.seconds;
        assert!((60.0..=750.0).contains(&watts), "{watts} W");
        let record = host.record(|_| true).await;
        assert!(codes(&record, 6).is_empty(), "{:?}", record.gpus[6]);
    });
}

fn stranger() {
    on(async |host, sim| {
        let _daemon = host.start();
        host.record(|record| record.gpus.len() == 8).await;
        let mut stranger = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = stranger.id();
        sim.change(&on_gpu(2, Pid::from_raw(pid.cast_signed())));
        let found = host
            .record(|record| codes(record, 2) == ["GpuForeignProcess"])
            .await;
        let message = &found.gpus[2].conditions[0].message;
        assert!(
            message.contains(&format!("process {pid} (sleep)")),
            "{message}"
        );
        assert!(!found.gpus[2].is_schedulable() && found.gpus[1].is_schedulable());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        host.record(|record| codes(record, 2).is_empty()).await;
    });
}
