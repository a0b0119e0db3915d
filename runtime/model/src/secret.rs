//! Secret values of a resource, kept apart from everything that is shown.
//!
//! Nothing here has a `Debug` or a `Serialize` that tells a value: whoever needs
//! one asks for it by [`SecretText::expose`] or [`Secrets::to_plaintext`]. The
//! memory is overwritten when a value is dropped.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What stands in a text where a secret was.
const REDACTED: &str = "***";

/// Shorter texts are not looked for in messages: they would be found everywhere.
const REDACTED_BYTES_MIN: usize = 4;

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text into keeping.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for those who must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Where a secret is kept outside Lote.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyVaultReference {
    /// The resource id of the vault.
    pub source_vault: String,
    /// The URL of the secret in it.
    pub secret_url: String,
}

/// A secret, or where it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretValue {
    /// The secret.
    Text(SecretText),
    /// A secret of a key vault.
    KeyVault(KeyVaultReference),
}

/// The secrets of one resource, each by the JSON pointer at which the body had
/// its value: `/properties/secrets/0/value`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, SecretValue>);

/// A bundle that this version cannot read. It says nothing of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the secrets are in a form that this version of Lote does not know")]
pub struct UnreadableSecrets;

impl Secrets {
    /// Keeps a secret by its JSON pointer.
    pub fn insert(&mut self, pointer: impl Into<String>, value: SecretValue) {
        self.0.insert(pointer.into(), value);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret at a JSON pointer.
    pub fn get(&self, pointer: &str) -> Option<&SecretValue> {
        self.0.get(pointer)
    }

    /// Whether each of these is the same in `other`, which may have more.
    pub fn are_part_of(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(pointer, value)| other.get(pointer) == Some(value))
    }

    /// All of them as bytes, to be sealed at once.
    pub fn to_plaintext(&self) -> Result<Zeroizing<Vec<u8>>, UnreadableSecrets> {
        let form: BTreeMap<&str, Form<'_>> = self
            .0
            .iter()
            .map(|(pointer, value)| (pointer.as_str(), Form::of(value)))
            .collect();
        let mut bytes = Zeroizing::new(Vec::new());
        serde_json::to_writer(&mut *bytes, &form).map_err(|_| UnreadableSecrets)?;
        Ok(bytes)
    }

    /// Reads what [`to_plaintext`](Self::to_plaintext) wrote.
    pub fn from_plaintext(bytes: &[u8]) -> Result<Self, UnreadableSecrets> {
        let form: BTreeMap<String, OwnedForm> =
            serde_json::from_slice(bytes).map_err(|_| UnreadableSecrets)?;
        let secrets = form
            .into_iter()
            .map(|(pointer, form)| (pointer, form.into_value()));
        Ok(Self(secrets.collect()))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How a secret is written before it is sealed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Form<'a> {
    Text(&'a str),
    KeyVault {
        source_vault: &'a str,
        secret_url: &'a str,
    },
}

impl<'a> Form<'a> {
    fn of(value: &'a SecretValue) -> Self {
        match value {
            SecretValue::Text(text) => Self::Text(text.expose()),
            SecretValue::KeyVault(reference) => Self::KeyVault {
                source_vault: &reference.source_vault,
                secret_url: &reference.secret_url,
            },
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum OwnedForm {
    Text(String),
    KeyVault {
        source_vault: String,
        secret_url: String,
    },
}

impl OwnedForm {
    fn into_value(self) -> SecretValue {
        match self {
            Self::Text(text) => SecretValue::Text(SecretText::new(text)),
            Self::KeyVault {
                source_vault,
                secret_url,
            } => SecretValue::KeyVault(KeyVaultReference {
                source_vault,
                secret_url,
            }),
        }
    }
}

/// A text without the given secrets. What a cut at its start left of one goes too.
pub fn redacted<'a>(text: &str, secrets: impl IntoIterator<Item = &'a SecretText>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let secret = secret.expose();
        if secret.len() < REDACTED_BYTES_MIN {
            continue;
        }
        text = text.replace(secret, REDACTED);
        let cut = (1..=secret.len() - REDACTED_BYTES_MIN)
            .filter_map(|start| secret.get(start..))
            .find(|rest| text.starts_with(rest));
        if let Some(rest) = cut {
            text.replace_range(..rest.len(), REDACTED);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let mut secrets = Secrets::default();
        let text = SecretValue::Text(SecretText::new("hunter2-ä\n"));
        secrets.insert("/properties/secrets/0/value", text);
        let reference = KeyVaultReference {
            source_vault: "/vaults/v".into(),
            secret_url: "https://v.example/secrets/s".into(),
        };
        secrets.insert(
            "/properties/secrets/1/value",
            SecretValue::KeyVault(reference),
        );
        secrets
    }

    #[test]
    fn what_is_written_is_read_back() {
        let bytes = secrets().to_plaintext().unwrap();
        assert!(Secrets::from_plaintext(&bytes).unwrap() == secrets());
        assert_eq!(
            Secrets::from_plaintext(b"[\"hunter2\"]").unwrap_err(),
            UnreadableSecrets
        );
    }

    #[test]
    fn nothing_shows_a_value() {
        let shown = format!("{:?} {:?}", secrets(), SecretText::new("hunter2"));
        assert!(shown.contains("/properties/secrets/0/value"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("example"), "{shown}");
    }

    #[test]
    fn a_part_has_the_same_values_and_may_lack_some() {
        let mut part = secrets();
        part.0.remove("/properties/secrets/1/value");
        assert!(part.are_part_of(&secrets()));
        assert!(!secrets().are_part_of(&part));
        part.insert("/x", SecretValue::Text(SecretText::new("y")));
        assert!(!part.are_part_of(&secrets()));
    }

    #[test]
    fn a_message_loses_its_secrets_whole_and_cut() {
        let secrets = [SecretText::new("hunter2"), SecretText::new("abc")];
        let text = redacted("ter2 is not hunter2\nabc hunter2x", &secrets);
        assert_eq!(text, "*** is not ***\nabc ***x");
        assert_eq!(redacted("plain", &secrets), "plain");
    }

    proptest::proptest! {
        #[test]
        fn no_text_keeps_a_secret(before in ".{0,20}", secret in "[a-z]{4,12}", after in ".{0,20}") {
            let kept = redacted(&format!("{before}{secret}{after}"), &[SecretText::new(secret.clone())]);
            proptest::prop_assert!(!kept.contains(&secret));
        }
    }
}
