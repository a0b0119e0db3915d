//! The run record: at most one start, and the truth afterwards.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use lote_node::launch::{
    Attached, ExitCause, LostReason, Outcome, ProcessSpec, RecordError, Tombstone, attach,
    remove_record, tombstone,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{
    DAEMON_SUBCOMMAND, Test, children, exit, in_place, is_alive, line_in, test, until,
};

pub const TESTS: &[Test] = &[
    test("records::unknown_record_was_never_started", never_started),
    test("records::two_launches_run_once", two_launches_run_once),
    test(
        "records::launch_after_the_end_runs_nothing",
        launch_after_the_end,
    ),
    test(
        "records::tombstone_prevents_a_late_launch",
        tombstone_prevents,
    ),
    test(
        "records::tombstone_after_a_start_is_refused",
        tombstone_refused,
    ),
    test("records::survives_kill_of_the_daemon", survives_kill),
    test("records::killed_shim_is_told", killed_shim),
    test("records::other_boot_is_told", other_boot),
    test("records::half_written_exit_is_no_exit", half_written),
    test("records::record_that_cannot_be_created", cannot_be_created),
    test("records::leaves_nothing_beside_the_record", leaves_nothing),
];

fn never_started() {
    in_place(async |place| {
        assert!(matches!(
            attach(&place.path("run")),
            Ok(Attached::NeverStarted)
        ));
        remove_record(&place.path("run")).unwrap();
    });
}

fn two_launches_run_once() {
    in_place(async |place| {
        for round in 0..20 {
            let record = place.path(&format!("records/{round}"));
            let spec = ProcessSpec {
                record,
                ..place.shell("echo run; sleep 0.01")
            };
            let (first, second) =
                tokio::join!(place.launcher.launch(&spec), place.launcher.launch(&spec));
            let (first, second) = (first.unwrap(), second.unwrap());
            let (first, second) = tokio::join!(first.wait(), second.wait());
            assert_eq!(first.unwrap(), second.unwrap());
        }
        let output = std::fs::read_to_string(place.path("stdout")).unwrap();
        assert_eq!(output.lines().count(), 20);
    });
}

fn launch_after_the_end() {
    in_place(async |place| {
        let spec = place.shell("echo run; exit 2");
        let first = place.run(&spec).await;
        assert_eq!(place.run(&spec).await, first);
        assert_eq!(std::fs::read_to_string(&spec.stdout).unwrap(), "run\n");
    });
}

fn tombstone_prevents() {
    in_place(async |place| {
        let spec = place.shell("echo run");
        assert_eq!(tombstone(&spec.record).unwrap(), Tombstone::Placed);
        assert_eq!(tombstone(&spec.record).unwrap(), Tombstone::AlreadyClaimed);
        let process = place.launcher.launch(&spec).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), Outcome::Tombstone);
        assert!(!spec.stdout.exists());
        assert!(matches!(
            attach(&spec.record),
            Ok(Attached::Finished(Outcome::Tombstone))
        ));
    });
}

fn tombstone_refused() {
    in_place(async |place| {
        let spec = place.shell("exit 2");
        let exit = place.run(&spec).await;
        assert_eq!(tombstone(&spec.record).unwrap(), Tombstone::AlreadyClaimed);
        match attach(&spec.record).unwrap() {
            Attached::Finished(outcome) => assert_eq!(outcome, Outcome::Ended(exit)),
            other => panic!("{other:?}"),
        }
    });
}

fn survives_kill() {
    in_place(async |place| {
        nix::unistd::mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let spec = place.shell("echo $$; read line < pipe; echo $line; exit 6");
        let file = place.path("spec.json");
        std::fs::write(&file, serde_json::to_vec(&spec).unwrap()).unwrap();
        let mut daemon = Command::new(std::env::current_exe().unwrap())
            .arg(DAEMON_SUBCOMMAND)
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let pid: i32 = line_in(&spec.stdout).await.trim().parse().unwrap();
        let spawner = children(daemon.id())[0];
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        until(|| (!is_alive(spawner)).then_some(())).await;

        let Attached::Running(process) = attach(&spec.record).unwrap() else {
            panic!("not running")
        };
        assert_eq!(until(|| process.pid()).await, pid);
        std::fs::write(place.path("pipe"), "still here\n").unwrap();
        let exit = exit(process.wait().await.unwrap());
        assert_eq!((exit.cause, exit.pid), (ExitCause::Exited(6), Some(pid)));
        assert_eq!(
            std::fs::read_to_string(&spec.stdout).unwrap(),
            format!("{pid}\nstill here\n")
        );
    });
}

fn killed_shim() {
    in_place(async |place| {
        let spec = place.shell("echo $$ $PPID; exec sleep 1000");
        let process = place.launcher.launch(&spec).await.unwrap();
        let line = line_in(&spec.stdout).await;
        let pids: Vec<i32> = line
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect();
        kill(Pid::from_raw(pids[1]), Signal::SIGKILL).unwrap();
        assert_eq!(
            process.wait().await.unwrap(),
            Outcome::Lost(LostReason::ShimKilled)
        );
        kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    });
}

fn other_boot() {
    in_place(async |place| {
        let record = place.path("run");
        let line = r#"{"started":{"shim_pid":1,"boot_id":"another","at":"2026-01-01T00:00:00Z"}}"#;
        // The second is what a power failure may leave of a young file.
        for contents in [format!("{line}\n"), String::new()] {
            std::fs::write(&record, contents).unwrap();
            let attached = attach(&record).unwrap();
            let expected = Outcome::Lost(LostReason::MachineRestarted);
            assert!(matches!(attached, Attached::Finished(outcome) if outcome == expected));
        }
    });
}

fn half_written() {
    in_place(async |place| {
        let spec = place.shell("exit 0");
        place.run(&spec).await;
        let text = std::fs::read_to_string(&spec.record).unwrap();
        std::fs::write(&spec.record, text.trim_end()).unwrap();
        let attached = attach(&spec.record).unwrap();
        assert!(matches!(
            attached,
            Attached::Finished(Outcome::Lost(LostReason::ShimKilled))
        ));
    });
}

fn cannot_be_created() {
    in_place(async |place| {
        std::fs::write(place.path("records"), "a file").unwrap();
        let process = place.launcher.launch(&place.shell("exit 0")).await.unwrap();
        let error = process.wait().await.unwrap_err();
        assert!(
            matches!(
                error,
                RecordError::NotClaimed { .. } | RecordError::Io { .. }
            ),
            "{error}"
        );
    });
}

fn leaves_nothing() {
    in_place(async |place| {
        let spec = place.shell("exit 0");
        place.run(&spec).await;
        place.run(&spec).await;
        tombstone(&spec.record).unwrap();
        let names: Vec<_> = std::fs::read_dir(place.path("records")).unwrap().collect();
        assert_eq!(names.len(), 1);
    });
}
