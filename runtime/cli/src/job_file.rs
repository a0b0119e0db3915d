//! Job files: the JSON body of the API, also written as YAML or TOML.

use jsonc_parser::{ParseOptions, parse_to_serde_value};
use serde_json::{Map, Value};

/// The most bytes a job file may have; the daemon refuses larger bodies anyway.
pub const FILE_LENGTH_MAX: u64 = 4 << 20;

/// Why a text is no job file.
#[derive(Debug, thiserror::Error)]
pub enum JobFileError {
    /// Neither of the three languages reads it. Holds what the likely one said.
    #[error("it cannot be read as {language}: {reason}")]
    Syntax {
        /// The language it was taken for.
        language: &'static str,
        /// Where and why.
        reason: String,
    },
    /// It is readable, but a list, a number …
    #[error(
        "it holds no object; a job file has the members of the API's request, such as `properties`"
    )]
    NoObject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Json,
    Yaml,
    Toml,
}

/// Reads a job file. The file's ending says the language; without a known one
/// its beginning does. `$schema` is dropped.
pub fn parse(name: &str, text: &str) -> Result<Map<String, Value>, JobFileError> {
    let value = match language(name, text) {
        Language::Json => from_json(text)?,
        Language::Yaml => from_yaml(text)?,
        Language::Toml => from_toml(text)?,
    };
    let Value::Object(mut members) = value else {
        return Err(JobFileError::NoObject);
    };
    members.remove("$schema");
    Ok(members)
}

fn language(name: &str, text: &str) -> Language {
    let ending = std::path::Path::new(name)
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "json" => Language::Json,
        "yaml" | "yml" => Language::Yaml,
        "toml" => Language::Toml,
        _ => by_content(text),
    }
}

/// JSON begins with a brace. TOML has a table header or `name =` in its first
/// line of substance; YAML has neither.
fn by_content(text: &str) -> Language {
    if text
        .trim_start_matches('\u{feff}')
        .trim_start()
        .starts_with('{')
    {
        return Language::Json;
    }
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    let key_end = first.find(['=', ':']).unwrap_or(first.len());
    let assigns = first[key_end..].starts_with('=');
    if first.starts_with('[') || assigns {
        Language::Toml
    } else {
        Language::Yaml
    }
}

/// What published job files have beside JSON, because the original's command line took it.
const TOLERANT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

fn from_json(text: &str) -> Result<Value, JobFileError> {
    // Recipes written on Windows begin with a byte-order mark.
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).or_else(|error| {
        parse_to_serde_value(text, &TOLERANT).map_err(|_| JobFileError::Syntax {
            language: "JSON",
            reason: error.to_string(),
        })
    })
}

fn from_yaml(text: &str) -> Result<Value, JobFileError> {
    // As in YAML 1.2: `yes` and `no` are words, not truth values.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| JobFileError::Syntax {
        language: "YAML",
        reason: error.to_string().trim().to_owned(),
    })
}

fn from_toml(text: &str) -> Result<Value, JobFileError> {
    let syntax = |reason: String| JobFileError::Syntax {
        language: "TOML",
        reason,
    };
    let table: toml::Table =
        toml::from_str(text).map_err(|error| syntax(error.to_string().trim().to_owned()))?;
    serde_json::to_value(table).map_err(|error| syntax(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const JSON: &str = r#"{"$schema": "https://example.org/job.json",
        "properties": {"nodeCount": 2, "customToolkitSettings": {"commandLine": "date"}}}"#;
    const YAML: &str =
        "# a job\nproperties:\n  nodeCount: 2\n  customToolkitSettings:\n    commandLine: date\n";
    const TOML: &str =
        "[properties]\nnodeCount = 2\n[properties.customToolkitSettings]\ncommandLine = 'date'\n";

    #[test]
    fn the_three_languages_say_the_same() {
        let expected = json!({"properties":
            {"nodeCount": 2, "customToolkitSettings": {"commandLine": "date"}}});
        for (name, text) in [
            ("job.json", JSON),
            ("job.yaml", YAML),
            ("job.YML", YAML),
            ("job.toml", TOML),
            ("-", JSON),
            ("-", YAML),
            ("job", TOML),
            ("-", &format!("\u{feff}{JSON}")),
        ] {
            let read = parse(name, text).unwrap();
            assert_eq!(Value::Object(read), expected, "{name}");
        }
    }

    #[test]
    fn json_may_have_comments_and_a_comma_too_many() {
        let text = "{\n  // Two are enough.\n  \"properties\": {\"list\": [{\"a\": \"x,]\"},], \"n\": 2,},\n}";
        assert_eq!(
            Value::Object(parse("j.json", text).unwrap()),
            json!({"properties": {"list": [{"a": "x,]"}], "n": 2}})
        );
        for wrong in [
            "{'a': 1}",
            "{\"a\" 1}",
            "{\"a\": 1 \"b\": 2}",
            "{\"a\": [1,,2]}",
            "",
        ] {
            assert!(parse("j.json", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn yaml_words_that_look_like_others_stay_words() {
        let read = parse("j.yaml", "a: \"1\"\nb: 0.5\nc: yes\nd: null\ne: '$X: 1'\n").unwrap();
        assert_eq!(
            Value::Object(read),
            json!({"a": "1", "b": 0.5, "c": "yes", "d": null, "e": "$X: 1"})
        );
    }

    #[test]
    fn errors_name_the_language_and_the_line() {
        for (name, text, word) in [
            ("j.json", "{\n\"a\": }", "line 2"),
            ("j.yaml", "a: [1,\nb: 2", "line"),
            ("j.toml", "a = 1\nb = = 2", "line 2"),
        ] {
            let error = parse(name, text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(matches!(
            parse("j.json", "[1]"),
            Err(JobFileError::NoObject)
        ));
    }
}
