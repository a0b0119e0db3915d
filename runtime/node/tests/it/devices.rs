//! What a job can open: what it was given, and nothing else.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lote_model::allocation::AllocationPhase::Run;
use lote_model::gpu::MigInstance;
use lote_model::plan::AllocatedGpu;
use lote_model::report::Outcome;
use lote_node::cgroup::{CgroupLayout, DeviceControl, JobCgroup, LayoutSource, Limits};
use lote_node::devices::{DeviceConfig, rules};
use lote_node::isolation::MountPlan;
use lote_node::launch::ProcessSpec;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::host::{TestJob, on_host};
use crate::support::{
    Place, Test, cgroup_test, directory, in_place, named, root_test, until, usable_layout,
};

pub const TESTS: &[Test] = &[
    root_test("devices::a_job_finds_only_what_it_was_given", finds),
    root_test("devices::each_job_has_terminals_of_its_own", terminals),
    root_test("devices::nothing_can_be_made_or_put_into_dev", sealed),
    root_test("devices::an_instance_has_two_capabilities", instance),
    root_test("devices::the_operator_allows_more", allowed),
    cgroup_test("devices::the_controller_of_v1_refuses_all_others", || {
        v1_layout().iter().for_each(refuses);
    }),
    cgroup_test("devices::the_filter_of_v2_refuses_all_others", || {
        v2_layout().iter().for_each(refuses);
    }),
    cgroup_test("devices::the_filter_of_v2_is_replaced_not_piled_up", || {
        v2_layout().iter().for_each(replaced);
    }),
    cgroup_test("devices::the_next_daemon_loosens_nothing", next_daemon),
    cgroup_test("devices::a_gpu_without_its_file_is_named", missing),
];

/// Devices that anybody can open and that do nothing then stand in for GPUs: FUSE and the
/// maker of loop devices.
const STAND_INS: [(&str, u64, u64); 4] = [
    ("nvidia0", 10, 229),
    ("nvidia1", 10, 237),
    ("nvidiactl", 10, 229),
    ("nvidia-uvm", 10, 229),
];

/// A directory of device files: the usual ones, and those of a machine with two GPUs.
pub fn machine(at: &Path) -> DeviceConfig {
    let usual = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7)];
    let usual = usual
        .into_iter()
        .chain([("random", 1, 8), ("urandom", 1, 9)]);
    for (name, major, minor) in usual.chain(STAND_INS) {
        device(&at.join(name), major, minor);
    }
    DeviceConfig {
        directory: at.into(),
        nvidia_capabilities: at.join("capabilities"),
        allowed: Vec::new(),
    }
}

/// Makes a device file that anybody can open.
pub fn device(path: &Path, major: u64, minor: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor)).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
}

fn machine_of(place: &Place) -> (PathBuf, DeviceConfig) {
    let at = place.path("dev");
    std::fs::create_dir(&at).unwrap();
    let config = machine(&at);
    (at, config)
}

fn gpu(minor: u32) -> AllocatedGpu {
    AllocatedGpu {
        uuid: format!("GPU-{minor}"),
        minor,
        memory_mib: 1,
    }
}

/// Both GPUs, and how the shell tells that it could not open one.
fn opening(paths: &[&Path]) -> String {
    let each = paths.iter().map(|path| {
        let path = path.display();
        format!("if (exec 3<>{path}) 2>error; then echo opened; else sed 's/.*: //' error; fi; ")
    });
    each.collect()
}

const REFUSED: &str = "Operation not permitted\n";

fn with_devices(spec: ProcessSpec, config: &DeviceConfig, gpus: &[AllocatedGpu]) -> ProcessSpec {
    ProcessSpec {
        mounts: Some(MountPlan {
            devices: Some(config.of_job(gpus, |_| None).unwrap()),
            ..MountPlan::default()
        }),
        ..spec
    }
}

fn finds() {
    in_place(async |place| {
        let (_, config) = machine_of(&place);
        let script = "ls /dev; stat -c '%a %u %t:%T' /dev/nvidia1; echo x > /dev/null; \
                      readlink /dev/fd; stat -c %a /dev/shm; head -c1 /dev/zero | wc -c";
        let spec = with_devices(place.user_shell(script), &config, &[gpu(1)]);
        let expected = "fd\nfull\nnull\nnvidia-uvm\nnvidia1\nnvidiactl\nptmx\npts\nrandom\nshm\n\
                        stderr\nstdin\nstdout\nurandom\nzero\n666 0 a:ed\n/proc/self/fd\n1777\n1\n";
        assert_eq!(place.output(&spec).await, expected);
    });
}

fn terminals() {
    in_place(async |place| {
        let (_, config) = machine_of(&place);
        let script = "script -qec 'tty; ls /dev/pts' /dev/null < /dev/null | tr -d '\\r'";
        let spec = with_devices(place.user_shell(script), &config, &[]);
        assert_eq!(place.output(&spec).await, "/dev/pts/0\n0  ptmx\n");
    });
}

fn sealed() {
    in_place(async |place| {
        let (_, config) = machine_of(&place);
        let script = "touch /dev/file; rm /dev/null; mknod /dev/shm/gpu c 10 237; \
                      mknod gpu c 10 237; ls /dev/shm; exit 0";
        let spec = with_devices(place.user_shell(script), &config, &[]);
        assert_eq!(place.output(&spec).await, "");
        let errors = std::fs::read_to_string(&spec.stderr).unwrap();
        assert_eq!(errors.matches("Permission denied").count(), 2, "{errors}");
        assert_eq!(errors.matches("not permitted").count(), 2, "{errors}");
    });
}

fn instance() {
    let at = directory();
    let config = machine(at.path());
    for (file, number) in [("gi3", 30), ("gi3/ci0", 31), ("gi4", 39)] {
        let path = at.path().join("capabilities/gpu0/mig").join(file);
        std::fs::create_dir_all(&path).unwrap();
        let text = format!("DeviceFileMinor: {number}\nDeviceFileMode: 292\n");
        std::fs::write(path.join("access"), text).unwrap();
        device(
            &at.path().join(format!("nvidia-caps/nvidia-cap{number}")),
            236,
            number,
        );
    }
    let granted = AllocatedGpu {
        uuid: "MIG-1".into(),
        ..gpu(0)
    };
    let mig = |uuid: &str| {
        (uuid == "MIG-1").then(|| MigInstance {
            parent: "GPU-0".into(),
            gpu_instance: 3,
            compute_instance: 0,
            profile: "1g.10gb".into(),
        })
    };
    let nodes = config.of_job(std::slice::from_ref(&granted), mig).unwrap();
    let names: Vec<&str> = nodes
        .iter()
        .map(|node| node.name.to_str().unwrap())
        .collect();
    let nvidia: Vec<&str> = names
        .into_iter()
        .filter(|name| name.starts_with("nv"))
        .collect();
    let expected = [
        "nvidia-caps/nvidia-cap30",
        "nvidia-caps/nvidia-cap31",
        "nvidia-uvm",
        "nvidia0",
        "nvidiactl",
    ];
    assert_eq!(nvidia, expected);
    let error = config.of_job(&[granted], |_| None).unwrap_err();
    assert!(error.to_string().contains("MIG-1"), "{error}");
}

fn allowed() {
    let at = directory();
    let mut config = machine(at.path());
    for (name, minor) in [
        ("uverbs0", 192),
        ("uverbs1", 193),
        ("umad0", 0),
        ("rdma_cm", 1),
    ] {
        device(&at.path().join("infiniband").join(name), 231, minor);
    }
    device(&at.path().join("fuse"), 10, 229);
    device(&at.path().join("net/tun"), 10, 200);
    let names = |config: &DeviceConfig| -> Vec<String> {
        let nodes = config.of_job(&[], |_| None).unwrap();
        let names = nodes.iter().map(|node| node.name.display().to_string());
        names
            .filter(|name| name.contains('/') || name == "fuse")
            .collect()
    };
    let fabric = [
        "infiniband/rdma_cm",
        "infiniband/uverbs0",
        "infiniband/uverbs1",
    ];
    assert_eq!(names(&config), fabric);
    config.allowed = ["fuse", "net", "infiniband/um*", "nothing"]
        .map(|name| at.path().join(name))
        .to_vec();
    let more = ["fuse", "infiniband/rdma_cm", "infiniband/umad0"];
    let more = more
        .into_iter()
        .chain(["infiniband/uverbs0", "infiniband/uverbs1", "net/tun"]);
    assert_eq!(names(&config), more.collect::<Vec<_>>());
}

/// This machine as it would be without the unified hierarchy, if it has the controller.
fn v1_layout() -> Option<CgroupLayout> {
    let mut source = LayoutSource::host().unwrap();
    let lines = source.mountinfo.lines();
    let kept = lines.filter(|line| !line.contains(" - cgroup2 "));
    source.mountinfo = kept.collect::<Vec<_>>().join("\n");
    let layout = named(CgroupLayout::detect(&source).unwrap());
    if layout.device_control() != &DeviceControl::Controller {
        eprintln!("SKIPPED: the controller of v1: this machine does not mount it");
        return None;
    }
    layout.prepare().unwrap();
    Some(layout.with_device_filter())
}

/// This machine, if it takes filters.
fn v2_layout() -> Option<CgroupLayout> {
    let layout = usable_layout()?;
    match layout.device_control() {
        DeviceControl::Filter => Some(layout),
        other => {
            eprintln!("SKIPPED: the filter of v2: {other:?}");
            None
        }
    }
}

fn cgroup(layout: &CgroupLayout, place: &Place, limits: &Limits) -> JobCgroup {
    let directory = place.directory.path().file_name().unwrap();
    let name = directory.to_str().unwrap().trim_start_matches('.');
    JobCgroup::create(layout, &format!("devices-{name}"), limits).unwrap()
}

fn restricted(config: &DeviceConfig, gpus: &[AllocatedGpu]) -> Limits {
    Limits {
        devices: Some(rules(&config.of_job(gpus, |_| None).unwrap())),
        ..Limits::default()
    }
}

fn refuses(layout: &CgroupLayout) {
    in_place(async |place| {
        let (at, config) = machine_of(&place);
        let cgroup = cgroup(layout, &place, &restricted(&config, &[gpu(0)]));
        let files = [at.join("nvidia0"), at.join("nvidia1")];
        let open = opening(&[Path::new("/dev/nvidia0"), &files[0], &files[1]]);
        let mut spec = with_devices(place.user_shell(&open), &config, &[gpu(0)]);
        spec.cgroup_procs = cgroup.procs_files();
        let expected = format!("opened\nopened\n{REFUSED}");
        assert_eq!(place.output(&spec).await, expected);

        // Not even root, with every capability, makes a device file or opens one.
        let script = format!("mknod own c 10 237 2>/dev/null || echo refused; {open}");
        let root = ProcessSpec {
            cgroup_procs: cgroup.procs_files(),
            record: place.path("records/root"),
            stdout: place.path("root"),
            ..place.shell(&script.replace("/dev/nvidia0", "/dev/zero"))
        };
        assert_eq!(place.output(&root).await, format!("refused\n{expected}"));
        cgroup.remove().await.unwrap();
    });
}

/// What a crash before the start has left is taken over with the grant of now.
fn replaced(layout: &CgroupLayout) {
    in_place(async |place| {
        let (at, config) = machine_of(&place);
        cgroup(layout, &place, &restricted(&config, &[gpu(0)]));
        let cgroup = cgroup(layout, &place, &restricted(&config, &[gpu(1)]));
        let open = opening(&[&at.join("nvidia1")]);
        let spec = ProcessSpec {
            cgroup_procs: cgroup.procs_files(),
            ..place.user_shell(&open)
        };
        assert_eq!(place.output(&spec).await, "opened\n");
        cgroup.remove().await.unwrap();
    });
}

fn next_daemon() {
    on_host(async |mut host| {
        let at = directory();
        host.devices = machine(at.path());
        host.grant.gpus = vec![gpu(0)];
        let daemon = host.start();
        let open = opening(&[Path::new("/dev/nvidia0"), Path::new("foreign")]);
        let when = |go: &str, answer: &str| {
            let wait = format!("while [ ! -e {go} ]; do sleep 0.02; done");
            format!("{wait}; ({open}) > draft; ls /dev/nvidia? >> draft; mv draft {answer}; ")
        };
        let script = when("go", "before") + &when("again", "after");
        let job = TestJob::new(&script);
        host.allocate(&job, Run).await;
        host.pid(&job, "pid").await;
        device(&host.output(&job, "foreign"), 10, 237);
        let expected = format!("opened\n{REFUSED}/dev/nvidia0\n");
        std::fs::write(host.output(&job, "go"), "").unwrap();
        let before = until(|| std::fs::read_to_string(host.output(&job, "before")).ok()).await;
        assert_eq!(before, expected);

        daemon.kill();
        let _daemon = host.start();
        std::fs::write(host.output(&job, "again"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
        let after = std::fs::read_to_string(host.output(&job, "after")).unwrap();
        assert_eq!(after, expected);
    });
}

fn missing() {
    on_host(async |mut host| {
        let at = directory();
        host.devices = machine(at.path());
        host.grant.gpus = vec![gpu(7)];
        let _daemon = host.start();
        let job = TestJob::new("exit 0");
        host.allocate(&job, Run).await;
        let outcome = host.end(&job).await;
        let Outcome::Failed { error, .. } = &outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.code, "GpuDeviceMissing");
        assert!(error.message.contains("nvidia7"), "{error:?}");
    });
}
