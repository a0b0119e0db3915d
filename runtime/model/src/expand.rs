//! Expansion of `$NAME` and `${NAME}` in paths and values, as a shell does it
//! inside double quotes, without running anything.

/// Replaces every `$NAME` and `${NAME}` in `text` by what `lookup` gives; an
/// undefined variable becomes nothing, as in a shell (capabilities §6.1). A `$`
/// that starts no name stays.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match reference(rest) {
            Some((name, length)) => {
                expanded.push_str(&lookup(name).unwrap_or_default());
                rest = &rest[length..];
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

/// The variable name at the start of `text` (just after a `$`) and how many
/// bytes the reference takes.
fn reference(text: &str) -> Option<(&str, usize)> {
    if let Some(braced) = text.strip_prefix('{') {
        let end = braced.find('}')?;
        return is_name(&braced[..end]).then_some((&braced[..end], end + 2));
    }
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    is_name(&text[..end]).then_some((&text[..end], end))
}

/// Whether `text` can name an environment variable: a letter or `_`, then
/// letters, digits and `_`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "ROOT").then(|| "/r".to_owned())
    }

    #[test]
    fn follows_the_shell() {
        for (text, expected) in [
            ("$ROOT/logs", "/r/logs"),
            ("${ROOT}x", "/rx"),
            ("$ROOTx", ""),
            ("a$NONE-b", "a-b"),
            ("5$", "5$"),
            ("$1", "$1"),
            ("${bad name}", "${bad name}"),
            ("${ROOT", "${ROOT"),
            ("$$ROOT", "$/r"),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_without_dollar_is_untouched(text in "[^$]*") {
            proptest::prop_assert_eq!(expand(&text, lookup), text);
        }
    }
}
