//! The description against the contract of Batch AI (issue of conformance:
//! equal in paths, methods, parameters and schemas; each difference on purpose).
//!
//! `tests/contract/batchai-2018-05-01.json` holds the facts of the contract, and
//! `differences.toml` beside it what differs, with the reasons. A difference that
//! is not listed fails, and so does one that is listed and not there.

mod facts;

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::daemon::Daemon;

const CONTRACT: &str = include_str!("../../../../../tests/contract/batchai-2018-05-01.json");
const DIFFERENCES: &str = include_str!("../../../../../tests/contract/differences.toml");

/// What the description has that the contract has not, or the other way round.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    difference: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// Why it is so.
    reason: String,
    /// Where it is so.
    at: Vec<String>,
}

/// Compares two trees of facts; each line names one difference.
fn compare(place: &str, contract: &Value, ours: &Value, found: &mut BTreeSet<String>) {
    match (contract, ours) {
        (Value::Object(before), Value::Object(after)) => {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let place = format!("{place}/{}", name.replace('/', "~1"));
                match (before.get(name), after.get(name)) {
                    (Some(before), Some(after)) => compare(&place, before, after, found),
                    (Some(_), None) => drop(found.insert(format!("without {place}"))),
                    (None, Some(Value::Object(_))) => drop(found.insert(format!("with {place}"))),
                    (None, Some(after)) => drop(found.insert(format!("with {place} = {after}"))),
                    (None, None) => {}
                }
            }
        }
        _ if contract == ours => {}
        _ => drop(found.insert(format!("{place}: {contract} became {ours}"))),
    }
}

fn differences(ours: &Value) -> BTreeSet<String> {
    let contract = serde_json::from_str(CONTRACT).unwrap();
    let mut found = BTreeSet::new();
    compare("", &contract, &facts::of(ours), &mut found);
    found
}

#[test]
fn the_description_is_the_contract_but_for_what_is_listed() {
    let document = Daemon::start().get("/v1/openapi.json").expect(200);
    let found = differences(&document);
    let listed: Listed = toml::from_str(DIFFERENCES).unwrap();
    assert!(listed.difference.iter().all(|one| one.reason.contains(' ')));
    let lines: Vec<String> = listed
        .difference
        .into_iter()
        .flat_map(|one| one.at)
        .collect();
    let listed: BTreeSet<String> = lines.iter().cloned().collect();
    assert_eq!(lines.len(), listed.len(), "a difference is listed twice");
    let unlisted: Vec<&String> = found.difference(&listed).collect();
    let gone: Vec<&String> = listed.difference(&found).collect();
    assert!(
        unlisted.is_empty() && gone.is_empty(),
        "not listed: {unlisted:#?}\nlisted, but not there: {gone:#?}"
    );
}

#[test]
fn the_contract_has_its_seventeen_paths_and_twenty_nine_operations() {
    let contract: Value = serde_json::from_str(CONTRACT).unwrap();
    let operations = contract["operations"].as_object().unwrap();
    let paths: BTreeSet<&str> = operations
        .values()
        .map(|operation| operation["path"].as_str().unwrap())
        .collect();
    assert_eq!((paths.len(), operations.len()), (17, 29));
}

#[test]
fn a_change_of_the_description_is_noticed() {
    let document = Daemon::start().get("/v1/openapi.json").expect(200);
    let before = differences(&document);
    let schema = "/components/schemas/JobBaseProperties";
    let get = "/paths/~1subscriptions~1{subscriptionId}~1resourceGroups~1{resourceGroupName}~1providers~1Microsoft.BatchAI~1workspaces~1{workspaceName}/get";
    for (place, value) in [
        (
            format!("{schema}/properties/nodeCount/type"),
            "string".into(),
        ),
        (format!("{schema}/required"), Value::Array(Vec::new())),
        (
            format!("{schema}/properties/cluster"),
            serde_json::json!({"type": "string"}),
        ),
        (format!("{get}/operationId"), "Workspaces_Read".into()),
        (format!("{get}/parameters/0/required"), false.into()),
        (
            "/components/schemas/ExecutionState/enum".to_owned(),
            Value::Array(Vec::new()),
        ),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(&place).unwrap() = value;
        // A parameter that several operations share may not differ between them.
        let found = std::panic::catch_unwind(|| differences(&changed));
        assert!(found.map_or(true, |found| found != before), "{place}");
    }
}
