//! Checks what a plugin says about itself.

use lote_model::plan::Descriptor;
use serde_json::Value;

use crate::error::Problem;

/// Names become parts of addresses, table columns and log lines.
const MAX_NAME_BYTES: usize = 64;
/// One line of a list.
const MAX_SUMMARY_BYTES: usize = 200;
/// A schema for people and editors, kept in memory for each plugin.
const MAX_SCHEMA_BYTES: usize = 256 << 10;

/// Checks everything but the schema.
pub(crate) fn check(descriptor: &Descriptor) -> Result<(), Problem> {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    word(
        "name",
        &descriptor.name,
        "lower-case letters, digits or `-`",
        lower,
    )?;
    let letters = |c: char| c.is_ascii_alphanumeric();
    word(
        "settings-member",
        &descriptor.settings_member,
        "letters or digits",
        letters,
    )?;
    let version = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
    word(
        "version",
        &descriptor.version,
        "letters, digits, `.`, `-` or `+`",
        version,
    )?;
    if descriptor.summary.len() > MAX_SUMMARY_BYTES || descriptor.summary.contains(char::is_control)
    {
        return Err(bad(format!(
            "the summary must be one line of at most {MAX_SUMMARY_BYTES} bytes"
        )));
    }
    Ok(())
}

fn word(what: &str, text: &str, of: &str, allowed: impl Fn(char) -> bool) -> Result<(), Problem> {
    if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(());
    }
    Err(bad(format!(
        "the {what} must be 1 to {MAX_NAME_BYTES} {of}"
    )))
}

/// Reads the schema of the settings.
pub(crate) fn schema(text: &str) -> Result<Value, Problem> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(bad(format!(
            "the settings-schema is larger than {MAX_SCHEMA_BYTES} bytes"
        )));
    }
    match serde_json::from_str(text) {
        Ok(schema @ Value::Object(_)) => Ok(schema),
        Ok(_) => Err(bad("the settings-schema must be a JSON object".to_owned())),
        Err(error) => Err(bad(format!("the settings-schema is not JSON ({error})"))),
    }
}

fn bad(reason: String) -> Problem {
    Problem::BadDescriptor { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor {
            name: "pytorch".to_owned(),
            settings_member: "pyTorchSettings".to_owned(),
            summary: "Trains".to_owned(),
            version: "1.0.0-rc.1".to_owned(),
            settings_schema: "{}".to_owned(),
            starts_peers: false,
        }
    }

    #[test]
    fn unusable_words_and_schemas_are_refused() {
        assert!(check(&descriptor()).is_ok());
        let spoil: [fn(&mut Descriptor); 7] = [
            |d| d.name = "../x".to_owned(),
            |d| d.name.clear(),
            |d| d.settings_member = "a/b".to_owned(),
            |d| d.version = "1\n2".to_owned(),
            |d| d.summary = "x".repeat(MAX_SUMMARY_BYTES + 1),
            |d| d.settings_schema = "[]".to_owned(),
            |d| d.settings_schema = "{".to_owned(),
        ];
        for (number, spoil) in spoil.into_iter().enumerate() {
            let mut descriptor = descriptor();
            spoil(&mut descriptor);
            let is_refused =
                check(&descriptor).is_err() || schema(&descriptor.settings_schema).is_err();
            assert!(is_refused, "{number}");
        }
    }
}
