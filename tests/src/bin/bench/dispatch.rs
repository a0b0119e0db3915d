//! Small jobs per second, and what each costs.

use lote_tests::daemon::Daemon;

use crate::account::{Account, Used};
use crate::figure::{Figure, Goal};
use crate::load::{CLIENTS, Run, run_true};
use crate::machine::{Machine, fork_limit};
use crate::statistics::median;

/// Jobs before the first run, so that nothing is done for the first time in it.
const WARM_UP_JOBS: usize = 50;

/// One run with its surroundings.
struct Measured {
    run: Run,
    used: Used,
    fork_limit: f64,
}

/// Several runs of many jobs of `true` by one daemon.
pub(crate) fn measure(machine: &Machine, jobs: usize, runs: usize, cores: f64) -> Vec<Figure> {
    let daemon = Daemon::start(&[]);
    run_true(&daemon, "warm-up", WARM_UP_JOBS, cores);
    let account = Account::open(&daemon);
    let measured: Vec<Measured> = (0..runs.max(1))
        .map(|number| {
            let fork_limit = fork_limit();
            let before = used(account.as_ref());
            let run = run_true(&daemon, &format!("run-{number}"), jobs, cores);
            Measured {
                run,
                used: used(account.as_ref()) - before,
                fork_limit,
            }
        })
        .collect();
    figures(machine, jobs, cores, &measured)
}

fn used(account: Option<&Account>) -> Used {
    account.map(Account::used).unwrap_or_default()
}

fn figures(machine: &Machine, jobs: usize, cores: f64, measured: &[Measured]) -> Vec<Figure> {
    #[expect(clippy::cast_precision_loss, reason = "few jobs and cores")]
    let (count, at_once) = (jobs as f64, (machine.cores as f64 / cores).floor());
    let middle =
        |value: &dyn Fn(&Measured) -> f64| median(&measured.iter().map(value).collect::<Vec<_>>());
    let limit = middle(&|measured| measured.fork_limit);
    let figure = |name: &str, unit, value: &dyn Fn(&Measured) -> f64| {
        Figure::new(name, middle(value), unit, limit)
    };
    let each = |name: &str, seconds: fn(&Measured) -> f64| {
        figure(name, "ms", &|measured| seconds(measured) * 1000.0 / count)
    };
    let how = format!(
        "{jobs} jobs by {CLIENTS} clients, {at_once} at once, median of {} runs",
        measured.len()
    );
    vec![
        figure("dispatch: jobs finished", "jobs/s", &|m| {
            count / m.run.finished.as_secs_f64()
        })
        .goal(Goal::AtLeast(500.0))
        .note(how),
        figure("dispatch: jobs acknowledged meanwhile", "jobs/s", &|m| {
            count / m.run.submitted.as_secs_f64()
        }),
        figure("dispatch: share of the fork limit", "%", &|m| {
            count / m.run.finished.as_secs_f64() / m.fork_limit * 100.0
        }),
        each("processor time per job: daemon", |m| m.used.daemon).goal(Goal::AtMost(1.0)),
        each("processor time per job: spawner", |m| m.used.spawner),
        each("processor time per job: shim", |m| m.used.shims)
            .note("with the set-up before the control group is entered"),
        each("processor time per job: the job itself", |m| {
            m.run.inside_seconds
        })
        .note("mounts, user, bash and true, as its account says"),
    ]
}
