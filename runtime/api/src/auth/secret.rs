//! Making tokens, and comparing them.
//!
//! A secret has 256 random bits. Nobody can try that many, so a plain SHA-256
//! keeps it; hashes that are slow on purpose are for passwords, and would only
//! slow down every request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lote_model::access::token::{TokenId, TokenText};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A new token: its id, and the text that its owner is shown once.
pub(crate) struct NewToken {
    /// Its public part.
    pub(crate) id: TokenId,
    /// The whole text.
    pub(crate) text: String,
    /// What is stored of the secret part.
    pub(crate) secret_hash: String,
    /// The end of the secret part.
    pub(crate) last_four: String,
}

/// Makes a token from the system's random source.
pub(crate) fn generate() -> Result<NewToken, getrandom::Error> {
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    getrandom::fill(&mut id)?;
    getrandom::fill(&mut secret)?;
    let id = TokenId::from_bits(u64::from_be_bytes(id));
    let secret = URL_SAFE_NO_PAD.encode(secret);
    Ok(NewToken {
        text: TokenText::compose(&id, &secret),
        secret_hash: hash(&secret).to_string(),
        last_four: secret.chars().skip(secret.len() - 4).collect(),
        id,
    })
}

/// The SHA-256 of a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash([u8; 32]);

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> Hash {
    Hash(Sha256::digest(secret).into())
}

impl Hash {
    /// Compares in a time that does not tell where the two differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Whether this is the hash that was stored as text.
    pub(crate) fn is_stored_as(&self, text: &str) -> bool {
        let own = self.to_string();
        own.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| f.write_fmt(format_args!("{byte:02x}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_what_is_stored_of_it() {
        let token = generate().unwrap();
        let read = TokenText::parse(&token.text).unwrap();
        assert_eq!(read.id(), Some(token.id.clone()));
        assert!(hash(read.secret()).is_stored_as(&token.secret_hash));
        assert!(!hash("x").is_stored_as(&token.secret_hash));
        assert!(!hash(read.secret()).is_stored_as(""));
        assert!(token.text.ends_with(&token.last_four));
        assert!(!token.secret_hash.contains(read.secret()));
        assert_ne!(generate().unwrap().text, token.text);
    }

    #[test]
    fn tokens_have_256_bits_and_travel_in_urls() {
        let token = generate().unwrap();
        let secret = TokenText::parse(&token.text).unwrap().secret().to_owned();
        assert_eq!(URL_SAFE_NO_PAD.decode(&secret).unwrap().len(), 32);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(token.text.chars().all(plain), "{}", token.text);
    }

    #[test]
    fn the_hash_is_sha_256() {
        assert_eq!(
            hash("abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
