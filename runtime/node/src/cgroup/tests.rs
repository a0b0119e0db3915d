//! Layouts that this machine does not have, as trees of plain files.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{
    CgroupError, CgroupLayout, CgroupUsage, Controller, Cpuset, DeviceControl, DeviceKind,
    DeviceRule, JobCgroup, LayoutSource, Limits, list,
};

/// A machine made of directories.
struct Machine {
    directory: TempDir,
    mountinfo: String,
    own_cgroups: String,
}

impl Machine {
    fn new(own_cgroups: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            mountinfo: String::new(),
            own_cgroups: own_cgroups.into(),
        }
    }

    /// A hierarchy, mounted from its root.
    fn mount(self, mount_point: &str, kind: &str, options: &str) -> Self {
        self.mount_part("/", mount_point, kind, options)
    }

    fn mount_part(mut self, root: &str, mount_point: &str, kind: &str, options: &str) -> Self {
        let line =
            format!("30 20 0:30 {root} {mount_point} rw shared:9 - {kind} {kind} rw,{options}\n");
        self.mountinfo.push_str(&line);
        fs::create_dir_all(self.path(mount_point)).unwrap();
        self
    }

    fn file(self, path: &str, contents: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn layout(&self) -> CgroupLayout {
        CgroupLayout::detect(&LayoutSource {
            mountinfo: self.mountinfo.clone(),
            own_cgroups: self.own_cgroups.clone(),
            root: self.directory.path().into(),
        })
        .unwrap()
    }
}

fn v1() -> Machine {
    Machine::new("5:memory:/daemon\n4:pids:/\n3:freezer:/\n2:cpu,cpuacct:/\n1:name=systemd:/x\n")
        .mount("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct")
        .mount("/sys/fs/cgroup/memory", "cgroup", "memory")
        .mount("/sys/fs/cgroup/pids", "cgroup", "pids")
        .mount("/sys/fs/cgroup/freezer", "cgroup", "freezer")
        .mount("/sys/fs/cgroup/devices", "cgroup", "devices")
        .mount("/sys/fs/cgroup/blkio", "cgroup", "blkio")
        .mount("/sys/fs/cgroup/cpuset", "cgroup", "cpuset")
        .file("/sys/fs/cgroup/cpuset/cpuset.cpus", "0-7\n")
        .file("/sys/fs/cgroup/cpuset/cpuset.mems", "0-1\n")
        .file("/sys/fs/cgroup/cpuset/lote/cpuset.cpus", "\n")
        .file("/sys/fs/cgroup/cpuset/lote/cpuset.mems", "0\n")
        .mount("/sys/fs/cgroup/systemd", "cgroup", "name=systemd")
        .file("/sys/fs/cgroup/memory/daemon/cgroup.procs", "")
}

fn hybrid() -> Machine {
    let machine = v1();
    let own_cgroups = format!("{}0::/\n", machine.own_cgroups);
    Machine {
        own_cgroups,
        ..machine
    }
    .mount("/sys/fs/cgroup/unified", "cgroup2", "nsdelegate")
    .file("/sys/fs/cgroup/unified/cgroup.controllers", "\n")
}

const UNIT: &str = "/sys/fs/cgroup/system.slice/lote.service";

fn v2(own: &str) -> Machine {
    Machine::new(&format!("0::{own}\n"))
        .mount("/sys/fs/cgroup", "cgroup2", "nsdelegate")
        .file(
            &format!("{UNIT}/cgroup.controllers"),
            "cpuset cpu io memory pids\n",
        )
        .file(&format!("{UNIT}/cgroup.subtree_control"), "")
        .file(&format!("{UNIT}/cgroup.procs"), "")
        .file(&format!("{UNIT}/lote/cgroup.subtree_control"), "")
}

/// The files that the kernel would make in a new cgroup.
fn with_files(machine: Machine, directory: &str, files: &[&str]) -> Machine {
    files.iter().fold(machine, |machine, file| {
        machine.file(&format!("{directory}/{file}"), "0")
    })
}

fn paths(cgroup: &JobCgroup, machine: &Machine) -> Vec<String> {
    let root: &Path = machine.directory.path();
    let files = cgroup.procs_files();
    files
        .iter()
        .map(|file| format!("/{}", file.strip_prefix(root).unwrap().display()))
        .collect()
}

#[test]
fn says_what_is_in_force() {
    let version = |machine: &Machine| machine.layout().describe().version;
    assert_eq!(
        [
            version(&v1()),
            version(&hybrid()),
            version(&v2("/system.slice/lote.service"))
        ],
        ["v1", "hybrid", "v2"]
    );
    let none = Machine::new("").layout().describe();
    assert_eq!(
        (
            none.version.as_str(),
            none.controllers.len(),
            none.missing.len()
        ),
        ("none", 0, 6)
    );
    assert!(hybrid().layout().describe().missing.is_empty());
}

#[test]
fn v1_uses_each_hierarchy_once_below_its_own_cgroup() {
    let machine = with_files(v1(), "/sys/fs/cgroup/pids/lote/job", &["pids.max"]);
    let limits = Limits {
        pids_max: Some(7),
        ..Limits::default()
    };
    machine.layout().prepare().unwrap();
    let cgroup = JobCgroup::create(&machine.layout(), "job", &limits).unwrap();
    assert_eq!(
        paths(&cgroup, &machine),
        [
            "/sys/fs/cgroup/freezer/lote/job/cgroup.procs",
            "/sys/fs/cgroup/cpu,cpuacct/lote/job/cgroup.procs",
            "/sys/fs/cgroup/memory/daemon/lote/job/cgroup.procs",
            "/sys/fs/cgroup/pids/lote/job/cgroup.procs",
            "/sys/fs/cgroup/blkio/lote/job/cgroup.procs",
        ]
    );
    assert_eq!(machine.read("/sys/fs/cgroup/pids/lote/job/pids.max"), "7");
    // The jobs' directory takes over what it lacks.
    let jobs = "/sys/fs/cgroup/cpuset/lote";
    assert_eq!(machine.read(&format!("{jobs}/cpuset.cpus")).trim(), "0-7");
    assert_eq!(machine.read(&format!("{jobs}/cpuset.mems")), "0\n");
}

#[test]
fn hybrid_leaves_out_what_the_unified_hierarchy_does() {
    let machine = hybrid();
    machine.layout().prepare().unwrap();
    let cgroup = JobCgroup::create(&machine.layout(), "job", &Limits::default()).unwrap();
    assert_eq!(
        paths(&cgroup, &machine),
        [
            "/sys/fs/cgroup/unified/lote/job/cgroup.procs",
            "/sys/fs/cgroup/memory/daemon/lote/job/cgroup.procs",
            "/sys/fs/cgroup/blkio/lote/job/cgroup.procs",
        ]
    );
}

#[test]
fn v1_keeps_a_job_to_its_devices_processors_and_part_of_the_disks() {
    let job = |controller: &str| format!("/sys/fs/cgroup/{controller}/lote/job");
    let machine = with_files(v1(), &job("devices"), &["devices.allow", "devices.deny"]);
    let machine = with_files(machine, &job("cpuset"), &["cpuset.cpus", "cpuset.mems"]);
    let machine = with_files(machine, &job("blkio"), &["blkio.bfq.weight"]).file(
        "/sys/fs/cgroup/blkio/lote/blkio.throttle.read_bps_device",
        "",
    );
    machine.layout().prepare().unwrap();
    let limits = Limits {
        cpuset: Some(Cpuset {
            cpus: "2-3".into(),
            mems: "1".into(),
        }),
        io_weight: Some(250),
        devices: Some(vec![DeviceRule {
            kind: DeviceKind::Character,
            major: 195,
            minor: Some(3),
        }]),
        ..Limits::default()
    };
    assert_eq!(
        machine.layout().device_control(),
        &DeviceControl::Controller
    );
    let cgroup = JobCgroup::create(&machine.layout(), "job", &limits).unwrap();
    assert_eq!(cgroup.procs_files().len(), 6);
    let read = |controller, file: &str| machine.read(&format!("{}/{file}", job(controller)));
    assert_eq!(read("devices", "devices.deny"), "a *:* rwm");
    assert_eq!(read("devices", "devices.allow"), "c 195:3 rwm");
    assert_eq!(read("cpuset", "cpuset.cpus"), "2-3");
    assert_eq!(read("cpuset", "cpuset.mems"), "1");
    assert_eq!(read("blkio", "blkio.bfq.weight"), "250");
    // What makes the kernel count: each disk has been given the limit "none".
    let limit = machine.read("/sys/fs/cgroup/blkio/lote/blkio.throttle.read_bps_device");
    assert!(
        limit.is_empty() || limit.contains(':') && limit.ends_with(" 0"),
        "{limit}"
    );
}

#[test]
fn devices_cannot_be_restricted_where_there_is_no_means() {
    let limits = Limits {
        devices: Some(Vec::new()),
        ..Limits::default()
    };
    let layout = v2("/system.slice/lote.service").layout();
    let error = JobCgroup::create(&layout, "job", &limits).unwrap_err();
    assert!(error.to_string().contains("devices"), "{error}");
}

#[test]
fn v1_memory_limit_includes_swap_where_there_is_some() {
    let job = "/sys/fs/cgroup/memory/daemon/lote/job";
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        ..Limits::default()
    };
    let plain = with_files(hybrid(), job, &["memory.limit_in_bytes"]);
    plain.layout().prepare().unwrap();
    JobCgroup::create(&plain.layout(), "job", &limits).unwrap();
    let swap = with_files(plain, job, &["memory.memsw.limit_in_bytes"]);
    JobCgroup::create(&swap.layout(), "job", &limits).unwrap();
    assert_eq!(
        swap.read(&format!("{job}/memory.limit_in_bytes")),
        "67108864"
    );
    assert_eq!(
        swap.read(&format!("{job}/memory.memsw.limit_in_bytes")),
        "67108864"
    );
}

#[test]
fn v2_moves_the_daemon_to_a_leaf_and_delegates() {
    let machine = v2("/system.slice/lote.service").file(&format!("{UNIT}/cgroup.procs"), "4242\n");
    let machine = machine.file(&format!("{UNIT}/lote-daemon/cgroup.procs"), "");
    machine.layout().prepare().unwrap();
    assert_eq!(
        machine.read(&format!("{UNIT}/lote-daemon/cgroup.procs")),
        "4242"
    );
    for directory in [UNIT.to_owned(), format!("{UNIT}/lote")] {
        let controllers = machine.read(&format!("{directory}/cgroup.subtree_control"));
        assert_eq!(controllers, "+cpuset +cpu +io +memory +pids");
    }
}

#[test]
fn v2_daemon_in_its_leaf_finds_its_jobs_beside_it() {
    let machine = v2("/system.slice/lote.service/lote-daemon");
    machine.layout().prepare().unwrap();
    let cgroup = JobCgroup::create(&machine.layout(), "job", &Limits::default()).unwrap();
    assert_eq!(
        paths(&cgroup, &machine),
        [format!("{UNIT}/lote/job/cgroup.procs")]
    );
    assert_eq!(
        list(&machine.layout())
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>(),
        ["job"]
    );
}

#[test]
fn v2_sets_every_limit() {
    let job = format!("{UNIT}/lote/job");
    let files = [
        "memory.max",
        "memory.swap.max",
        "cpu.weight",
        "cpu.max",
        "pids.max",
        "cpuset.cpus",
        "cpuset.mems",
        "io.weight",
    ];
    let machine = with_files(v2("/system.slice/lote.service"), &job, &files)
        .file(&format!("{job}/cpu.max"), "max 100000\n");
    let limits = Limits {
        cpu_share_millis: Some(4000),
        cpu_limit_millis: Some(1500),
        memory_bytes: Some(1 << 30),
        pids_max: Some(100),
        cpuset: Some(Cpuset {
            cpus: "0-3,8-11".into(),
            mems: "0".into(),
        }),
        io_weight: Some(500),
        devices: None,
    };
    JobCgroup::create(&machine.layout(), "job", &limits).unwrap();
    let values = files.map(|file| machine.read(&format!("{job}/{file}")));
    let expected = [
        "1073741824",
        "0",
        "400",
        "150000 100000",
        "100",
        "0-3,8-11",
        "0",
        "500",
    ];
    assert_eq!(values, expected);
}

#[test]
fn daemons_with_different_directories_do_not_see_each_others_jobs() {
    let machine = hybrid();
    let (one, two) = (
        machine.layout(),
        machine.layout().in_directory("lote-two").unwrap(),
    );
    one.prepare().unwrap();
    two.prepare().unwrap();
    JobCgroup::create(&one, "job", &Limits::default()).unwrap();
    assert!(list(&two).unwrap().is_empty());
    two.tidy();
    one.tidy();
    assert!(!machine.path("/sys/fs/cgroup/unified/lote-two").exists());
    assert!(machine.path("/sys/fs/cgroup/unified/lote/job").exists());
    assert!(one.in_directory("../x").is_err());
}

#[test]
fn what_is_not_delegated_is_refused_by_name() {
    let machine = v2("/system.slice/lote.service").file(
        &format!("{UNIT}/cgroup.controllers"),
        "cpu cpuset io pids\n",
    );
    let limits = Limits {
        memory_bytes: Some(1 << 30),
        ..Limits::default()
    };
    let error = JobCgroup::create(&machine.layout(), "job", &limits).unwrap_err();
    assert!(matches!(
        error,
        CgroupError::Unsupported { what: "memory", .. }
    ));
    assert!(error.to_string().contains("Delegate=yes"), "{error}");
    assert!(!machine.path(&format!("{UNIT}/lote/job")).exists());
    let missing = machine.layout().describe().missing;
    assert!(
        missing.len() == 1 && missing[0].contains("memory"),
        "{missing:?}"
    );
}

#[test]
fn a_hierarchy_mounted_in_part_is_found() {
    let machine =
        Machine::new("0::/container/7/daemon\n").mount_part("/container/7", "/cg", "cgroup2", "x");
    let machine = machine.file("/cg/daemon/cgroup.controllers", "pids\n");
    assert!(machine.layout().has(Controller::Pids));
}

#[test]
fn v2_account_is_read() {
    let job = format!("{UNIT}/lote/job");
    let machine = v2("/system.slice/lote.service")
        .file(
            &format!("{job}/cpu.stat"),
            "usage_usec 2500000\nuser_usec 1\nthrottled_usec 500000\n",
        )
        .file(
            &format!("{job}/io.stat"),
            "8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=9 dios=1\n254:0 rbytes=1 wbytes=2\n",
        )
        .file(&format!("{job}/memory.peak"), "4096\n")
        .file(
            &format!("{job}/memory.events"),
            "low 0\noom 3\noom_kill 2\noom_group_kill 0\n",
        )
        .file(&format!("{job}/pids.peak"), "9\n")
        .file(&format!("{job}/pids.events"), "max 4\n");
    let cgroup = JobCgroup::open(&machine.layout(), "job").unwrap().unwrap();
    let expected = CgroupUsage {
        cpu_seconds: Some(2.5),
        memory_peak_bytes: Some(4096),
        oom_kills: 2,
        pids_peak: Some(9),
        pids_limit_hits: 4,
        cpu_throttled_seconds: Some(0.5),
        read_bytes: Some(4097),
        written_bytes: Some(102),
    };
    assert_eq!(cgroup.usage().unwrap(), expected);
}

#[test]
fn v1_account_is_read() {
    let machine = v1()
        .file(
            "/sys/fs/cgroup/cpu,cpuacct/lote/job/cpuacct.usage",
            "1500000000\n",
        )
        .file(
            "/sys/fs/cgroup/memory/daemon/lote/job/memory.max_usage_in_bytes",
            "8192\n",
        )
        .file(
            "/sys/fs/cgroup/memory/daemon/lote/job/memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
        )
        .file(
            "/sys/fs/cgroup/cpu,cpuacct/lote/job/cpu.stat",
            "nr_periods 3\nnr_throttled 2\nthrottled_time 250000000\n",
        )
        .file(
            "/sys/fs/cgroup/blkio/lote/job/blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 4096\n8:0 Write 1\n8:0 Sync 4097\n8:0 Total 4097\n\
             254:0 Read 4\n254:0 Write 2\nTotal 4103\n",
        );
    let cgroup = JobCgroup::open(&machine.layout(), "job").unwrap().unwrap();
    let usage = cgroup.usage().unwrap();
    assert_eq!(
        (usage.cpu_seconds, usage.memory_peak_bytes, usage.oom_kills),
        (Some(1.5), Some(8192), 1)
    );
    assert_eq!(
        (
            usage.read_bytes,
            usage.written_bytes,
            usage.cpu_throttled_seconds
        ),
        (Some(4100), Some(3), Some(0.25))
    );
}
