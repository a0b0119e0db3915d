//! What the text of a crate must not contain.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Ways to act, or to learn something that is not an argument, that need no
/// dependency.
const FORBIDDEN_IN_THE_MODEL: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "std::os",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "RandomState",
    "async fn",
    "println!",
];

/// Looks through the model's sources; its tests may do what they like.
pub(super) fn check_model(folder: &Path) -> Result<Vec<String>, Error> {
    let mut findings = Vec::new();
    for path in rust_files(folder)? {
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        for phrase in forbidden_phrases(&text) {
            let name = path.strip_prefix(folder).unwrap_or(&path).display();
            findings.push(format!("{name} contains `{phrase}`"));
        }
    }
    Ok(findings)
}

fn forbidden_phrases(text: &str) -> impl Iterator<Item = &'static str> {
    let code = text
        .split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .to_owned();
    FORBIDDEN_IN_THE_MODEL
        .iter()
        .copied()
        .filter(move |phrase| code.contains(phrase))
}

/// The Rust files below a folder, without files and folders that hold tests only.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(Error::file("list", folder))?;
    for entry in entries {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let stem = path.file_stem().unwrap_or_default();
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_found_outside_tests_only() {
        let found: Vec<_> = forbidden_phrases("let t = SystemTime::now();").collect();
        assert_eq!(found, ["SystemTime"]);
        let test = "fn pure() {}\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(forbidden_phrases(test).count(), 0);
    }
}
