//! What to tell a user whose settings are wrong.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::types::{Issue, PlanFailure};

/// Far above the cores of any machine, and a bound for what a plan can hold.
const MAX_PROCESSES_PER_NODE: u32 = 1_024;

/// An issue without a hint. `path` is a JSON pointer into the settings object.
pub fn issue(path: impl Into<String>, message: impl Into<String>) -> Issue {
    Issue {
        path: path.into(),
        message: message.into(),
        hint: None,
    }
}

/// An issue that also says what to do.
pub fn issue_with_hint(
    path: impl Into<String>,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Issue {
    Issue {
        hint: Some(hint.into()),
        ..issue(path, message)
    }
}

/// The issue for a text that is missing or blank, if it is.
pub fn required(member: &str, value: Option<&str>, hint: &str) -> Option<Issue> {
    value.is_none_or(|text| text.trim().is_empty()).then(|| {
        issue_with_hint(
            format!("/{member}"),
            format!("{member} is required and must not be empty"),
            hint,
        )
    })
}

/// The issue for a `processCount` that a job of this many nodes cannot have, if so.
pub fn process_count(count: u32, node_count: u32) -> Option<Issue> {
    let max = node_count.saturating_mul(MAX_PROCESSES_PER_NODE);
    let message = format!("processCount is {count}, it must be 1 to {max} on {node_count} nodes");
    (!(1..=max).contains(&count)).then(|| {
        let hint = "leave it out for one process per node";
        issue_with_hint("/processCount", message, hint)
    })
}

/// The refusal of an allocation: the job is well, these nodes are not.
pub fn unsuitable(reason: impl Into<String>) -> PlanFailure {
    PlanFailure::Unsuitable(reason.into())
}

/// Settings in which nothing is wrong, or everything that is.
///
/// # Errors
/// The issues, if there are any.
pub fn none_of<S>(
    issues: impl IntoIterator<Item = Option<Issue>>,
    settings: S,
) -> Result<S, Vec<Issue>> {
    let issues: Vec<Issue> = issues.into_iter().flatten().collect();
    if issues.is_empty() {
        Ok(settings)
    } else {
        Err(issues)
    }
}

/// Reads the settings of a job.
///
/// # Errors
/// One issue that points at the member that does not fit.
pub fn parse_settings<T: DeserializeOwned>(json: &str) -> Result<T, Vec<Issue>> {
    let reader = &mut serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = error.path().iter().map(pointer_part).collect::<String>();
        vec![issue(path, without_position(&error.inner().to_string()))]
    })
}

fn pointer_part(segment: &Segment) -> String {
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } | Segment::Enum { variant: key } => {
            format!("/{}", key.replace('~', "~0").replace('/', "~1"))
        }
        Segment::Unknown => String::new(),
    }
}

/// The position is one in the host's rendering of the settings, not in what the
/// user sent.
fn without_position(message: &str) -> &str {
    message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[allow(dead_code, reason = "only the errors matter")]
    struct Settings {
        process_count: Option<u32>,
    }

    fn found(json: &str) -> (String, String) {
        let issues = parse_settings::<Settings>(json).unwrap_err();
        assert_eq!(issues.len(), 1);
        (issues[0].path.clone(), issues[0].message.clone())
    }

    #[test]
    fn a_wrong_member_is_named_without_a_position() {
        assert_eq!(
            found(r#"{"processCount": "x"}"#),
            (
                "/processCount".to_owned(),
                r#"invalid type: string "x", expected u32"#.to_owned()
            )
        );
        let (path, message) = found(r#"{"proces/Count": 1}"#);
        assert_eq!(path, "/proces~1Count");
        assert!(
            message.starts_with("unknown field `proces/Count`"),
            "{message}"
        );
        assert_eq!(found("7").0, "");
    }

    #[test]
    fn null_is_a_member_left_out() {
        let settings: Settings = parse_settings(r#"{"processCount": null}"#).unwrap();
        assert_eq!(settings.process_count, None);
    }

    #[test]
    fn a_process_count_has_bounds_that_grow_with_the_nodes() {
        assert!(process_count(0, 2).is_some());
        assert!(process_count(1, 2).is_none());
        assert!(process_count(2_048, 2).is_none());
        assert!(process_count(2_049, 2).is_some());
        assert!(process_count(u32::MAX, u32::MAX).is_none());
    }

    #[test]
    fn settings_are_given_back_only_without_issues() {
        assert_eq!(none_of([None, None], 7), Ok(7));
        let issues = none_of([None, Some(issue("/a", "no")), None], 7).unwrap_err();
        assert_eq!(issues, [issue("/a", "no")]);
    }

    #[test]
    fn blank_texts_count_as_missing() {
        assert!(required("a", None, "").is_some());
        assert!(required("a", Some(" \n"), "").is_some());
        assert!(required("a", Some("x"), "").is_none());
    }
}
