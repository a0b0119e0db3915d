//! Bodies of PUT for jobs: each is accepted or refused with a reason, and an
//! accepted one that comes back as it was answered means the same job.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lote_model::framework::PLUGIN_SETTINGS;
use lote_model::job_request::{JobRequest, parse};
use serde_json::{Map, Value, json};

fuzz_target!(|body: &[u8]| {
    let frameworks = ["customToolkitSettings", "pyTorchSettings"].map(str::to_owned);
    match parse(body, &frameworks) {
        Ok(job) => {
            let members = serde_json::to_value(&job.properties).expect("properties are JSON");
            let Value::Object(mut members) = members else {
                panic!("properties are an object");
            };
            members.insert(job.plugin.member.clone(), shown_settings(&job));
            parse_again(&members, &frameworks, &job.properties);
        }
        Err(problem) => {
            assert!(!problem.code.is_empty() && !problem.message.is_empty());
        }
    }
});

/// The settings as they are answered below their member.
fn shown_settings(job: &JobRequest) -> Value {
    if job.plugin.member == PLUGIN_SETTINGS {
        json!({"name": job.plugin.plugin, "settings": job.settings})
    } else {
        job.settings.clone()
    }
}

/// What is never answered, such as a secret, may be missed; nothing may change.
fn parse_again(
    members: &Map<String, Value>,
    frameworks: &[String],
    first: &lote_model::job::JobProperties,
) {
    let answered = json!({ "properties": members }).to_string();
    if let Ok(again) = parse(answered.as_bytes(), frameworks) {
        assert_eq!(&again.properties, first);
    }
}
