//! Rules that the bodies of several resources share.

use std::collections::BTreeSet;

use crate::expand::is_name;
use crate::plan::Variable;
use crate::problem::Problem;

/// The longest path, command line or variable value. The kernel passes no
/// single argument or variable above 128 KiB.
pub const TEXT_LENGTH_MAX: usize = 120 * 1024;

/// The most variables, directories, mounts and the like of one resource, of each kind.
pub const LIST_LENGTH_MAX: usize = 1_000;

/// A text that something must be done with: not empty, no NUL, not too long.
pub(crate) fn text(target: &str, text: &str) -> Option<Problem> {
    let complaint = if text.trim().is_empty() {
        "must not be empty".to_owned()
    } else if text.contains('\0') {
        "must not contain a NUL character".to_owned()
    } else if text.len() > TEXT_LENGTH_MAX {
        format!("must not be longer than {TEXT_LENGTH_MAX} bytes")
    } else {
        return None;
    };
    let member = target.rsplit('/').next().unwrap_or(target);
    Some(Problem::invalid(target, format!("{member} {complaint}")))
}

/// The same for a text that may be absent.
pub(crate) fn optional_text(target: &str, value: Option<&String>) -> Option<Problem> {
    value.and_then(|value| text(target, value))
}

/// A list that is not longer than anybody needs.
pub(crate) fn length(target: &str, length: usize, what: &str) -> Option<Problem> {
    let message = || format!("at most {LIST_LENGTH_MAX} {what} are accepted");
    (length > LIST_LENGTH_MAX).then(|| Problem::invalid(target, message()))
}

/// The variables below `base` with their values, and the secret ones, of which
/// only the names are left here. No name may be given twice in both together.
pub(crate) fn variables<'a>(
    base: &str,
    variables: &[Variable],
    secrets: impl ExactSizeIterator<Item = &'a str>,
) -> Vec<Problem> {
    let (open, hidden) = (
        format!("{base}/environmentVariables"),
        format!("{base}/secrets"),
    );
    let mut findings: Vec<Problem> = Vec::new();
    findings.extend(length(&open, variables.len(), "variables"));
    findings.extend(length(&hidden, secrets.len(), "secrets"));
    let mut seen = BTreeSet::new();
    for (index, variable) in variables.iter().enumerate() {
        let at = |member: &str| format!("{open}/{index}/{member}");
        findings.extend(variable_name(&at("name"), &variable.name, &mut seen));
        if variable.value.contains('\0') || variable.value.len() > TEXT_LENGTH_MAX {
            let message =
                format!("a value has at most {TEXT_LENGTH_MAX} bytes and no NUL character");
            findings.push(Problem::invalid(at("value"), message));
        }
    }
    for (index, name) in secrets.enumerate() {
        let at = format!("{hidden}/{index}/name");
        findings.extend(variable_name(&at, name, &mut seen));
    }
    findings
}

fn variable_name(target: &str, name: &str, seen: &mut BTreeSet<String>) -> Option<Problem> {
    let message = if !is_name(name) {
        format!("'{name}' cannot name a variable: use letters, digits and '_', no digit first")
    } else if is_reserved(name) {
        format!("'{name}' is set by Lote; choose another name")
    } else if !seen.insert(name.to_owned()) {
        format!("'{name}' is given twice")
    } else {
        return None;
    };
    Some(Problem::invalid(target, message))
}

/// Names that the runtime sets in every process; a user's own value would lie.
fn is_reserved(name: &str) -> bool {
    ["AZ_BATCHAI_", "AZ_BATCH_", "LOTE_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || [
            "CCP_NODES",
            "CUDA_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
        ]
        .contains(&name)
}
