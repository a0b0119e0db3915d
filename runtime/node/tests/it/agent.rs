//! What a node does when it is cut off, comes back, or is given a job anew.

use std::future::Future;
use std::time::{Duration, Instant};

use lote_model::allocation::AllocationPhase::{Run, Stop};
use lote_model::duration::Seconds;
use lote_model::report::Outcome;
use lote_node::agent::FencingConfig;

use crate::host::{Host, TestJob, gone};
use crate::support::{Test, cgroup_test, is_alive, line_in, until};

pub const TESTS: &[Test] = &[
    cgroup_test("agent::a_node_that_is_cut_off_ends_its_jobs", cut_off),
    cgroup_test("agent::shims_end_jobs_when_the_daemon_is_dead", dead_daemon),
    cgroup_test("agent::a_lost_quorum_ends_no_job", lost_quorum),
    cgroup_test("agent::with_a_store_of_its_own_nothing_is_fenced", alone),
    cgroup_test("agent::strays_are_gone_before_the_node_lives", strays),
    cgroup_test(
        "agent::what_was_lost_is_gone_before_the_node_lives_again",
        lost,
    ),
    cgroup_test("agent::the_next_attempt_waits_for_the_last", attempts),
    cgroup_test(
        "agent::an_end_is_reported_when_the_store_is_back",
        late_report,
    ),
    cgroup_test("agent::an_end_is_reported_by_the_next_daemon", later_report),
    cgroup_test("agent::a_stopped_job_has_its_grace_period", stop),
];

/// Ends jobs about a second after the last renewal, shims two seconds later.
const QUICK: FencingConfig = FencingConfig {
    after: Duration::from_millis(1_200),
    grace: Duration::from_millis(500),
    shim_margin: Duration::from_millis(1_500),
};

/// Ignores SIGTERM, and has a child that has left its session.
const STUBBORN: &str = "trap '' TERM; setsid sleep 1000 & echo $! > child; \
                        while true; do sleep 1; done";

fn on<F: Future<Output = ()>>(fencing: Option<FencingConfig>, test: impl FnOnce(Host) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let test = test(Host::new(fencing));
        let limit = Duration::from_mins(1);
        let ended = tokio::time::timeout(limit, test).await;
        ended.expect("the test hangs");
    });
}

fn is_fenced(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Lost { reason, .. } if reason.contains("cut off"))
}

fn cut_off() {
    on(Some(QUICK), async |host| {
        let _daemon = host.start();
        let job = TestJob::new(STUBBORN);
        host.allocate(&job, Run).await;
        let (main, child) = (host.pid(&job, "pid").await, host.pid(&job, "child").await);
        host.store.set_away(true);
        gone(main).await;
        gone(child).await;
        host.store.set_away(false);
        let outcome = host.end(&job).await;
        assert!(is_fenced(&outcome), "{outcome:?}");
        // And it is ready for more.
        let next = job.next("exit 0");
        host.allocate(&next, Run).await;
        assert_eq!(host.end(&next).await, Outcome::Completed);
    });
}

fn dead_daemon() {
    on(Some(QUICK), async |host| {
        let daemon = host.start();
        let job = TestJob::new(STUBBORN);
        host.allocate(&job, Run).await;
        let (main, child) = (host.pid(&job, "pid").await, host.pid(&job, "child").await);
        let killed = Instant::now();
        daemon.kill();
        gone(main).await;
        gone(child).await;
        let all = QUICK.after + QUICK.grace + QUICK.shim_margin;
        let took = killed.elapsed();
        assert!(
            took > all / 2 && took < all + Duration::from_secs(2),
            "{took:?}"
        );
        let _daemon = host.start();
        let outcome = host.end(&job).await;
        assert!(is_fenced(&outcome), "{outcome:?}");
    });
}

fn lost_quorum() {
    on(Some(QUICK), async |host| {
        let daemon = host.start();
        let job = TestJob::new("trap 'exit 0' TERM; while [ ! -e end ]; do sleep 0.02; done");
        host.allocate(&job, Run).await;
        let main = host.pid(&job, "pid").await;
        host.store.set_quorum_lost(true);
        host.store.set_away(true);
        let all = QUICK.after + QUICK.grace + QUICK.shim_margin;
        tokio::time::sleep(all + all / 2).await;
        assert!(is_alive(main.as_raw()));
        // Not for a daemon that says nothing any more.
        daemon.kill();
        gone(main).await;
    });
}

fn alone() {
    on(None, async |host| {
        let daemon = host.start();
        let job = TestJob::new("while [ ! -e end ]; do sleep 0.02; done");
        host.allocate(&job, Run).await;
        let main = host.pid(&job, "pid").await;
        host.store.set_away(true);
        daemon.kill();
        let all = QUICK.after + QUICK.grace + QUICK.shim_margin;
        tokio::time::sleep(all + all / 2).await;
        assert!(is_alive(main.as_raw()));
        host.store.set_away(false);
        let _daemon = host.start();
        std::fs::write(host.output(&job, "end"), "").unwrap();
        assert_eq!(host.end(&job).await, Outcome::Completed);
    });
}

fn strays() {
    on(Some(FencingConfig::default()), async |host| {
        let daemon = host.start();
        let job = TestJob::new(STUBBORN);
        host.allocate(&job, Run).await;
        let (main, child) = (host.pid(&job, "pid").await, host.pid(&job, "child").await);
        daemon.kill();
        // The node was taken for lost, and the job was given to another.
        host.withdraw(&job).await;
        host.not_alive().await;
        let _daemon = host.start();
        host.alive().await;
        assert!(!is_alive(main.as_raw()) && !is_alive(child.as_raw()));
        assert!(!host.job_root(&job).exists());
        assert!(host.output(&job, "pid").exists(), "the output stays");
    });
}

fn lost() {
    on(Some(FencingConfig::default()), async |host| {
        let _daemon = host.start();
        let (kept, job) = (TestJob::new("sleep 1000"), TestJob::new(STUBBORN));
        host.allocate(&kept, Run).await;
        host.allocate(&job, Run).await;
        let kept = host.pid(&kept, "pid").await;
        let (main, child) = (host.pid(&job, "pid").await, host.pid(&job, "child").await);
        host.store.set_away(true);
        host.withdraw(&job).await;
        host.not_alive().await;
        host.store.end_leases();
        host.store.set_away(false);
        host.alive().await;
        assert!(!is_alive(main.as_raw()) && !is_alive(child.as_raw()));
        assert!(is_alive(kept.as_raw()));
    });
}

fn attempts() {
    on(None, async |host| {
        let _daemon = host.start();
        let first = TestJob::new(STUBBORN);
        host.allocate(&first, Run).await;
        let main = host.pid(&first, "pid").await;
        let second = first.next(&format!(
            "kill -0 {main} 2>/dev/null && echo twice > result || echo once > result; \
             touch $AZ_BATCHAI_JOB_TEMP/mine; \
             while [ ! -e end ]; do sleep 0.02; done; \
             test -e $AZ_BATCHAI_JOB_TEMP/mine"
        ));
        host.allocate(&second, Run).await;
        let result = line_in(&host.output(&second, "result")).await;
        assert_eq!(result, "once\n");
        std::fs::write(host.output(&second, "end"), "").unwrap();
        assert_eq!(host.end(&second).await, Outcome::Completed);
    });
}

fn exit_code(outcome: &Outcome) -> Option<i32> {
    match outcome {
        Outcome::Failed { exit_code, .. } => *exit_code,
        _ => None,
    }
}

fn late_report() {
    on(None, async |host| {
        let _daemon = host.start();
        let job = TestJob::new("while [ ! -e end ]; do sleep 0.02; done; exit 7");
        host.allocate(&job, Run).await;
        let main = host.pid(&job, "pid").await;
        host.store.set_away(true);
        std::fs::write(host.output(&job, "end"), "").unwrap();
        gone(main).await;
        until(|| (!host.job_root(&job).exists()).then_some(())).await;
        host.store.set_away(false);
        assert_eq!(exit_code(&host.end(&job).await), Some(7));
    });
}

fn later_report() {
    on(Some(FencingConfig::default()), async |host| {
        let daemon = host.start();
        let job = TestJob::new("while [ ! -e end ]; do sleep 0.02; done; exit 7");
        host.allocate(&job, Run).await;
        let main = host.pid(&job, "pid").await;
        host.store.set_away(true);
        daemon.kill();
        std::fs::write(host.output(&job, "end"), "").unwrap();
        gone(main).await;
        // It comes up although there is no store, and waits.
        let _daemon = host.start();
        tokio::time::sleep(Duration::from_millis(300)).await;
        host.store.set_away(false);
        assert_eq!(exit_code(&host.end(&job).await), Some(7));
    });
}

fn stop() {
    on(None, async |host| {
        let _daemon = host.start();
        let job = TestJob::new(
            "trap 'sleep 0.2; echo bye > bye; exit 0' TERM; echo > ready; \
                                while true; do sleep 0.02; done",
        );
        host.allocate(&job, Run).await;
        line_in(&host.output(&job, "ready")).await;
        host.allocate(&job, Stop).await;
        assert_eq!(host.end(&job).await, Outcome::Stopped);
        assert_eq!(line_in(&host.output(&job, "bye")).await, "bye\n");

        let stubborn = TestJob {
            grace: Seconds(0),
            ..TestJob::new(STUBBORN)
        };
        host.allocate(&stubborn, Run).await;
        let child = host.pid(&stubborn, "child").await;
        host.allocate(&stubborn, Stop).await;
        assert_eq!(host.end(&stubborn).await, Outcome::Stopped);
        assert!(!is_alive(child.as_raw()));
    });
}
