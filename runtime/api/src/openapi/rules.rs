//! What holds of all bodies, said once.
//!
//! * In requests `null` means absent; answers leave a member out instead.
//! * In requests unknown members are refused, except beside `properties`.
//! * What is read-only is a whole list, not each value in it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const SCHEMAS: &str = "/components/schemas";

/// Writes the rules into a document.
pub(crate) fn apply(document: &mut Value) {
    let bodies = request_bodies(document);
    let inside = reachable(document, &bodies);
    let Some(Value::Object(schemas)) = document.pointer_mut(SCHEMAS) else {
        return;
    };
    for (name, schema) in schemas {
        lists_are_read_only(schema);
        if inside.contains(name) {
            close(schema);
        } else if !bodies.contains(name) {
            never_null(schema);
        }
    }
}

/// The schemas that whole request bodies have.
fn request_bodies(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations = paths.flat_map(|(_, item)| item.as_object().into_iter().flatten());
    let mut names = BTreeSet::new();
    for (_, operation) in operations {
        references(&operation["requestBody"], &mut names);
    }
    names
}

/// The schemas that these lead to, without these themselves.
fn reachable(document: &Value, from: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = from.clone();
    while let Some(name) = next.pop_first() {
        let mut inside = BTreeSet::new();
        if let Some(schemas) = document.pointer(SCHEMAS) {
            references(&schemas[&name], &mut inside);
        }
        next.extend(inside.difference(&found).cloned());
        found.extend(inside);
    }
    found
}

fn references(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                names.extend(target.rsplit('/').next().map(str::to_owned));
            }
            members
                .values()
                .for_each(|member| references(member, names));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, names)),
        _ => {}
    }
}

/// Objects with named members take no others.
fn close(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    if members.contains_key("properties") {
        members
            .entry("additionalProperties")
            .or_insert(Value::Bool(false));
    }
    for part in parts(members) {
        close(part);
    }
}

/// Members that may be absent are not null.
fn never_null(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    let required: Vec<Value> = match members.get("required") {
        Some(Value::Array(names)) => names.clone(),
        _ => Vec::new(),
    };
    if let Some(Value::Object(properties)) = members.get_mut("properties") {
        for (name, property) in properties {
            if !required.contains(&Value::String(name.clone())) {
                not_null(property);
            }
        }
    }
    for part in parts(members) {
        never_null(part);
    }
}

/// A list or map that only the service sets: the generator says so of its values.
fn lists_are_read_only(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    for values in ["items", "additionalProperties"] {
        let inner = members.get_mut(values).and_then(Value::as_object_mut);
        if let Some(word) = inner.and_then(|inner| inner.remove("readOnly")) {
            members.insert("readOnly".into(), word);
        }
    }
    for part in parts(members) {
        lists_are_read_only(part);
    }
}

/// What a schema is made of.
fn parts(members: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    members.iter_mut().flat_map(|(name, value)| match value {
        Value::Object(properties) if name == "properties" => {
            properties.values_mut().collect::<Vec<_>>()
        }
        Value::Array(variants) if name == "allOf" || name == "oneOf" => {
            variants.iter_mut().collect()
        }
        _ => Vec::new(),
    })
}

fn not_null(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".into(), only);
        }
    }
    let Some(Value::Array(variants)) = members.get_mut("oneOf") else {
        return;
    };
    variants.retain(|variant| variant["type"] != "null");
    if let [Value::Object(only)] = variants.as_mut_slice() {
        let only = std::mem::take(only);
        members.remove("oneOf");
        members.extend(only);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "paths": {"/x": {"put": {"requestBody": {"$ref": "#/components/schemas/Body"}}}},
            "components": {"schemas": {
                "Body": {"properties": {"properties": {"$ref": "#/components/schemas/Wanted"}}},
                "Wanted": {"properties": {
                    "a": {"type": ["string", "null"]},
                    "c": {"oneOf": [{"properties": {"d": {}}}, {"type": "null"}]},
                }},
                "Told": {"required": ["c"], "properties": {
                    "a": {"type": ["string", "null"]},
                    "b": {"oneOf": [{"$ref": "#/components/schemas/Wanted"}, {"type": "null"}], "readOnly": true},
                    "c": {"type": ["string", "null"]},
                }},
            }},
        })
    }

    #[test]
    fn requests_take_null_and_nothing_unknown() {
        let mut document = document();
        apply(&mut document);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Wanted"]["additionalProperties"], false);
        assert_eq!(
            schemas["Wanted"]["properties"]["c"]["oneOf"][0]["additionalProperties"],
            false
        );
        assert_eq!(
            schemas["Wanted"]["properties"]["a"]["type"],
            json!(["string", "null"])
        );
        assert!(schemas["Body"].get("additionalProperties").is_none());
    }

    #[test]
    fn a_list_is_read_only_as_a_whole() {
        let mut schema = json!({"allOf": [{"properties": {
            "a": {"type": "array", "items": {"type": "string", "readOnly": true}},
        }}]});
        lists_are_read_only(&mut schema);
        let list = json!({"type": "array", "items": {"type": "string"}, "readOnly": true});
        assert_eq!(schema["allOf"][0]["properties"]["a"], list);
    }

    #[test]
    fn answers_leave_out_rather_than_say_null() {
        let mut document = document();
        apply(&mut document);
        let told = &document["components"]["schemas"]["Told"];
        assert!(told.get("additionalProperties").is_none());
        assert_eq!(
            told["properties"],
            json!({
                "a": {"type": "string"},
                "b": {"$ref": "#/components/schemas/Wanted", "readOnly": true},
                "c": {"type": ["string", "null"]},
            })
        );
    }
}
