//! Everything a plugin can do wrong in a call: each gives the error that says so,
//! and the host goes on.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lote_plugin_host::{PlanError, Plugin, PluginError, Problem, ValidateError};
use serde_json::json;

use crate::components::{self, allocation, job};

fn hostile() -> &'static Plugin {
    static PLUGIN: OnceLock<Plugin> = OnceLock::new();
    PLUGIN.get_or_init(|| components::load("test/hostile"))
}

/// The error of a plan; the next, harmless one must then succeed.
fn plan_error(act: &str) -> PluginError {
    let result = hostile().plan(&job(json!({ "act": act })), &allocation());
    let harmless = hostile().plan(&job(json!({ "act": "" })), &allocation());
    assert_eq!(harmless.unwrap().processes.len(), 1);
    match result {
        Err(PlanError::Plugin(error)) => {
            let sentence = error.sentence();
            let digest = &hostile().info().digest[..12];
            assert!(sentence.contains("hostile 6.6.6"), "{sentence}");
            assert!(sentence.contains(digest), "{sentence}");
            error
        }
        other => panic!("{act}: {other:?}"),
    }
}

/// The places in the plan that are refused.
fn refused(act: &str) -> Vec<String> {
    match *plan_error(act).problem {
        Problem::PlanRefused { findings } => findings.into_iter().map(|f| f.path).collect(),
        other => panic!("{act}: {other:?}"),
    }
}

#[test]
fn an_endless_loop_is_stopped_at_its_deadline() {
    let begin = Instant::now();
    let error = hostile()
        .validate(&job(json!({"act": "validate-loop"})))
        .unwrap_err();
    let took = begin.elapsed();
    let ValidateError::Plugin(error) = error else {
        panic!("{error:?}")
    };
    let Problem::PastDeadline {
        function: "validate",
        limit,
    } = *error.problem
    else {
        panic!("{error:?}")
    };
    assert!(took >= limit, "{took:?}");
    // Generous for a busy machine; a deadline that is not kept never ends at all.
    assert!(took < limit + Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_plan_has_a_deadline_too() {
    let problem = *plan_error("loop").problem;
    assert!(
        matches!(
            problem,
            Problem::PastDeadline {
                function: "plan",
                ..
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn memory_without_end_is_refused() {
    let problem = *plan_error("grow").problem;
    assert!(
        matches!(
            problem,
            Problem::OutOfMemory {
                function: "plan",
                limit_mib: 32
            }
        ),
        "{problem:?}"
    );
}

#[test]
fn a_panic_brings_its_text_and_the_last_reports() {
    let Problem::Trapped {
        function,
        panic,
        reports,
        ..
    } = *plan_error("panic").problem
    else {
        panic!("no trap")
    };
    assert_eq!(function, "plan");
    let panic = panic.unwrap();
    assert!(
        panic.contains("src/lib.rs") && panic.contains("out of coffee"),
        "{panic}"
    );
    assert_eq!(reports, ["about to panic"]);
}

#[test]
fn endless_recursion_ends_in_the_plugin() {
    let problem = *plan_error("recurse").problem;
    let Problem::Trapped { reason, .. } = &problem else {
        panic!("{problem:?}")
    };
    assert!(reason.contains("stack"), "{reason}");
}

#[test]
fn a_flood_of_reports_does_no_harm() {
    let result = hostile().plan(&job(json!({"act": "flood"})), &allocation());
    match result {
        Ok(plan) => assert_eq!(plan.processes.len(), 1),
        // On a slow machine the deadline comes first.
        Err(PlanError::Plugin(error)) => {
            assert!(
                matches!(*error.problem, Problem::PastDeadline { .. }),
                "{error:?}"
            );
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn plans_that_reach_outside_are_refused() {
    assert_eq!(refused("dotdot"), ["/files/0/path"]);
    assert_eq!(refused("absolute"), ["/files/0/path"]);
    assert_eq!(refused("foreign-gpu"), ["/processes/0/gpus"]);
    assert_eq!(refused("foreign-node"), ["/processes/0/node"]);
    assert_eq!(refused("reserved"), ["/variables/0"]);
    assert_eq!(refused("nul"), ["/processes/0/command"]);
    assert_eq!(refused("endless"), ["/processes"]);
    assert_eq!(
        refused("twins"),
        ["/processes/1/name", "/processes/1/output"]
    );
    assert_eq!(refused("huge"), ["/processes"]);
    assert_eq!(refused("large")[0], "/processes/0/command");
}

/// Ten gigabytes of texts that are one and the same megabyte in the guest.
#[test]
fn overlapping_texts_do_not_multiply_in_the_host() {
    let problem = *plan_error("overlap").problem;
    let Problem::Trapped { reason, .. } = &problem else {
        panic!("{problem:?}")
    };
    assert!(reason.contains("fuel"), "{reason}");
}

#[test]
fn settings_must_be_json() {
    let error = hostile()
        .validate(&job(json!({"act": "validate-no-json"})))
        .unwrap_err();
    let ValidateError::Plugin(error) = error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(*error.problem, Problem::BadSettings { .. }),
        "{error:?}"
    );
}
