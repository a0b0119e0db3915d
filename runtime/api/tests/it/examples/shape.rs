//! Whether one JSON value has everything that another one has.

use serde_json::Value;

/// What `ours` lacks of `theirs`: members, and members of another type. Of a
/// list the first value stands for all.
pub(super) fn missing(theirs: &Value, ours: &Value, at: &str) -> Vec<(String, String)> {
    let here = |what: String| vec![(at.to_owned(), what)];
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => theirs
            .iter()
            .flat_map(|(name, theirs)| {
                let at = format!("{at}/{name}");
                match ours.get(name) {
                    Some(ours) => missing(theirs, ours, &at),
                    // The original left absent values out as well.
                    None if theirs.is_null() => Vec::new(),
                    None => vec![(at, "is not there".into())],
                }
            })
            .collect(),
        (Value::Array(theirs), Value::Array(ours)) => match (theirs.first(), ours.first()) {
            (Some(theirs), Some(ours)) => missing(theirs, ours, &format!("{at}/0")),
            (Some(_), None) => here("is empty".into()),
            (None, _) => Vec::new(),
        },
        _ if kind(theirs) == kind(ours) => Vec::new(),
        _ => here(format!("{ours} in the place of {theirs}")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Every value that holds no other, with its pointer.
pub(super) fn leaves(value: &Value) -> Vec<(String, Value)> {
    let below = |name: String, value: &Value| -> Vec<(String, Value)> {
        leaves(value)
            .into_iter()
            .map(|(at, leaf)| (format!("/{name}{at}"), leaf))
            .collect()
    };
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| below(name.clone(), value))
            .collect(),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(index, value)| below(index.to_string(), value))
            .collect(),
        leaf => vec![(String::new(), leaf.clone())],
    }
}

#[test]
fn what_is_absent_or_of_another_type_is_found() {
    let theirs = serde_json::json!({"a": [{"b": 1, "c": "x"}], "d": {}});
    let ours = serde_json::json!({"a": [{"b": "1"}], "d": {"more": 1}});
    let found: Vec<String> = missing(&theirs, &ours, "")
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    assert_eq!(found, ["/a/0/b", "/a/0/c"]);
    assert!(missing(&theirs, &theirs, "").is_empty());
}
