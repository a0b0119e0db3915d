//! That jobs keep to their shares, and that their accounts agree with what the kernel says of
//! the same processes by other ways.

use std::time::{Duration, Instant};

use lote_model::allocation::AllocationPhase::Run;
use lote_model::report::Outcome;
use lote_node::agent::Reserved;
use lote_node::cgroup::{CgroupLayout, CgroupUsage, JobCgroup, Limits};
use lote_node::launch::{ExitRecord, ProcessSpec, Supervised};

use crate::host::{TestJob, on_host};
use crate::support::{Place, Test, cgroup_test, in_place, until, usable_layout};

pub const TESTS: &[Test] = &[
    cgroup_test("shares::two_jobs_stay_within_their_limits", side_by_side),
    cgroup_test("shares::the_account_is_that_of_the_kernel", account),
    cgroup_test("shares::transfers_are_counted", transfers),
    cgroup_test("shares::waiting_for_processor_time_is_counted", throttled),
    cgroup_test("shares::reserved_processors_run_no_job", reserved),
    cgroup_test("shares::a_report_has_the_account", reported),
];

/// How far numbers may differ.
const TOLERANCE: f64 = 0.01;

fn layout() -> CgroupLayout {
    usable_layout().expect("checked before the test was started")
}

fn created(place: &Place, name: &str, limits: &Limits) -> JobCgroup {
    let directory = place.directory.path().file_name().unwrap();
    let directory = directory.to_str().unwrap().trim_start_matches('.');
    JobCgroup::create(&layout(), &format!("shares-{directory}-{name}"), limits).unwrap()
}

fn agree(what: &str, one: f64, other: f64) {
    let difference = (one - other).abs() / one.max(other);
    assert!(difference <= TOLERANCE, "{what}: {one} and {other}");
}

#[expect(clippy::cast_precision_loss, reason = "far from 2^52 bytes")]
fn bytes(number: u64) -> f64 {
    number as f64
}

/// Processor time that a cgroup may have over its limit at any moment, in seconds: a slice of 5 ms
/// (`sched_cfs_bandwidth_slice_us`) and a tick of at most 10 ms on each processor.
fn lent_at_most() -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    0.015 * f64::from(u32::try_from(processors).unwrap())
}

/// Wants more of everything than it may have: processor time all along, memory until one of its
/// processes is killed for it, then processes. A shell that cannot fork ends, so the last two are
/// left to shells of their own.
const GREEDY: &str = "while true; do :; done & \
                      sh -c 'tail /dev/zero'; \
                      sh -c 'while true; do sleep 1000 & done'; \
                      while true; do :; done";

fn side_by_side() {
    in_place(async |place| {
        let limits = [(80, 48_u64 << 20, 12), (240, 96 << 20, 24)];
        let cgroups = limits.map(|(millis, memory, pids)| {
            let limits = Limits {
                cpu_limit_millis: Some(millis),
                memory_bytes: Some(memory),
                pids_max: Some(pids),
                ..Limits::default()
            };
            created(&place, &millis.to_string(), &limits)
        });
        let started = Instant::now();
        let mut processes: Vec<Supervised> = Vec::new();
        for (number, cgroup) in cgroups.iter().enumerate() {
            let spec = ProcessSpec {
                cgroup_procs: cgroup.procs_files(),
                record: place.path(&format!("records/{number}")),
                ..place.shell(GREEDY)
            };
            processes.push(place.launcher.launch(&spec).await.unwrap());
        }
        // Until each has run into each of its limits, and long enough to tell its part. On a
        // machine that is busy with other things it may never get as much time as it may have.
        let tried = |usage: CgroupUsage| {
            let time = usage
                .cpu_throttled_seconds
                .is_some_and(|seconds| seconds > 0.0);
            let is_busy = started.elapsed() > Duration::from_secs(20);
            usage.oom_kills > 0 && usage.pids_limit_hits > 0 && (time || is_busy)
        };
        until(|| {
            let all = cgroups.iter().all(|cgroup| tried(cgroup.usage().unwrap()));
            (all && started.elapsed() > Duration::from_secs(3)).then_some(())
        })
        .await;
        for (cgroup, (millis, memory, pids)) in cgroups.iter().zip(limits) {
            let usage = cgroup.usage().unwrap();
            // Time may be used up at the beginning of a period of a tenth of a second. The kernel
            // lends it to each processor in slices, and looks at its next tick what is left.
            let may = (started.elapsed().as_secs_f64() + 0.1)
                * f64::from(u32::try_from(millis).unwrap())
                / 1000.0
                + lent_at_most();
            let used = usage.cpu_seconds.unwrap();
            assert!(used <= may * (1.0 + TOLERANCE), "{used} s of {may} s");
            assert!(usage.memory_peak_bytes.unwrap() <= memory, "{usage:?}");
            assert!(usage.pids_peak.is_none_or(|peak| peak <= pids), "{usage:?}");
        }
        for (cgroup, process) in cgroups.iter().zip(processes) {
            cgroup.kill().await.unwrap();
            process.wait().await.unwrap();
            cgroup.remove().await.unwrap();
        }
    });
}

/// Runs it in a cgroup of its own, and gives what both accounts say.
async fn run(place: &Place, script: &str) -> (ExitRecord, CgroupUsage) {
    let cgroup = created(place, "job", &Limits::default());
    let spec = ProcessSpec {
        cgroup_procs: cgroup.procs_files(),
        ..place.user_shell(script)
    };
    let exit = place.run(&spec).await;
    let usage = cgroup.usage().unwrap();
    cgroup.remove().await.unwrap();
    (exit, usage)
}

fn account() {
    in_place(async |place| {
        let script = "head -c 400M /dev/zero | tail -c 300M | tail -n 1 > /dev/null; \
                      i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done";
        let (exit, usage) = run(&place, script).await;
        let own = exit.usage.user_seconds + exit.usage.system_seconds;
        assert!(own > 0.5, "too short to tell: {own}");
        agree("processor time", own, usage.cpu_seconds.unwrap());
    });
    in_place(async |place| {
        // One process that holds nearly all there is, so that both mean the same.
        let script = "exec python3 -c 'b = bytearray(600 << 20)'";
        let (exit, usage) = run(&place, script).await;
        let peak = usage.memory_peak_bytes.unwrap();
        agree("memory", bytes(exit.usage.resident_peak_bytes), bytes(peak));
    });
}

fn transfers() {
    in_place(async |place| {
        let script = "dd if=/dev/zero of=file bs=1M count=64 oflag=direct 2>/dev/null || exit 9; \
                      dd if=file of=/dev/null bs=1M count=32 iflag=direct 2>/dev/null; \
                      grep -E '^(read|write)_bytes' /proc/$$/io > io";
        let (exit, usage) = run(&place, script).await;
        if exit.cause == lote_node::launch::ExitCause::Exited(9) {
            eprintln!("SKIPPED: transfers: the file system of /tmp goes around the disk");
            return;
        }
        let (Some(read), Some(written)) = (usage.read_bytes, usage.written_bytes) else {
            panic!("not counted: {usage:?}")
        };
        let own = std::fs::read_to_string(place.path("home/io")).unwrap();
        let value = |name: &str| {
            let line = own
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        assert!(written >= 64 << 20, "{usage:?}");
        agree("read", bytes(value("read_bytes:")), bytes(read));
        agree("written", bytes(value("write_bytes:")), bytes(written));
    });
}

fn throttled() {
    in_place(async |place| {
        let limits = Limits {
            cpu_limit_millis: Some(100),
            ..Limits::default()
        };
        let cgroup = created(&place, "job", &limits);
        let spec = ProcessSpec {
            cgroup_procs: cgroup.procs_files(),
            ..place.user_shell("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
        };
        let exit = place.run(&spec).await;
        let elapsed = exit.ended_at.duration_since(exit.started_at).as_secs_f64();
        let usage = cgroup.usage().unwrap();
        let (used, waited) = (
            usage.cpu_seconds.unwrap(),
            usage.cpu_throttled_seconds.unwrap(),
        );
        assert!(
            waited > used && waited <= elapsed,
            "{usage:?} in {elapsed} s"
        );
        cgroup.remove().await.unwrap();
    });
}

fn reserved() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    if !allowed.unwrap().trim().starts_with("0-") {
        eprintln!("SKIPPED: reserved: the first processors are not this test's");
        return;
    }
    on_host(async |mut host| {
        host.reserved = Reserved {
            cpus: 1,
            memory_bytes: None,
        };
        let _daemon = host.start();
        let job = TestJob::new("nproc > draft; taskset -cp $$ >> draft; mv draft found");
        host.allocate(&job, Run).await;
        assert_eq!(host.end(&job).await, Outcome::Completed);
        let found = std::fs::read_to_string(host.output(&job, "found")).unwrap();
        let all = std::thread::available_parallelism().unwrap().get();
        let (count, list) = found.split_once('\n').unwrap();
        assert_eq!(count, (all - 1).to_string());
        let list = list.rsplit(": ").next().unwrap();
        assert!(list.starts_with('1'), "{list}");
    });
}

fn reported() {
    on_host(async |host| {
        let _daemon = host.start();
        let script = "dd if=/dev/zero of=file bs=1M count=16 oflag=direct 2>/dev/null; \
                      i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let job = TestJob::new(script);
        host.allocate(&job, Run).await;
        let (outcome, account) = host.end_and_account(&job).await;
        assert_eq!(outcome, Outcome::Completed);
        // A file system that goes around the disk refuses to.
        let file = std::fs::metadata(host.output(&job, "file")).unwrap();
        if file.len() > 0 {
            agree(
                "written",
                bytes(16 << 20),
                bytes(account.written_bytes.unwrap()),
            );
        }
        assert!(account.cpu_seconds > 0.1, "{account:?}");
        assert!(account.read_bytes.is_some(), "{account:?}");
    });
}
