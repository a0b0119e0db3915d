//! Signed tokens: text that a client carries and cannot change.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// Longer tokens are not ours; a bound on the work for strangers' ones.
const TOKEN_LENGTH_MAX: usize = 16 * 1024;

/// The length of an HMAC-SHA256 in bytes.
const MAC_LENGTH: usize = 32;

/// Makes and opens tokens with one secret key.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    /// One that signs with `key`.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        // HMAC pads a short key with zeros to the block size of its hash.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    /// A token that holds `payload`; one made for a purpose opens for no other.
    pub(crate) fn seal(&self, purpose: &str, payload: &impl Serialize) -> String {
        let payload = serde_json::to_vec(payload).unwrap_or_default();
        let mut token = self.mac(purpose, &payload).finalize().into_bytes().to_vec();
        token.extend_from_slice(&payload);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What a token of that purpose holds; none if it is not one of ours.
    pub(crate) fn open<T: DeserializeOwned>(&self, purpose: &str, token: &str) -> Option<T> {
        if token.len() > TOKEN_LENGTH_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (mac, payload) = bytes.split_at_checked(MAC_LENGTH)?;
        self.mac(purpose, payload).verify_slice(mac).ok()?;
        serde_json::from_slice(payload).ok()
    }

    fn mac(&self, purpose: &str, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(payload);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_for_its_key_and_purpose_only() {
        let signer = Signer::new(&[1; 32]);
        let token = signer.seal("link", &("a", 1));
        assert_eq!(
            signer.open::<(String, u8)>("link", &token),
            Some(("a".into(), 1))
        );
        assert_eq!(signer.open::<(String, u8)>("operation", &token), None);
        assert_eq!(
            Signer::new(&[2; 32]).open::<(String, u8)>("link", &token),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn a_changed_token_never_opens(at in 0_usize..60, replacement in "[A-Za-z0-9_-]") {
            let signer = Signer::new(&[1; 32]);
            let token = signer.seal("link", &"payload");
            let at = at % token.len();
            let mut changed = token.clone();
            changed.replace_range(at..=at, &replacement);
            proptest::prop_assert_eq!(signer.open::<String>("link", &changed).is_some(), changed == token);
        }

        #[test]
        fn strangers_tokens_are_refused(token in ".{0,100}") {
            proptest::prop_assert_eq!(Signer::new(&[1; 32]).open::<String>("link", &token), None);
        }
    }
}
