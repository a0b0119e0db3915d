//! What a process is given, and how its end is told.

use std::os::unix::fs::PermissionsExt;

use lote_node::launch::{DirectorySpec, ExitCause, LaunchError, ProcessSpec, SetupStep};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Place, Test, children, exit, in_place, is_alive, line_in, test, until};

pub const TESTS: &[Test] = &[
    test("processes::exit_code", exit_code),
    test("processes::killed_by_signal", killed_by_signal),
    test("processes::missing_command", missing_command),
    test(
        "processes::output_that_cannot_be_opened",
        output_that_cannot_be_opened,
    ),
    test(
        "processes::missing_working_directory",
        missing_working_directory,
    ),
    test(
        "processes::exact_environment_and_clean_state",
        exact_environment_and_clean_state,
    ),
    test(
        "processes::appends_output_and_creates_directories",
        appends_output,
    ),
    test("processes::execution_log", execution_log),
    test("processes::usage_and_times", usage_and_times),
    test("processes::signals_are_passed_on", signals_are_passed_on),
    test(
        "processes::descendants_die_without_a_cgroup",
        descendants_die,
    ),
    test("processes::secrets_are_not_in_command_lines", secrets),
    test("processes::no_zombies", no_zombies),
    test("processes::a_dead_spawner_is_replaced", dead_spawner),
    test("processes::large_environment", large_environment),
    test("processes::many_at_once", many_at_once),
];

fn exit_code() {
    in_place(async |place| {
        let exit = place.run(&place.shell("exit 7")).await;
        assert_eq!(exit.cause, ExitCause::Exited(7));
    });
}

fn killed_by_signal() {
    in_place(async |place| {
        let exit = place.run(&place.shell("kill -SEGV $$")).await;
        assert_eq!(exit.cause, ExitCause::Signalled(Signal::SIGSEGV as i32));
    });
}

async fn failed_step(place: &Place, spec: ProcessSpec) -> (SetupStep, String) {
    match place.run(&spec).await.cause {
        ExitCause::SetupFailed(failure) => (failure.step, failure.to_string()),
        other => panic!("started: {other:?}"),
    }
}

fn missing_command() {
    in_place(async |place| {
        let spec = ProcessSpec {
            title: "test".into(),
            argv: vec!["no-such-command".into()],
            ..place.shell("")
        };
        let (step, message) = failed_step(&place, spec).await;
        assert_eq!(step, SetupStep::Execute);
        assert_eq!(
            message,
            "cannot execute no-such-command: No such file or directory"
        );
    });
}

fn output_that_cannot_be_opened() {
    in_place(async |place| {
        let stdout = place.path("missing/stdout");
        let (step, message) = failed_step(
            &place,
            ProcessSpec {
                stdout: stdout.clone(),
                ..place.shell("")
            },
        )
        .await;
        assert_eq!(step, SetupStep::OpenOutput);
        assert!(message.contains(stdout.to_str().unwrap()), "{message}");
    });
}

fn missing_working_directory() {
    in_place(async |place| {
        let working_directory = place.path("missing");
        let (step, _) = failed_step(
            &place,
            ProcessSpec {
                working_directory,
                ..place.shell("")
            },
        )
        .await;
        assert_eq!(step, SetupStep::EnterDirectory);
    });
}

fn exact_environment_and_clean_state() {
    in_place(async |place| {
        let script = "/usr/bin/env; ls /proc/self/fd; grep -E 'SigBlk|SigIgn|NoNewPrivs' /proc/self/status; ulimit -c; umask; cat";
        let mut spec = place.shell(script);
        spec.env.push(("NAME".into(), "a value".into()));
        let output = place.output(&spec).await;
        let mut lines: Vec<_> = output.lines().filter(|l| !l.starts_with("PWD=")).collect();
        lines.retain(|line| !line.starts_with("_="));
        let expected = [
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "NAME=a value",
            // Standard streams, and the directory that ls itself has open.
            "0",
            "1",
            "2",
            "3",
            "NoNewPrivs:\t1",
            "SigBlk:\t0000000000000000",
            "SigIgn:\t0000000000000000",
            "0",
            "0022",
        ];
        lines.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    });
}

fn appends_output() {
    in_place(async |place| {
        let path = place.path("a/b");
        let output = path.join("all.txt");
        let mut spec = place.shell("echo out; echo err >&2");
        spec.directories = vec![DirectorySpec {
            path: path.clone(),
            mode: 0o750,
        }];
        (spec.stdout, spec.stderr) = (output.clone(), output.clone());
        place.run(&spec).await;
        spec.record = place.path("records/again");
        place.run(&spec).await;
        assert_eq!(
            std::fs::read_to_string(&output).unwrap(),
            "out\nerr\nout\nerr\n"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o750);
    });
}

fn execution_log() {
    in_place(async |place| {
        let log = place.path("execution.log");
        let mut spec = ProcessSpec {
            execution_log: Some(log.clone()),
            ..place.shell("exit 3")
        };
        place.run(&spec).await;
        spec.record = place.path("records/again");
        spec.argv = vec!["no-such-command".into()];
        place.run(&spec).await;
        let text = std::fs::read_to_string(log).unwrap();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert!(lines[0].starts_with("started test (process "), "{text}");
        assert_eq!(lines[1], "test exited with code 3");
        assert_eq!(
            lines[2],
            "test was not started: cannot execute no-such-command: No such file or directory"
        );
    });
}

fn usage_and_times() {
    in_place(async |place| {
        let script = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done";
        let exit = place.run(&place.shell(script)).await;
        assert!(
            exit.usage.user_seconds > 0.0 && exit.usage.resident_peak_bytes > 100_000,
            "{exit:?}"
        );
        assert!(exit.ended_at > exit.started_at && exit.pid.is_some());
    });
}

fn signals_are_passed_on() {
    in_place(async |place| {
        let spec = place
            .shell("trap 'echo polite; exit 9' TERM; echo ready; while :; do sleep 0.01; done");
        let process = place.launcher.launch(&spec).await.unwrap();
        line_in(&spec.stdout).await;
        assert!(process.signal(Signal::SIGTERM).unwrap());
        assert_eq!(
            exit(process.wait().await.unwrap()).cause,
            ExitCause::Exited(9)
        );
        assert_eq!(
            std::fs::read_to_string(&spec.stdout).unwrap(),
            "ready\npolite\n"
        );
        assert!(!process.signal(Signal::SIGTERM).unwrap());

        let stubborn = ProcessSpec {
            record: place.path("records/stubborn"),
            stdout: place.path("stubborn"),
            ..place.shell("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        };
        let process = place.launcher.launch(&stubborn).await.unwrap();
        line_in(&stubborn.stdout).await;
        process.signal(Signal::SIGTERM).unwrap();
        process.signal(Signal::SIGKILL).unwrap();
        let cause = exit(process.wait().await.unwrap()).cause;
        assert_eq!(cause, ExitCause::Signalled(Signal::SIGKILL as i32));
    });
}

fn descendants_die() {
    in_place(async |place| {
        let script = "setsid sh -c 'trap \"\" TERM HUP; echo $$; setsid sleep 1000 & wait' & sleep 0.1; exit 0";
        let spec = place.shell(script);
        place.run(&spec).await;
        let daemon: i32 = line_in(&spec.stdout).await.trim().parse().unwrap();
        assert!(!is_alive(daemon));
    });
}

fn secrets() {
    in_place(async |place| {
        let mut spec =
            place.shell("cat /proc/$PPID/cmdline /proc/$PPID/environ | tr '\\0' ' '; sleep 0.01");
        spec.env.push(("TOKEN".into(), "hunter2".into()));
        let output = place.output(&spec).await;
        let spawner = place.launcher.spawner_pid().await.unwrap();
        let spawner = std::fs::read_to_string(format!("/proc/{spawner}/cmdline")).unwrap();
        assert!(
            output.contains("__spawner") && !output.contains("hunter2"),
            "{output}"
        );
        assert!(
            spawner.contains("__spawner") && !spawner.contains("hunter2"),
            "{spawner}"
        );
    });
}

fn no_zombies() {
    in_place(async |place| {
        for number in 0..5 {
            let record = place.path(&format!("records/{number}"));
            place
                .run(&ProcessSpec {
                    record,
                    ..place.shell("sleep 0 & exit 0")
                })
                .await;
        }
        let spawner = place.launcher.spawner_pid().await.unwrap();
        until(|| children(spawner).is_empty().then_some(())).await;
    });
}

fn dead_spawner() {
    in_place(async |place| {
        let spec = place.shell("echo once; read line < pipe; exit 4");
        nix::unistd::mkfifo(&place.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let process = place.launcher.launch(&spec).await.unwrap();
        line_in(&spec.stdout).await;
        let spawner = place.launcher.spawner_pid().await.unwrap();
        kill(Pid::from_raw(spawner.cast_signed()), Signal::SIGKILL).unwrap();

        let other = ProcessSpec {
            record: place.path("records/other"),
            ..place.shell("exit 5")
        };
        let second = loop {
            match place.launcher.launch(&other).await {
                Ok(process) => break process,
                Err(LaunchError::SpawnerEnded) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(
            exit(second.wait().await.unwrap()).cause,
            ExitCause::Exited(5)
        );
        assert_ne!(place.launcher.spawner_pid().await, Some(spawner));
        // The first process has not noticed.
        std::fs::write(place.path("pipe"), "go\n").unwrap();
        assert_eq!(
            exit(process.wait().await.unwrap()).cause,
            ExitCause::Exited(4)
        );
    });
}

fn large_environment() {
    in_place(async |place| {
        let mut spec = place.shell("echo ${#LARGE0}");
        for number in 0..10 {
            spec.env
                .push((format!("LARGE{number}"), "x".repeat(100_000)));
        }
        assert_eq!(place.output(&spec).await, "100000\n");
        spec.record = place.path("records/too-large");
        spec.env.push(("HUGE".into(), "x".repeat(9 << 20)));
        let error = place.launcher.launch(&spec).await.unwrap_err();
        assert!(matches!(error, LaunchError::TooLarge { .. }), "{error}");
    });
}

fn many_at_once() {
    in_place(async |place| {
        let specs: Vec<_> = (0..100)
            .map(|number| ProcessSpec {
                record: place.path(&format!("records/{number}")),
                ..place.shell(&format!("exit {number}"))
            })
            .collect();
        let mut processes = Vec::new();
        for spec in &specs {
            processes.push(place.launcher.launch(spec).await.unwrap());
        }
        for (process, code) in processes.iter().zip(0..) {
            assert_eq!(
                exit(process.wait().await.unwrap()).cause,
                ExitCause::Exited(code)
            );
        }
    });
}
