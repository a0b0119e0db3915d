//! The operator's table of secrets that requests only refer to: the part of a key
//! vault that one's own machines can play.
//!
//! A TOML file, one line for each secret: `"https://VAULT/secrets/NAME" = "VALUE"`.
//! It is read again whenever a job needs it, so that a new line needs no restart.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lote_model::secret::{KeyVaultReference, SecretText};
use zeroize::Zeroizing;

/// The table could not be used. No message quotes what is in it.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be read.
    #[error("cannot read the secrets file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others could read it.
    #[error("the secrets file {path} can be read by others: chmod 600 it")]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It is no table of texts.
    #[error(
        "the secrets file {path} is not TOML with lines like \"https://VAULT/secrets/NAME\" = \"VALUE\""
    )]
    Parse {
        /// The file.
        path: PathBuf,
    },
}

/// Secrets by the URL that refers to them.
#[derive(Debug)]
pub struct SecretTable(BTreeMap<String, SecretText>);

impl SecretTable {
    /// Reads a table that nobody but its owner can read.
    pub fn read(path: &Path) -> Result<Self, TableError> {
        let failed = |source| TableError::Read {
            path: path.to_owned(),
            source,
        };
        let mode = std::fs::metadata(path)
            .map_err(failed)?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            return Err(TableError::Open { path: path.into() });
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
        // What the parser would say quotes the line.
        let lines: BTreeMap<String, String> =
            toml::from_str(&text).map_err(|_| TableError::Parse { path: path.into() })?;
        let secrets = lines
            .into_iter()
            .map(|(url, value)| (form(&url), SecretText::new(value)));
        Ok(Self(secrets.collect()))
    }

    /// The secret that a reference means: of that very version, or of any when the
    /// table names none.
    pub fn get(&self, reference: &KeyVaultReference) -> Option<&SecretText> {
        let url = form(&reference.secret_url);
        let without_version = || {
            let (rest, _version) = url.rsplit_once('/')?;
            // https://VAULT/secrets/NAME has four slashes.
            (rest.matches('/').count() >= 4).then(|| self.0.get(rest))?
        };
        self.0.get(&url).or_else(without_version)
    }
}

/// Hosts and names of vaults have no case.
fn form(url: &str) -> String {
    url.trim_end_matches('/').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, text: &str, mode: u32) -> PathBuf {
        let path = folder.join("secrets.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn reference(url: &str) -> KeyVaultReference {
        KeyVaultReference {
            source_vault: "v".into(),
            secret_url: url.into(),
        }
    }

    #[test]
    fn a_reference_finds_its_version_or_any() {
        let folder = tempfile::tempdir().unwrap();
        let text = "\"https://V/secrets/a\" = 'any'\n\"https://v/secrets/b/1\" = 'first'";
        let table = SecretTable::read(&file(folder.path(), text, 0o600)).unwrap();
        let get = |url: &str| table.get(&reference(url)).map(SecretText::expose);
        assert_eq!(get("https://v/secrets/a"), Some("any"));
        assert_eq!(get("https://v/secrets/a/7/"), Some("any"));
        assert_eq!(get("https://v/secrets/b/1"), Some("first"));
        assert_eq!(get("https://v/secrets/b/2"), None);
        assert_eq!(get("https://v/secrets/b"), None);
    }

    #[test]
    fn a_table_that_cannot_be_used_says_why_and_quotes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let line = "\"https://v/secrets/a\" = 'hunter2'";
        let open = SecretTable::read(&file(folder.path(), line, 0o644)).unwrap_err();
        assert!(open.to_string().contains("chmod 600"), "{open}");
        let bad = SecretTable::read(&file(folder.path(), "hunter2", 0o600)).unwrap_err();
        assert!(matches!(bad, TableError::Parse { .. }));
        assert!(!format!("{bad} {bad:?}").contains("hunter2"));
        let missing = SecretTable::read(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, TableError::Read { .. }));
    }
}
