//! Sealing: XChaCha20-Poly1305 with a random nonce, the store key as associated data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use lote_model::secret::{Secrets, UnreadableSecrets};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::key::SealingKey;

/// What stands before the store key in the associated data: the form of what is sealed.
const FORM: &str = "lote secrets 1 ";

/// A bundle of secrets as the store has it: nobody reads it without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    /// 24 random bytes, Base64. With so many, no two bundles ever share them.
    nonce: String,
    /// What is sealed and its tag, Base64.
    sealed: String,
}

/// Secrets could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes to seal secrets with")]
    Random,
    /// The cipher refused.
    #[error("the secrets are too large to be sealed")]
    TooLarge,
    /// They were sealed with another key, for another resource, or were changed.
    #[error(
        "the secrets under {store_key} cannot be opened: the key file of this daemon is not the one they were sealed with, or they were changed"
    )]
    Closed {
        /// Where they are in the store.
        store_key: String,
    },
    /// What was opened is no bundle of secrets.
    #[error(transparent)]
    Unreadable(#[from] UnreadableSecrets),
}

impl Sealed {
    /// Seals secrets that will stand in the store under `store_key`.
    pub fn seal(key: &SealingKey, store_key: &str, secrets: &Secrets) -> Result<Self, SealError> {
        Self::seal_bytes(key, store_key, &secrets.to_plaintext()?)
    }

    /// Seals anything that will stand in the store under `store_key`.
    pub fn seal_bytes(
        key: &SealingKey,
        store_key: &str,
        plaintext: &[u8],
    ) -> Result<Self, SealError> {
        let nonce = XNonce::try_generate().map_err(|_| SealError::Random)?;
        let bound = bound_to(store_key);
        let payload = Payload {
            msg: plaintext,
            aad: bound.as_bytes(),
        };
        let sealed = cipher(key).encrypt(&nonce, payload);
        Ok(Self {
            nonce: STANDARD_NO_PAD.encode(nonce),
            sealed: STANDARD_NO_PAD.encode(sealed.map_err(|_| SealError::TooLarge)?),
        })
    }

    /// Opens what stood in the store under `store_key`.
    pub fn open(&self, key: &SealingKey, store_key: &str) -> Result<Secrets, SealError> {
        Ok(Secrets::from_plaintext(&self.open_bytes(key, store_key)?)?)
    }

    /// Opens what [`Self::seal_bytes`] sealed.
    pub fn open_bytes(
        &self,
        key: &SealingKey,
        store_key: &str,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        self.decrypted(key, store_key)
            .ok_or_else(|| SealError::Closed {
                store_key: store_key.to_owned(),
            })
    }

    fn decrypted(&self, key: &SealingKey, store_key: &str) -> Option<Zeroizing<Vec<u8>>> {
        let nonce: [u8; 24] = STANDARD_NO_PAD.decode(&self.nonce).ok()?.try_into().ok()?;
        let sealed = STANDARD_NO_PAD.decode(&self.sealed).ok()?;
        let bound = bound_to(store_key);
        let payload = Payload {
            msg: &sealed,
            aad: bound.as_bytes(),
        };
        let opened = cipher(key).decrypt(&XNonce::from(nonce), payload);
        opened.ok().map(Zeroizing::new)
    }
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

fn bound_to(store_key: &str) -> String {
    format!("{FORM}{store_key}")
}

#[cfg(test)]
mod tests {
    use lote_model::secret::{SecretText, SecretValue};

    use super::*;

    fn key() -> SealingKey {
        SealingKey::new([7; 32])
    }

    fn secrets(text: &str) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.insert(
            "/properties/secrets/0/value",
            SecretValue::Text(SecretText::new(text)),
        );
        secrets
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_with_its_key() {
        let sealed = Sealed::seal(&key(), "secrets/jobs/a", &secrets("hunter2")).unwrap();
        let opened = sealed.open(&key(), "secrets/jobs/a").unwrap();
        assert!(opened == secrets("hunter2"));
        for (key, place) in [
            (key(), "secrets/jobs/b"),
            (key(), "secrets/clusters/a"),
            (SealingKey::new([8; 32]), "secrets/jobs/a"),
        ] {
            let error = sealed.open(&key, place).unwrap_err();
            assert!(matches!(error, SealError::Closed { .. }), "{error}");
        }
    }

    #[test]
    fn the_stored_form_shows_nothing_and_is_never_the_same_twice() {
        let seal = || Sealed::seal(&key(), "k", &secrets("hunter2")).unwrap();
        let stored = serde_json::to_string(&seal()).unwrap();
        assert!(!stored.contains("hunter2"), "{stored}");
        assert_ne!(seal(), seal());
    }

    proptest::proptest! {
        /// Whatever is changed in the store, a changed bundle does not open.
        #[test]
        fn a_changed_bundle_stays_closed(at in 0usize..60, bit in 0u8..8) {
            let mut sealed = Sealed::seal(&key(), "k", &secrets("hunter2")).unwrap();
            let mut bytes = STANDARD_NO_PAD.decode(&sealed.sealed).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            sealed.sealed = STANDARD_NO_PAD.encode(bytes);
            proptest::prop_assert!(sealed.open(&key(), "k").is_err());
        }
    }
}
