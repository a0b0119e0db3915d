//! The properties of known models, as a file.

use toml::{Table, Value};

use crate::file::FileError;

const MODELS: &str = include_str!("models.toml");

/// Everything that is known of a model.
pub(crate) fn model(name: &str) -> Result<Table, FileError> {
    let models: Table = toml::from_str(MODELS).map_err(FileError::text)?;
    let Some(Value::Table(own)) = models.get(name) else {
        let known: Vec<&str> = models.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(FileError::new(format!(
            "no model is named '{name}'; there are {known}"
        )));
    };
    let mut own = own.clone();
    match own.remove("like") {
        Some(Value::String(base)) if base != name => {
            let mut whole = model(&base)?;
            lay_over(&mut whole, own);
            Ok(whole)
        }
        _ => Ok(own),
    }
}

/// Puts the members of `upper` in the place of those below. Not member by member inside of one:
/// who names the clocks names all of them.
pub(crate) fn lay_over(lower: &mut Table, upper: Table) {
    lower.extend(upper);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_be_like_another() {
        let v100 = model("V100").unwrap();
        assert_eq!(v100["name"].as_str(), Some("Tesla V100-SXM2-16GB"));
        assert_eq!(v100["temperature_shutdown"].as_integer(), Some(95));
        assert!(v100["mig_profiles"].as_table().unwrap().is_empty());
        assert!(!v100.contains_key("like"));
    }

    #[test]
    fn an_unknown_model_is_told_what_there_is() {
        let error = model("GTX").unwrap_err().to_string();
        assert!(error.contains("GTX") && error.contains("H100"), "{error}");
    }
}
