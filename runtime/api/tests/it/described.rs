//! Every answer that any test gets is held against the description.
//!
//! What is described of an answer: that the operation gives its status, the type
//! of its content, and the schema of its body. Here the schemas are stricter than
//! in the document: a member that no schema names is an error, so that nothing
//! can be added to an answer without being described.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::daemon::Reply;

/// The description, ready to hold answers against it.
pub(crate) struct Description {
    document: Value,
    operations: Vec<Operation>,
    /// By the pointer of the schema in the document.
    validators: Mutex<HashMap<String, Validator>>,
}

struct Operation {
    method: String,
    segments: Vec<String>,
    pointer: String,
}

impl Description {
    /// The one of this program; `read` gets the document the first time.
    pub(crate) fn once(read: impl FnOnce() -> Value) -> &'static Self {
        static DESCRIPTION: OnceLock<Description> = OnceLock::new();
        DESCRIPTION.get_or_init(|| Self::new(read()))
    }

    fn new(mut document: Value) -> Self {
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                operations.push(Operation {
                    method: method.to_uppercase(),
                    segments: path.split('/').map(str::to_owned).collect(),
                    pointer: format!("/paths/{}/{method}", escaped(path)),
                });
            }
        }
        close(&mut document);
        Self {
            document,
            operations,
            validators: Mutex::default(),
        }
    }

    /// Panics when an answer is not as described.
    #[track_caller]
    pub(crate) fn check(&self, method: &str, url: &str, reply: &Reply) {
        if let Err(complaint) = self.complaint(method, url, reply) {
            panic!(
                "{method} {url} answered {}: {complaint}\n{}",
                reply.status,
                shown(reply)
            );
        }
    }

    fn complaint(&self, method: &str, url: &str, reply: &Reply) -> Result<(), String> {
        if method == "HEAD" {
            return self.head(url, reply);
        }
        if !is_ours(url) {
            return Ok(());
        }
        let Some(operation) = self.operation(method, url) else {
            // No route, or no such method: only the envelope can be expected.
            return self.body("/components/schemas/CloudError", &reply.bytes);
        };
        let responses = format!("{}/responses", operation.pointer);
        let status = format!("{responses}/{}", reply.status);
        let pointer = match self.document.pointer(&status) {
            Some(_) => status,
            None if reply.status >= 400 => format!("{responses}/default"),
            None => return Err("this status is not described".to_owned()),
        };
        self.content(&pointer, reply)
    }

    /// HEAD is GET without the body.
    fn head(&self, url: &str, reply: &Reply) -> Result<(), String> {
        let known = self.operation("GET", url).is_some();
        match (known, reply.bytes.as_slice()) {
            (true, []) => Ok(()),
            (false, _) => Err("there is no such GET".to_owned()),
            (true, _) => Err("an answer to HEAD has a body".to_owned()),
        }
    }

    fn content(&self, pointer: &str, reply: &Reply) -> Result<(), String> {
        let Some(content) = self.document.pointer(&format!("{pointer}/content")) else {
            return match reply.bytes.as_slice() {
                [] => Ok(()),
                _ => Err("no body is described".to_owned()),
            };
        };
        let sent = reply.header("content-type");
        let kind = sent.split(';').next().unwrap_or_default();
        if content.get(kind).is_none() {
            return Err(format!("the type '{sent}' is not described"));
        }
        if kind != "application/json" {
            return Ok(());
        }
        self.body(
            &format!("{pointer}/content/{}/schema", escaped(kind)),
            &reply.bytes,
        )
    }

    fn body(&self, pointer: &str, bytes: &[u8]) -> Result<(), String> {
        let body = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut validators = self.validators.lock().unwrap();
        let validator = validators
            .entry(pointer.to_owned())
            .or_insert_with(|| self.validator(pointer));
        let complaints: Vec<String> = validator
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        match complaints.as_slice() {
            [] => Ok(()),
            _ => Err(complaints.join("\n")),
        }
    }

    fn validator(&self, pointer: &str) -> Validator {
        let mut schema = self.document.pointer(pointer).unwrap().clone();
        schema["components"] = self.document["components"].clone();
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap()
    }

    /// The operation of a request; of several the one with the most fixed words.
    fn operation(&self, method: &str, url: &str) -> Option<&Operation> {
        let path = url.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').collect();
        let fitting = self
            .operations
            .iter()
            .filter(|operation| operation.method == method && operation.fits(&segments));
        fitting.max_by_key(|operation| operation.fixed())
    }
}

impl Operation {
    fn fits(&self, segments: &[&str]) -> bool {
        let fits = |(template, segment): (&String, &&str)| {
            (is_parameter(template) && !segment.is_empty())
                || template.eq_ignore_ascii_case(segment)
        };
        self.segments.len() == segments.len() && self.segments.iter().zip(segments).all(fits)
    }

    fn fixed(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| !is_parameter(segment))
            .count()
    }
}

/// Neighbours of Batch AI are described by those whose they are.
fn is_ours(url: &str) -> bool {
    let url = url.to_ascii_lowercase();
    ["/v1/", "/files/", "/healthz", "/readyz"]
        .iter()
        .any(|prefix| url.starts_with(prefix))
        || url.contains("/providers/microsoft.batchai/") && !url.contains("/register")
        || url.contains("/resourcegroups") && !url.contains("/providers/")
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn shown(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.bytes)
        .chars()
        .take(4_000)
        .collect()
}

/// Lets no schema with named members have others.
fn close(document: &mut Value) {
    let mut bases = BTreeSet::new();
    collect_bases(document, &mut bases);
    for (name, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
        if schema.get("allOf").is_some() {
            schema["unevaluatedProperties"] = json!(false);
        } else if !bases.contains(name) {
            close_schema(schema);
        }
    }
}

/// The schemas that others are made of.
fn collect_bases(value: &Value, bases: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let parts = members.get("allOf").and_then(Value::as_array);
            for part in parts.into_iter().flatten() {
                let name = part["$ref"]
                    .as_str()
                    .and_then(|target| target.rsplit('/').next());
                bases.extend(name.map(str::to_owned));
            }
            members
                .values()
                .for_each(|member| collect_bases(member, bases));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_bases(value, bases)),
        _ => {}
    }
}

fn close_schema(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    if members.contains_key("properties") {
        members
            .entry("additionalProperties")
            .or_insert(json!(false));
    }
    for (name, member) in members {
        match member {
            Value::Object(properties) if name == "properties" => {
                properties.values_mut().for_each(close_schema);
            }
            Value::Array(variants) if name == "oneOf" => variants.iter_mut().for_each(close_schema),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Daemon, rm};

    fn reply(status: u16, kind: &str, body: &Value) -> Reply {
        let mut headers = ureq::http::HeaderMap::new();
        headers.insert("content-type", kind.parse().unwrap());
        Reply {
            status,
            headers,
            bytes: body.to_string().into_bytes(),
        }
    }

    #[test]
    fn what_is_not_described_is_found() {
        let daemon = Daemon::start();
        let document = daemon.get("/v1/openapi.json").json();
        let description = Description::new(document);
        let group = json!({"id": "/v1/groups/g", "name": "g", "type": "t", "location": "local",
            "properties": {"provisioningState": "Succeeded"}});
        let with = |member: &str, value: Value| {
            let mut group = group.clone();
            group[member] = value;
            group
        };
        let complaint = |status, kind: &str, body: &Value| {
            description
                .complaint("GET", "/v1/groups/g", &reply(status, kind, body))
                .is_err()
        };
        let json = "application/json";
        assert!(!complaint(200, json, &group));
        assert!(complaint(201, json, &group), "a status");
        assert!(complaint(200, "text/plain", &group), "a type");
        assert!(complaint(200, json, &with("extra", json!(1))), "a member");
        assert!(
            complaint(200, json, &with("name", json!(1))),
            "another type"
        );
        assert!(complaint(200, json, &json!({})), "too little");
        assert!(
            complaint(404, json, &json!({"error": {"code": 1}})),
            "another envelope"
        );
        assert!(!complaint(404, json, &json!({"error": {"code": "a"}})));
    }

    /// The routes say themselves which methods they have, in refusing another one.
    #[test]
    fn every_path_has_the_methods_that_are_described() {
        let daemon = Daemon::start();
        let document = daemon.get("/v1/openapi.json").json();
        for (template, item) in document["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys();
            let described: BTreeSet<String> = methods.map(|method| method.to_uppercase()).collect();
            let segments = template
                .split('/')
                .map(|segment| if is_parameter(segment) { "x" } else { segment });
            let path = segments.collect::<Vec<_>>().join("/");
            let reply = daemon.request(
                "OPTIONS",
                &format!("{path}?api-version=2018-05-01"),
                &[],
                b"",
            );
            reply.expect_error(405, "MethodNotAllowed");
            let allowed = reply
                .header("allow")
                .split(',')
                .filter(|method| *method != "HEAD");
            let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
            assert_eq!(allowed, described, "{template}");
        }
    }

    #[test]
    fn members_of_what_others_are_made_of_count() {
        let daemon = Daemon::start();
        let description = Description::new(daemon.get("/v1/openapi.json").json());
        let url = rm("/workspaces/w");
        let complaint = |body: &Value| {
            description
                .complaint("GET", &url, &reply(200, "application/json", body))
                .is_err()
        };
        assert!(!complaint(
            &json!({"id": "a", "tags": {"a": "b"}, "properties": {}})
        ));
        assert!(complaint(&json!({"id": "a", "sku": "b"})));
        assert!(complaint(
            &json!({"properties": {"creationTime": "yesterday"}})
        ));
    }
}
