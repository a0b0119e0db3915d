//! The checks of a load, one by one, for the authors of plugins.
//!
//! They are those of [`Host::load`], run by it; nothing is checked here.

use std::time::Instant;

use lote_model::plan::Descriptor;
use serde_json::Value;
use wasmtime::component::Component;

use crate::conformance::Verdict;
use crate::contract::PACKAGE;
use crate::error::PluginError;
use crate::host::{Host, MAX_COMPONENT_BYTES};
use crate::inspect::Interfaces;
use crate::plugin::{CallFigures, Plugin};

/// A check that a component passes before it is used, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// It is not larger than any plugin needs to be.
    Size,
    /// It is a component, down to its last byte.
    Component,
    /// It imports nothing that no plugin may use.
    Imports,
    /// It was built for a version of the contract that this host has.
    Contract,
    /// It can be compiled.
    Compile,
    /// Its functions have the contract's types.
    Functions,
    /// It says who it is.
    Describe,
    /// It says what its settings are.
    Schema,
    /// It plans its own example, the same way twice.
    Example,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Size,
        Self::Component,
        Self::Imports,
        Self::Contract,
        Self::Compile,
        Self::Functions,
        Self::Describe,
        Self::Schema,
        Self::Example,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Component => "component",
            Self::Imports => "imports",
            Self::Contract => "contract",
            Self::Compile => "compile",
            Self::Functions => "functions",
            Self::Describe => "describe",
            Self::Schema => "schema",
            Self::Example => "example",
        }
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is well.
    Passed,
    /// It is not; nothing after it was looked at.
    Failed,
    /// One before it failed.
    NotReached,
}

/// A check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// The check.
    pub step: Step,
    /// What came of it.
    pub outcome: Outcome,
    /// What was found, or what is wrong and what to do.
    pub finding: String,
}

/// The checks of one component.
#[derive(Debug)]
pub struct Examination {
    /// Each check, in order.
    pub checks: Vec<Checked>,
    /// The plugin, if it passed them all.
    pub plugin: Result<Plugin, PluginError>,
}

impl Host {
    /// Loads a component as [`Host::load`] does, and tells of each check. None is left out,
    /// whatever was compiled before; what passes is kept for the next load.
    pub fn examine(&self, origin: &str, bytes: &[u8]) -> Examination {
        let mut steps = Steps {
            are_told: true,
            ..Steps::default()
        };
        let plugin = self.load_in_steps(origin, bytes, &mut steps);
        let mut checks = steps.passed;
        for step in Step::ALL.into_iter().skip(checks.len()) {
            let failed = checks
                .last()
                .is_none_or(|last| last.outcome == Outcome::Passed);
            let (outcome, finding) = match &plugin {
                Err(error) if failed => (Outcome::Failed, error.problem.to_string()),
                _ => (Outcome::NotReached, String::new()),
            };
            checks.push(Checked {
                step,
                outcome,
                finding,
            });
        }
        Examination { checks, plugin }
    }
}

/// The steps that a load has passed.
#[derive(Default)]
pub(crate) struct Steps {
    passed: Vec<Checked>,
    /// Whether somebody looks at them, so that none may be left out.
    pub(crate) are_told: bool,
}

impl Steps {
    pub(crate) fn passed(&mut self, step: Step, finding: impl FnOnce() -> String) {
        self.passed.push(Checked {
            step,
            outcome: Outcome::Passed,
            finding: finding(),
        });
    }
}

pub(crate) fn size(bytes: usize) -> String {
    format!("{} of at most {}", kib(bytes), kib(MAX_COMPONENT_BYTES))
}

pub(crate) fn imports(imports: &[String]) -> String {
    let system = imports
        .iter()
        .filter(|import| !import.starts_with(PACKAGE))
        .count();
    match system {
        0 => "nothing but the contract".to_owned(),
        count => format!("the contract, and {count} interfaces of WASI, which are empty here"),
    }
}

pub(crate) fn compiled(begin: Instant, component: &Component) -> String {
    let code = component.image_range();
    let bytes = (code.end as usize).saturating_sub(code.start as usize);
    format!(
        "in {} ms to {} of machine code",
        begin.elapsed().as_millis(),
        kib(bytes)
    )
}

pub(crate) fn functions(interfaces: &Interfaces) -> String {
    let mut text = "describe, validate and plan have the contract's types".to_owned();
    if interfaces.reads_progress {
        text.push_str("; it can read progress");
    }
    if interfaces.supervises {
        text.push_str("; it can supervise");
    }
    text
}

pub(crate) fn described(descriptor: &Descriptor, figures: &CallFigures) -> String {
    format!(
        "{} {}, settings in {}; {:.1} ms, {} of memory",
        descriptor.name,
        descriptor.version,
        descriptor.settings_member,
        figures.took.as_secs_f64() * 1_000.0,
        kib(figures.memory_bytes)
    )
}

pub(crate) fn schema(schema: &Value) -> String {
    match schema.pointer("/examples/0") {
        Some(_) => "a JSON object with an example".to_owned(),
        None => "a JSON object; give it `examples`, so that more can be checked".to_owned(),
    }
}

pub(crate) fn example(verdict: Verdict) -> String {
    match verdict {
        Verdict::Planned { processes } => {
            format!("planned twice on two nodes with equal results: {processes} processes")
        }
        Verdict::Declined {
            of_an_example: true,
        } => "its own example is declined, the same way twice; nothing was planned".to_owned(),
        Verdict::Declined {
            of_an_example: false,
        } => "empty settings are declined, the same way twice; nothing was planned".to_owned(),
    }
}

fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes.div_ceil(1024))
}
