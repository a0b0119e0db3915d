//! Sizes as people write them.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// A number of bytes, written as a number or as `"80 GiB"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Bytes(pub(crate) u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => parse(&text).ok_or_else(|| {
                de::Error::custom(format!("'{text}' is no size such as \"512 MiB\""))
            }),
        }
    }
}

fn parse(text: &str) -> Option<Bytes> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(1 << shift).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse("80 GiB"), Some(Bytes(80 << 30)));
        assert_eq!(parse("512MiB"), Some(Bytes(512 << 20)));
        assert_eq!(parse("17"), Some(Bytes(17)));
        for bad in ["", "GiB", "1 GB", "-1 GiB", "99999999999 GiB", "1.5 GiB"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
