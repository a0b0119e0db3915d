//! Cgroups of the real kernel: limits, accounts, and the end of everything.

use std::time::Duration;

use lote_node::cgroup::{CgroupLayout, JobCgroup, LayoutSource, Limits, list};
use lote_node::launch::{ExitCause, ProcessSpec};
use nix::sys::signal::Signal;

use crate::support::{
    Place, Test, cgroup_test, exit, in_place, is_alive, line_in, named, until, usable_layout,
};

pub const TESTS: &[Test] = &[
    cgroup_test("cgroups::kill_reaches_daemons_that_ignore_signals", || {
        kill_reaches(layout());
    }),
    cgroup_test("cgroups::kill_reaches_daemons_without_cgroup2", || {
        v1_layout().into_iter().for_each(kill_reaches);
    }),
    cgroup_test(
        "cgroups::kill_outruns_a_fork_bomb",
        kill_outruns_a_fork_bomb,
    ),
    cgroup_test("cgroups::out_of_memory_is_counted", out_of_memory),
    cgroup_test(
        "cgroups::shim_survives_out_of_memory_of_the_job",
        shim_survives,
    ),
    cgroup_test("cgroups::fork_bomb_stays_inside", fork_bomb),
    cgroup_test("cgroups::processor_time_is_counted", processor_time),
    cgroup_test("cgroups::processor_limit_holds", processor_limit),
    cgroup_test(
        "cgroups::removed_with_processes_inside",
        removed_with_processes,
    ),
    cgroup_test("cgroups::child_is_killed_alone", child_alone),
    cgroup_test("cgroups::joining_a_removed_cgroup_fails", joining_removed),
    cgroup_test("cgroups::found_again_by_name", found_again),
];

fn layout() -> CgroupLayout {
    usable_layout().expect("checked before the test was started")
}

/// What this machine would be without the unified hierarchy, if it has another.
fn v1_layout() -> Option<CgroupLayout> {
    let mut source = LayoutSource::host().unwrap();
    let lines = source
        .mountinfo
        .lines()
        .filter(|line| !line.contains(" - cgroup2 "));
    source.mountinfo = lines.collect::<Vec<_>>().join("\n");
    let layout = named(CgroupLayout::detect(&source).unwrap());
    if layout.describe().version == "none" {
        eprintln!("SKIPPED: the part for cgroup v1: this machine has only v2");
        return None;
    }
    layout.prepare().unwrap();
    Some(layout)
}

fn layouts() -> impl Iterator<Item = CgroupLayout> {
    std::iter::once(layout()).chain(v1_layout())
}

fn name(place: &Place) -> String {
    let name = place
        .directory
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    format!("test-{}", name.trim_start_matches('.'))
}

fn in_cgroup(place: &Place, cgroup: &JobCgroup, script: &str) -> ProcessSpec {
    ProcessSpec {
        cgroup_procs: cgroup.procs_files(),
        ..place.user_shell(script)
    }
}

fn memory(bytes: u64) -> Limits {
    Limits {
        memory_bytes: Some(bytes),
        ..Limits::default()
    }
}

fn kill_reaches(layout: CgroupLayout) {
    in_place(async move |place| {
        let cgroup = JobCgroup::create(&layout, &name(&place), &Limits::default()).unwrap();
        let script = "trap '' TERM HUP INT; setsid sh -c 'setsid sleep 1000 & echo $!; sleep 1000' & sleep 1000";
        let spec = in_cgroup(&place, &cgroup, script);
        let process = place.launcher.launch(&spec).await.unwrap();
        let daemon: i32 = line_in(&spec.stdout).await.trim().parse().unwrap();
        assert!(is_alive(daemon) && !cgroup.is_empty().unwrap());

        process.signal(Signal::SIGTERM).unwrap();
        cgroup.kill().await.unwrap();
        assert!(!is_alive(daemon) && cgroup.is_empty().unwrap());
        let cause = exit(process.wait().await.unwrap()).cause;
        assert_eq!(cause, ExitCause::Signalled(Signal::SIGKILL as i32));
        cgroup.remove().await.unwrap();
        assert!(!list(&layout).unwrap().contains(&name(&place)));
    });
}

fn kill_outruns_a_fork_bomb() {
    for layout in layouts() {
        in_place(async move |place| {
            let limits = Limits {
                pids_max: Some(200),
                ..memory(256 << 20)
            };
            let cgroup = JobCgroup::create(&layout, &name(&place), &limits).unwrap();
            let spec = in_cgroup(
                &place,
                &cgroup,
                "b() { b | b & b; }; echo go; b 2>/dev/null",
            );
            let process = place.launcher.launch(&spec).await.unwrap();
            line_in(&spec.stdout).await;
            until(|| (cgroup.usage().unwrap().pids_limit_hits > 0).then_some(())).await;
            cgroup.kill().await.unwrap();
            process.wait().await.unwrap();
            cgroup.remove().await.unwrap();
        });
    }
}

/// Takes memory until there is none: `tail` keeps the last line, which never ends.
const EAT_MEMORY: &str = "exec tail /dev/zero";

fn out_of_memory() {
    in_place(async |place| {
        let layout = layout();
        let cgroup = JobCgroup::create(&layout, &name(&place), &memory(32 << 20)).unwrap();
        let exit = place.run(&in_cgroup(&place, &cgroup, EAT_MEMORY)).await;
        assert_eq!(exit.cause, ExitCause::Signalled(Signal::SIGKILL as i32));
        let usage = cgroup.usage().unwrap();
        assert_eq!(usage.oom_kills, 1);
        assert!(usage.memory_peak_bytes.unwrap() > 30 << 20, "{usage:?}");
        cgroup.remove().await.unwrap();
    });
}

/// The smallest limit there is kills the command while it is being set up, at
/// worst; its shim is there to tell.
fn shim_survives() {
    in_place(async |place| {
        let layout = layout();
        let cgroup = JobCgroup::create(&layout, &name(&place), &memory(1 << 20)).unwrap();
        let exit = place.run(&in_cgroup(&place, &cgroup, EAT_MEMORY)).await;
        assert_ne!(exit.cause, ExitCause::Exited(0));
        cgroup.remove().await.unwrap();
        let error = JobCgroup::create(&layout, &name(&place), &memory(1 << 19)).unwrap_err();
        assert!(error.to_string().contains("1 MiB"), "{error}");
    });
}

fn fork_bomb() {
    in_place(async |place| {
        let layout = layout();
        let limits = Limits {
            pids_max: Some(20),
            ..Limits::default()
        };
        let cgroup = JobCgroup::create(&layout, &name(&place), &limits).unwrap();
        let script = "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i+1)); done";
        let exit = place.run(&in_cgroup(&place, &cgroup, script)).await;
        assert_ne!(exit.cause, ExitCause::Exited(0));
        assert!(cgroup.usage().unwrap().pids_limit_hits > 0);
        cgroup.kill().await.unwrap();
        cgroup.remove().await.unwrap();
    });
}

fn processor_time() {
    for layout in layouts() {
        in_place(async move |place| {
            let cgroup = JobCgroup::create(&layout, &name(&place), &Limits::default()).unwrap();
            let script = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
            let exit = place.run(&in_cgroup(&place, &cgroup, script)).await;
            let (own, group) = (
                exit.usage.user_seconds,
                cgroup.usage().unwrap().cpu_seconds.unwrap(),
            );
            assert!(own > 0.0 && group > own / 2.0, "{own} {group}");
            cgroup.remove().await.unwrap();
        });
    }
}

fn processor_limit() {
    in_place(async |place| {
        let layout = layout();
        let limits = Limits {
            cpu_share_millis: Some(500),
            cpu_limit_millis: Some(100),
            ..Limits::default()
        };
        let cgroup = JobCgroup::create(&layout, &name(&place), &limits).unwrap();
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let exit = place.run(&in_cgroup(&place, &cgroup, script)).await;
        let elapsed = exit.ended_at.duration_since(exit.started_at).as_secs_f64();
        let used = exit.usage.user_seconds + exit.usage.system_seconds;
        // One window of a tenth of a second may be used at once.
        assert!(used < elapsed * 0.1 + 0.05, "{used} of {elapsed}");
        cgroup.remove().await.unwrap();
    });
}

fn removed_with_processes() {
    for layout in layouts() {
        in_place(async move |place| {
            let cgroup = JobCgroup::create(&layout, &name(&place), &Limits::default()).unwrap();
            let spec = in_cgroup(&place, &cgroup, "echo ready; exec sleep 1000");
            let process = place.launcher.launch(&spec).await.unwrap();
            line_in(&spec.stdout).await;
            cgroup.remove().await.unwrap();
            process.wait().await.unwrap();
            assert!(JobCgroup::open(&layout, &name(&place)).unwrap().is_none());
        });
    }
}

fn child_alone() {
    in_place(async |place| {
        let layout = layout();
        let cgroup = JobCgroup::create(&layout, &name(&place), &memory(64 << 20)).unwrap();
        let (first, second) = (
            cgroup.child("first").unwrap(),
            cgroup.child("second").unwrap(),
        );
        let one = in_cgroup(&place, &first, "echo ready; exec sleep 1000");
        let two = ProcessSpec {
            record: place.path("records/two"),
            cgroup_procs: second.procs_files(),
            ..one.clone()
        };
        let one = place.launcher.launch(&one).await.unwrap();
        let two = place.launcher.launch(&two).await.unwrap();
        // Whoever has been executed has joined.
        until(|| one.pid().and(two.pid())).await;
        first.kill().await.unwrap();
        one.wait().await.unwrap();
        let two_ends = tokio::time::timeout(Duration::from_millis(20), two.wait()).await;
        assert!(two_ends.is_err(), "the other child was killed as well");
        cgroup.remove().await.unwrap();
        two.wait().await.unwrap();
    });
}

fn joining_removed() {
    in_place(async |place| {
        let layout = layout();
        let cgroup = JobCgroup::create(&layout, &name(&place), &Limits::default()).unwrap();
        let spec = in_cgroup(&place, &cgroup, "exit 0");
        cgroup.remove().await.unwrap();
        assert!(matches!(
            place.run(&spec).await.cause,
            ExitCause::SetupFailed(_)
        ));
        cgroup.remove().await.unwrap();
    });
}

fn found_again() {
    in_place(async |place| {
        let layout = layout();
        let name = name(&place);
        assert_eq!(JobCgroup::open(&layout, &name).unwrap(), None);
        let created = JobCgroup::create(&layout, &name, &memory(64 << 20)).unwrap();
        assert!(list(&layout).unwrap().contains(&name));
        // A crash before the start leaves one behind, which is taken over.
        assert_eq!(
            JobCgroup::create(&layout, &name, &memory(32 << 20)).unwrap(),
            created
        );
        let found = JobCgroup::open(&layout, &name).unwrap().unwrap();
        assert_eq!(found.procs_files()[0], created.procs_files()[0]);
        let stored = serde_json::to_string(&created).unwrap();
        assert_eq!(serde_json::from_str::<JobCgroup>(&stored).unwrap(), created);
        found.remove().await.unwrap();
        assert!(!list(&layout).unwrap().contains(&name));
        assert!(JobCgroup::create(&layout, "../escape", &Limits::default()).is_err());
    });
}
