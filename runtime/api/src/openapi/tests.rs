//! The document against the routes, and against itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::assemble::document;
use super::paths;
use crate::routes;

/// A path without the names of its parameters, in the case of the routes.
fn form(path: &str) -> String {
    let segment = |segment: &str| {
        if segment.starts_with('{') {
            "{}".to_owned()
        } else {
            segment.to_ascii_lowercase()
        }
    };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path, method, operation))
    })
}

#[test]
fn every_route_is_described_and_every_description_has_a_route() {
    let document = document();
    let routed: BTreeSet<String> = routes::paths().iter().map(|path| form(path)).collect();
    let described: BTreeSet<String> = operations(&document)
        .map(|(path, _, _)| path)
        .filter(|path| !path.starts_with("/subscriptions") && !path.starts_with("/providers"))
        .map(|path| form(path))
        .collect();
    assert_eq!(routed, described);
}

#[test]
fn operations_have_a_name_of_their_own_a_summary_and_a_tag() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{method} {path}: {id} is taken");
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|text| !text.ends_with('.'))
        );
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(
            paths::TAGS.iter().any(|(name, _)| *name == tag),
            "{id}: {tag}"
        );
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target}");
                }
                members.values().for_each(|member| walk(document, member));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(document, value)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}

#[test]
fn one_name_means_one_schema() {
    let mut collected = Vec::new();
    for described in paths::all() {
        described.collect(&mut collected);
    }
    let mut schemas = BTreeMap::new();
    for (name, schema) in collected {
        let schema = serde_json::to_value(schema).unwrap();
        let first = schemas
            .entry(name.clone())
            .or_insert_with(|| schema.clone());
        assert_eq!(*first, schema, "{name}");
    }
}

#[test]
fn everything_is_explained() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        for (member, property) in schema["properties"].as_object().into_iter().flatten() {
            let explained = property["description"].is_string()
                || property["oneOf"][0]["description"].is_string();
            assert!(explained, "{name}.{member}");
        }
    }
}
