//! The plugins' test cases through the built components: the answers are those of
//! the native runs, since both are compared with the same files.

use std::path::Path;

use lote_model::plan::{AllocationInput, JobInput};
use lote_plugin_host::{PlanError, Plugin, ValidateError};
use lote_plugin_sdk::testkit::{self, Case};
use serde_json::{Value, json};

use crate::components;

fn cases_agree(name: &str) {
    let plugin = components::load(name);
    let cases = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../plugins")
        .join(name)
        .join("cases");
    let count = testkit::run_with(&cases, |case| answer(&plugin, case));
    assert!(count.as_ref().is_ok_and(|&count| count >= 4), "{count:?}");
}

fn answer(plugin: &Plugin, case: &Case) -> Result<Value, String> {
    let job: JobInput = serde_json::from_value(case.job.clone()).map_err(|e| e.to_string())?;
    let allocation: AllocationInput =
        serde_json::from_value(case.allocation.clone()).map_err(|e| e.to_string())?;
    let settings = match plugin.validate(&job) {
        Ok(settings) => settings,
        Err(ValidateError::Invalid(issues)) => return Ok(json!({ "issues": issues })),
        Err(error) => return Err(error.to_string()),
    };
    match plugin.plan(&job, &allocation) {
        Ok(plan) => Ok(json!({ "settings": settings, "plan": plan })),
        Err(PlanError::Declined(failure)) => {
            Ok(json!({ "settings": settings, "failure": failure }))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn caffe() {
    cases_agree("caffe");
}

#[test]
fn caffe2() {
    cases_agree("caffe2");
}

#[test]
fn chainer() {
    cases_agree("chainer");
}

#[test]
fn cntk() {
    cases_agree("cntk");
}

#[test]
fn custom() {
    cases_agree("custom");
}

#[test]
fn custom_mpi() {
    cases_agree("custom-mpi");
}

#[test]
fn horovod() {
    cases_agree("horovod");
}

#[test]
fn pytorch() {
    cases_agree("pytorch");
}

#[test]
fn tensorflow() {
    cases_agree("tensorflow");
}
