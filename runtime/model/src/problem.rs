//! What is wrong with a request, in the shape of the API's error envelope.

use serde::{Deserialize, Serialize};

/// One finding: a machine-readable code, a sentence, where, and what to do.
///
/// The shape of the error object of capabilities §3.10.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Machine-readable, stable, in Pascal case.
    pub code: String,
    /// One sentence for people that says what to do.
    pub message: String,
    /// A JSON pointer into the request body, or the name of a parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Further findings of the same request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Problem>,
}

impl Problem {
    /// A problem without target and details.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            target: None,
            details: Vec::new(),
        }
    }

    /// The same problem, pointing at `target`.
    #[must_use]
    pub fn at(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// A member that is missing, malformed or out of range.
    pub fn invalid(target: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new("InvalidParameter", message).at(target)
    }

    /// One problem that stands for all `findings`: itself the first one, with
    /// all of them as details when there are several. `None` for an empty list.
    pub fn gather(mut findings: Vec<Problem>) -> Option<Problem> {
        if findings.len() < 2 {
            return findings.pop();
        }
        let mut first = findings.first()?.clone();
        first.details = findings;
        Some(first)
    }
}

/// An error with everything underneath it, in one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
