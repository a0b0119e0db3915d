//! How a certificate is named: the SHA-256 of its DER form.

use std::fmt;

use crate::problem::Problem;

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Reads `sha256:` and 64 hexadecimal digits; also without the prefix, in
    /// capitals, and with colons, as `openssl x509 -fingerprint` prints it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            let message = "a fingerprint is `sha256:` and 64 hexadecimal digits, as the daemon \
                           prints it at its start";
            Problem::invalid("fingerprint", message)
        };
        let text = text.trim();
        let digits = match text.split_at_checked("sha256:".len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("sha256:") => rest,
            _ => text,
        };
        let digits: Vec<u8> = digits
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_of_other_tools_are_read() {
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at * 8).unwrap());
        let plain = Fingerprint(bytes).to_string();
        let hex = plain.strip_prefix("sha256:").unwrap();
        let colons: Vec<&str> = (0..32).map(|at| &hex[2 * at..2 * at + 2]).collect();
        for text in [
            plain.clone(),
            plain.to_uppercase(),
            hex.to_owned(),
            colons.join(":"),
            format!(" SHA256:{}\n", colons.join(":")),
        ] {
            assert_eq!(Fingerprint::parse(&text).unwrap().0, bytes, "{text}");
        }
        for bad in ["", "sha256:", &hex[1..], &format!("{hex}0"), "ü", "zz"] {
            assert!(Fingerprint::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(bytes in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint(bytes);
            prop_assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Ok(fingerprint));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = Fingerprint::parse(&text);
        }
    }
}
