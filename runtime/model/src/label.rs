//! What operators say of a node's place and kind: `rack=r1`, `switch=leaf-3`.

use std::collections::BTreeMap;

/// The most labels of a node.
pub const LABELS_MAX: usize = 64;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 63;

/// The longest value.
pub const VALUE_BYTES_MAX: usize = 128;

/// A label that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is no `=`.
    #[error("'{0}' is no label; give it as KEY=VALUE, such as rack=r1")]
    NoValue(String),
    /// The key has other characters, or too many.
    #[error(
        "'{0}' cannot be the key of a label: use 1 to {KEY_BYTES_MAX} of a-z, 0-9, '-', '_' and '.'"
    )]
    Key(String),
    /// The value is empty, too long, or unprintable.
    #[error(
        "the value of label '{0}' must have 1 to {VALUE_BYTES_MAX} bytes and no control characters"
    )]
    Value(String),
    /// There are too many.
    #[error("a node has at most {LABELS_MAX} labels, not {0}")]
    TooMany(usize),
}

/// Reads `KEY=VALUE`.
pub fn parse(text: &str) -> Result<(String, String), LabelError> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| LabelError::NoValue(text.to_owned()))?;
    check_one(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checks all labels of a node.
pub fn check(labels: &BTreeMap<String, String>) -> Result<(), LabelError> {
    if labels.len() > LABELS_MAX {
        return Err(LabelError::TooMany(labels.len()));
    }
    labels
        .iter()
        .try_for_each(|(key, value)| check_one(key, value))
}

fn check_one(key: &str, value: &str) -> Result<(), LabelError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) || !key.chars().all(fits) {
        return Err(LabelError::Key(key.to_owned()));
    }
    if !(1..=VALUE_BYTES_MAX).contains(&value.len()) || value.chars().any(char::is_control) {
        return Err(LabelError::Value(key.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_key_and_a_value() {
        let label = parse("rack.row-2_a=R1 / left = mine").unwrap();
        assert_eq!(label, ("rack.row-2_a".into(), "R1 / left = mine".into()));
    }

    #[test]
    fn what_is_no_label_is_refused() {
        let long = format!("{}=x", "k".repeat(KEY_BYTES_MAX + 1));
        let text = format!("k={}", "v".repeat(VALUE_BYTES_MAX + 1));
        assert!(matches!(parse("rack"), Err(LabelError::NoValue(_))));
        for key in ["=x", "Rack=x", "a b=x", "a/b=x", "ä=x", &long] {
            assert!(matches!(parse(key), Err(LabelError::Key(_))), "{key}");
        }
        for value in ["k=", "k=a\nb", &text] {
            assert!(matches!(parse(value), Err(LabelError::Value(_))), "{value}");
        }
        let many = (0..=LABELS_MAX).map(|number| (format!("k{number}"), "v".into()));
        assert_eq!(check(&many.collect()), Err(LabelError::TooMany(65)));
    }
}
