//! A plugin that does everything wrong, for the plugin host's tests. The settings
//! say what: `{"act": "loop"}`. It must build, but it is never part of a release.

use lote_plugin_sdk::bindings::exports::lote::framework::framework::Guest;
use lote_plugin_sdk::hosts::{empty_plan, variable};
use lote_plugin_sdk::types::{
    Allocation, Command, File, GpuShare, Issue, Job, LaunchPlan, OnFailure, Part, PlanFailure,
    Process,
};
use lote_plugin_sdk::{Descriptor, Level, report, report_panics};

/// The plugin.
#[derive(Debug)]
pub struct Hostile;

impl Guest for Hostile {
    fn describe() -> Descriptor {
        Descriptor {
            name: "hostile".to_owned(),
            settings_member: "hostileSettings".to_owned(),
            summary: "Does everything wrong".to_owned(),
            version: "6.6.6".to_owned(),
            settings_schema: "{}".to_owned(),
            starts_peers: false,
        }
    }

    fn validate(job: Job) -> Result<String, Vec<Issue>> {
        match act(&job).as_str() {
            "validate-loop" => spin(),
            "validate-no-json" => Ok("{".to_owned()),
            _ => Ok(job.settings),
        }
    }

    fn plan(job: Job, _allocation: Allocation) -> Result<LaunchPlan, PlanFailure> {
        let act = act(&job);
        resources(&act);
        let mut plan = empty_plan();
        plan.processes.push(process());
        spoil(&mut plan, &act);
        serve(&mut plan, &act);
        wait(&mut plan, &job);
        Ok(plan)
    }
}

fn act(job: &Job) -> String {
    let settings: serde_json::Value = serde_json::from_str(&job.settings).unwrap_or_default();
    settings["act"].as_str().unwrap_or_default().to_owned()
}

/// Acts against the host's time, memory and log.
#[allow(clippy::panic, reason = "it is what this plugin is for")]
fn resources(act: &str) {
    match act {
        "loop" => spin(),
        "grow" => grow(),
        "recurse" => {
            report(Level::Debug, &format!("depth {}", recurse(0)));
        }
        "panic" => {
            report_panics();
            report(Level::Warning, "about to panic");
            panic!("out of coffee");
        }
        "flood" => {
            let line = "x".repeat(1 << 20);
            (0..10_000).for_each(|_| report(Level::Error, &line));
        }
        _ => {}
    }
}

fn spin() -> ! {
    let mut turns: u64 = 0;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

fn grow() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

#[allow(unconditional_recursion, reason = "it is what this plugin is for")]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box(recurse(std::hint::black_box(depth + 1)) + 1)
}

/// Plans that must be refused.
fn spoil(plan: &mut LaunchPlan, act: &str) {
    match act {
        "dotdot" => plan.files.push(file("../../etc/cron.d/lote")),
        "absolute" => plan.files.push(file("/etc/passwd")),
        "foreign-gpu" => plan.processes[0].gpus = GpuShare::Some(vec![99]),
        "foreign-node" => plan.processes[0].node = 99,
        "reserved" => plan.variables.push(variable("LOTE_TOKEN", &"x")),
        "nul" => plan.processes[0].command = Command::Shell("true\0".to_owned()),
        "endless" => plan.processes[0].part = Part::Supporting,
        "twins" => plan.processes.push(process()),
        "huge" => plan.processes = vec![process(); 50_000],
        "overlap" => overlap(plan),
        "large" => plan.processes[0].command = Command::Shell("x".repeat(8 << 20)),
        _ => {}
    }
}

/// Ten thousand arguments, all of them the same megabyte of memory. Made without a
/// copy, which safe Rust cannot: the memory is never freed.
#[allow(unsafe_code, reason = "it is what this plugin is for")]
fn overlap(plan: &mut LaunchPlan) {
    let text: &'static mut [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    let arguments = (0..10_000)
        // SAFETY: none; every string claims to own the same leaked bytes. They are only
        // read until the call ends, and the instance with it.
        .map(|_| unsafe { String::from_raw_parts(text.as_mut_ptr(), text.len(), text.len()) })
        .collect();
    plan.processes[0].command = Command::Argv(arguments);
}

/// Plans that are good but for a server that never ends by itself.
fn serve(plan: &mut LaunchPlan, act: &str) {
    let exit_code = match act {
        "serve" => 0,
        "serve-failure" => 5,
        _ => return,
    };
    // The worker ends when the server is known to run.
    let shared = "$AZ_BATCHAI_JOB_TEMP/serving";
    plan.processes[0].output = Some("wk-0".to_owned());
    plan.processes[0].command = Command::Shell(format!(
        "until [ -e {shared} ]; do sleep 0.02; done; exit {exit_code}"
    ));
    plan.processes.push(Process {
        name: "server".to_owned(),
        command: Command::Shell(format!(
            "echo serving; touch {shared}; while true; do sleep 0.05; done"
        )),
        output: Some("ps-0".to_owned()),
        part: Part::Supporting,
        ..process()
    });
}

/// A good plan whose process ends once a file is there.
fn wait(plan: &mut LaunchPlan, job: &Job) {
    let settings: serde_json::Value = serde_json::from_str(&job.settings).unwrap_or_default();
    if let Some(path) = settings["until"].as_str() {
        plan.processes[0].command =
            Command::Shell(format!("until [ -e {path} ]; do sleep 0.02; done"));
    }
}

fn file(path: &str) -> File {
    File {
        node: None,
        path: path.to_owned(),
        contents: String::new(),
        executable: false,
    }
}

fn process() -> Process {
    Process {
        name: "main".to_owned(),
        node: 0,
        command: Command::Shell("true".to_owned()),
        variables: vec![],
        working_directory: None,
        output: None,
        gpus: GpuShare::All,
        part: Part::Primary,
        on_failure: OnFailure::FailJob,
        stage: 0,
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(
    unsafe_code,
    clippy::pedantic,
    reason = "the generated exports are the raw calls of the component's interface"
)]
mod component_exports {
    use super::Hostile;
    lote_plugin_sdk::bindings::export_framework!(Hostile with_types_in lote_plugin_sdk::bindings);
}
