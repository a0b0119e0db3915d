//! From the bytes of a request to typed members, with errors that point at them.
//!
//! Members outside `properties` that Lote does not know (`$schema`, `id`, …)
//! are ignored, as clients send them; inside `properties` an unknown member is
//! an error, because a misspelt one would silently do nothing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Reads a JSON object. `InvalidRequestContent` if it is none.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    let wrong = |message: String| Problem::new("InvalidRequestContent", message);
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(wrong("the request body must be a JSON object".into())),
        Err(error) => Err(wrong(format!(
            "the request body is not valid JSON: {error}"
        ))),
    }
}

/// Checks a body in which nothing need be said: none at all, `null`, or an object.
pub fn optional_object(body: &[u8]) -> Result<(), Problem> {
    let text = body.trim_ascii();
    if text.is_empty() || text == b"null" {
        return Ok(());
    }
    object(body).map(drop)
}

/// The `properties` object of a body, without `null` members and without the
/// `read_only` ones that a resubmitted answer carries.
pub fn properties(body: &[u8], read_only: &[&str]) -> Result<Map<String, Value>, Problem> {
    let mut members = object(body)?;
    match members.remove("properties") {
        Some(Value::Object(mut properties)) => {
            properties
                .retain(|name, value| !value.is_null() && !read_only.contains(&name.as_str()));
            Ok(properties)
        }
        Some(_) => Err(Problem::invalid(
            "/properties",
            "'properties' must be an object",
        )),
        None => Err(Problem::invalid(
            "/properties",
            "the request body has no member 'properties'",
        )),
    }
}

/// Reads a typed value; errors point at the member, below `base`.
pub fn typed<T: DeserializeOwned>(value: Value, base: &str) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let target = pointer(base, error.path());
        Problem::invalid(target, error.into_inner().to_string())
    })
}

fn pointer(base: &str, path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = base.to_owned();
    for segment in path {
        pointer.push('/');
        match segment {
            Segment::Seq { index } => pointer.push_str(&index.to_string()),
            Segment::Map { key } => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => pointer.push_str(variant),
            Segment::Unknown => pointer.push('?'),
        }
    }
    pointer
}

/// `null` means absent, at every depth below the typed members.
pub(crate) fn without_nulls(members: Map<String, Value>) -> Value {
    fn clean(value: Value) -> Value {
        match value {
            Value::Object(members) => without_nulls(members),
            Value::Array(values) => Value::Array(values.into_iter().map(clean).collect()),
            other => other,
        }
    }
    let given = members.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(given.map(|(name, value)| (name, clean(value))).collect())
}

/// For `deserialize_with`: `null` means the same as absent.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "list")]
        _list: Vec<u8>,
    }

    #[test]
    fn errors_point_at_the_member() {
        let error =
            typed::<Sample>(serde_json::json!({"list": [1, "x"]}), "/properties").unwrap_err();
        assert_eq!(error.target.as_deref(), Some("/properties/list/1"));
        let error =
            typed::<Sample>(serde_json::json!({"list": [], "lits": 1}), "/properties").unwrap_err();
        assert!(error.message.contains("lits"), "{error}");
    }

    #[test]
    fn a_body_may_say_nothing() {
        for good in ["", " \n", "null", "{}", "{\"properties\": null}"] {
            assert!(optional_object(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["[]", "1", "{", "nul", "\"\""] {
            assert!(optional_object(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused() {
        for bad in ["", "[]", "1", "{", "{\"properties\": 3}", "{}"] {
            assert!(properties(bad.as_bytes(), &[]).is_err(), "{bad}");
        }
    }
}
