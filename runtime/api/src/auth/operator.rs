//! Tokens from the operator's file: how the first administrator gets in where
//! nobody can reach the daemon over loopback, or after all tokens are lost.

use super::secret::{Hash, hash};

/// The shortest token that a file may hold: 128 bits in hexadecimal digits.
const LENGTH_MIN: usize = 32;

/// The longest.
const LENGTH_MAX: usize = 512;

/// The administrators of the operator's file. Only hashes are kept.
#[derive(Clone, Debug, Default)]
pub struct OperatorTokens(Vec<OperatorToken>);

#[derive(Clone, Debug)]
struct OperatorToken {
    name: String,
    hash: Hash,
}

/// What is wrong with a line of the file. Never says what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorTokensError {
    /// It is not a name and a token.
    #[error("line {0} must be a name and a token with a space between them")]
    Line(usize),
    /// The token has characters that do not travel.
    #[error(
        "the token in line {0} must have {LENGTH_MIN} to {LENGTH_MAX} letters, digits, '-' and '_', \
         such as `openssl rand -hex 32` prints"
    )]
    Token(usize),
    /// Two lines have the same name or the same token.
    #[error("line {0} repeats a name or a token")]
    Repeated(usize),
    /// There is none.
    #[error("there is no token in it")]
    Empty,
}

impl OperatorTokens {
    /// Reads the file's content: a name and a token in each line. Empty lines and
    /// lines that begin with `#` say nothing.
    pub fn parse(text: &str) -> Result<Self, OperatorTokensError> {
        let mut tokens: Vec<OperatorToken> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = read_line(line, number)?;
            let known =
                |other: &OperatorToken| other.name == token.name || other.hash.is(&token.hash);
            if tokens.iter().any(known) {
                return Err(OperatorTokensError::Repeated(number));
            }
            tokens.push(token);
        }
        if tokens.is_empty() {
            return Err(OperatorTokensError::Empty);
        }
        Ok(Self(tokens))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token it is. Every one is compared, so that the time does not tell
    /// which is near.
    pub(super) fn find(&self, text: &str) -> Option<&str> {
        let shown = hash(text);
        let mut found = None;
        for token in &self.0 {
            if token.hash.is(&shown) {
                found = Some(token.name.as_str());
            }
        }
        found
    }
}

fn read_line(line: &str, number: usize) -> Result<OperatorToken, OperatorTokensError> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(text), None) = (words.next(), words.next(), words.next()) else {
        return Err(OperatorTokensError::Line(number));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&text.len()) || !text.chars().all(plain) {
        return Err(OperatorTokensError::Token(number));
    }
    Ok(OperatorToken {
        name: name.to_owned(),
        hash: hash(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_with_tokens() {
        let (one, two) = ("1".repeat(64), "2".repeat(32));
        let text = format!("# admins\n\nroot {one}\n  ops\t{two}  \n");
        let tokens = OperatorTokens::parse(&text).unwrap();
        assert_eq!(tokens.find(&one), Some("root"));
        assert_eq!(tokens.find(&two), Some("ops"));
        assert_eq!(tokens.find(&two[1..]), None);
        assert!(!format!("{tokens:?}").contains(&one));
    }

    #[test]
    fn slips_are_told_without_telling_the_token() {
        let good = "x".repeat(40);
        for (text, expected) in [
            (String::new(), OperatorTokensError::Empty),
            ("# nothing".into(), OperatorTokensError::Empty),
            (good.clone(), OperatorTokensError::Line(1)),
            (format!("\na b {good}"), OperatorTokensError::Line(2)),
            ("root short".into(), OperatorTokensError::Token(1)),
            (format!("root {good}.x"), OperatorTokensError::Token(1)),
            (
                format!("a {good}\nb {good}"),
                OperatorTokensError::Repeated(2),
            ),
            (
                format!("a {good}\na {good}y"),
                OperatorTokensError::Repeated(2),
            ),
        ] {
            let error = OperatorTokens::parse(&text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains(&good));
        }
    }
}
