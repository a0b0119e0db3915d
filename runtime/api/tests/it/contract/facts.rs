//! What a description of an HTTP interface says, without its sentences.
//!
//! Reads Swagger 2.0 and `OpenAPI` 3, and brings both into one form:
//! `operations`, `parameters` and `schemas`, all by name. Only what Batch AI's
//! prefix has is looked at, and the schemas that it leads to.
//!
//! Swagger cannot say that a value may be null, so that is not compared.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The words about a value that are facts and stand for themselves.
const PLAIN: [&str; 9] = [
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "default",
];

/// The facts of a document.
pub(crate) fn of(document: &Value) -> Value {
    let reader = Reader { document };
    let mut facts = json!({"operations": {}, "parameters": {}, "schemas": {}});
    let mut wanted = BTreeSet::new();
    for (path, method, operation) in reader.operations() {
        let id = text(&operation["operationId"]);
        let mut names = Vec::new();
        for (name, parameter) in reader.parameters(operation) {
            let known = facts["parameters"].get(&name);
            assert!(
                known.is_none_or(|known| *known == parameter),
                "{id}: {name} differs"
            );
            facts["parameters"][&name] = parameter;
            names.push(name);
        }
        names.sort_unstable();
        let described = reader.operation(path, method, operation, &names);
        collect_names(&described, &mut wanted);
        facts["operations"][id] = described;
    }
    while let Some(name) = wanted.pop_first() {
        if facts["schemas"].get(&name).is_none() {
            let schema = reader.schema(reader.named(&name));
            collect_names(&schema, &mut wanted);
            facts["schemas"][&name] = schema;
        }
    }
    facts
}

struct Reader<'a> {
    document: &'a Value,
}

impl<'a> Reader<'a> {
    fn operations(&self) -> Vec<(&'a str, &'a str, &'a Value)> {
        let mut found = Vec::new();
        for (path, item) in members(&self.document["paths"]) {
            if path.contains("/providers/Microsoft.BatchAI/") {
                let operations =
                    members(item).filter(|(_, value)| value["operationId"].is_string());
                found.extend(
                    operations
                        .map(|(method, operation)| (path.as_str(), method.as_str(), operation)),
                );
            }
        }
        found
    }

    fn operation(&self, path: &str, method: &str, operation: &Value, names: &[String]) -> Value {
        let mut facts = json!({
            "path": path,
            "method": method,
            "parameters": names,
            "answers": self.answers(operation),
        });
        if let Some(body) = self.body(operation) {
            facts["body"] = body;
        }
        if operation["x-ms-long-running-operation"] == true {
            facts["longRunning"] = json!(true);
        }
        if let Some(link) = operation["x-ms-pageable"].get("nextLinkName") {
            facts["pageable"] = link.clone();
        }
        facts
    }

    /// The parameters by name, except a body.
    fn parameters(&self, operation: &Value) -> Vec<(String, Value)> {
        let all = operation["parameters"].as_array().into_iter().flatten();
        let all = all.map(|parameter| self.resolved(parameter));
        all.filter(|parameter| parameter["in"] != "body")
            .map(|parameter| {
                let about = parameter.get("schema").unwrap_or(parameter);
                let mut facts = self.schema(about);
                facts["in"] = parameter["in"].clone();
                facts["mandatory"] = json!(parameter["required"] == true);
                (text(&parameter["name"]).to_owned(), facts)
            })
            .collect()
    }

    fn body(&self, operation: &Value) -> Option<Value> {
        if let Some(schema) = json_schema(&operation["requestBody"]) {
            return Some(self.schema(schema));
        }
        let all = operation["parameters"].as_array().into_iter().flatten();
        all.map(|parameter| self.resolved(parameter))
            .find(|parameter| parameter["in"] == "body")
            .map(|parameter| self.schema(&parameter["schema"]))
    }

    /// What each status answers; null for no body.
    fn answers(&self, operation: &Value) -> Value {
        let answers = members(&operation["responses"]).map(|(status, response)| {
            let schema = response.get("schema").or_else(|| json_schema(response));
            (
                status.clone(),
                schema.map_or(Value::Null, |schema| self.schema(schema)),
            )
        });
        Value::Object(answers.collect())
    }

    fn schema(&self, schema: &Value) -> Value {
        let mut facts = Map::new();
        let schema = self.described_by(schema, &mut facts);
        if let Some(name) = facts.get("schema") {
            debug_assert!(name.is_string());
            return Value::Object(facts);
        }
        self.shape(schema, &mut facts);
        Value::Object(facts)
    }

    /// What a schema stands for, past references to plain values and past the
    /// alternative of null; what is said beside these becomes facts.
    fn described_by<'b>(&self, schema: &'b Value, facts: &mut Map<String, Value>) -> &'b Value
    where
        'a: 'b,
    {
        plain(schema, facts);
        if let Some(variants) = schema["oneOf"].as_array() {
            let mut variants = variants.iter().filter(|variant| variant["type"] != "null");
            if let (Some(only), None) = (variants.next(), variants.next()) {
                return self.described_by(only, facts);
            }
        }
        let Some(name) = schema["$ref"]
            .as_str()
            .and_then(|target| target.rsplit('/').next())
        else {
            return schema;
        };
        let target = self.named(name);
        if target.get("properties").is_some() || target.get("allOf").is_some() {
            facts.insert("schema".into(), json!(name));
            return target;
        }
        self.described_by(target, facts)
    }

    fn shape(&self, schema: &Value, facts: &mut Map<String, Value>) {
        let mut properties = Map::new();
        let mut required = BTreeSet::new();
        self.inherit(schema, &mut properties, &mut required);
        if !properties.is_empty() {
            facts.insert("properties".into(), Value::Object(properties));
        } else if let Some(kind) = kind(&schema["type"]) {
            facts.insert("type".into(), kind);
        }
        if !required.is_empty() {
            facts.insert("required".into(), json!(required));
        }
        if let Some(items) = schema.get("items") {
            facts.insert("items".into(), self.schema(items));
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {
                facts.insert("closed".into(), json!(true));
            }
            Some(values @ Value::Object(_)) => {
                facts.insert("values".into(), self.schema(values));
            }
            _ => {}
        }
    }

    /// The members of a schema and of those that it is made of.
    fn inherit(
        &self,
        schema: &Value,
        properties: &mut Map<String, Value>,
        required: &mut BTreeSet<String>,
    ) {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.inherit(self.resolved(part), properties, required);
        }
        for (name, property) in members(&schema["properties"]) {
            properties.insert(name.clone(), self.schema(property));
        }
        let names = schema["required"].as_array().into_iter().flatten();
        required.extend(names.map(|name| text(name).to_owned()));
    }

    fn resolved<'b>(&self, value: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        let pointer = value["$ref"]
            .as_str()
            .and_then(|target| target.strip_prefix('#'));
        match pointer {
            Some(pointer) => self
                .document
                .pointer(pointer)
                .expect("a reference that leads somewhere"),
            None => value,
        }
    }

    fn named(&self, name: &str) -> &'a Value {
        let places = ["/definitions/", "/components/schemas/"];
        let mut found = places
            .iter()
            .filter_map(|place| self.document.pointer(&format!("{place}{name}")));
        found.next().expect("a schema of that name")
    }
}

fn plain(schema: &Value, facts: &mut Map<String, Value>) {
    for word in PLAIN {
        if let Some(value) = schema.get(word) {
            facts.entry(word).or_insert_with(|| value.clone());
        }
    }
    if let Some(Value::Array(values)) = schema.get("enum") {
        // Their order says nothing.
        let values: BTreeSet<&str> = values.iter().map(text).collect();
        facts.entry("enum").or_insert_with(|| json!(values));
    }
    if schema["readOnly"] == true {
        facts.insert("readOnly".into(), json!(true));
    }
}

/// The type that is not null.
fn kind(types: &Value) -> Option<Value> {
    match types {
        Value::Array(types) => types.iter().find(|kind| **kind != "null").cloned(),
        Value::Null => None,
        one => Some(one.clone()),
    }
}

/// The JSON schema of a body in `OpenAPI` 3.
fn json_schema(body: &Value) -> Option<&Value> {
    body["content"].get("application/json")?.get("schema")
}

fn collect_names(facts: &Value, names: &mut BTreeSet<String>) {
    match facts {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("schema") {
                names.insert(name.clone());
            }
            members
                .values()
                .for_each(|member| collect_names(member, names));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_names(value, names)),
        _ => {}
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
