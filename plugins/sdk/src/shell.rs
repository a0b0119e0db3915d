//! Command lines whose variables the node's shell expands.
//!
//! Batch AI's paths and arguments are shell text: `$AZ_BATCHAI_INPUT_CODE/train.py`.
//! Users rarely quote them, yet a mount or a file name may contain a space.

/// A path given as shell text, as one word of a command line.
///
/// Text without quotes is put into double quotes: variables are expanded, spaces
/// keep the word together. Text in which the user has quoted something already is
/// left alone.
pub fn path_word(text: &str) -> String {
    let text = text.trim();
    if text.contains(['"', '\'', '\\']) {
        return text.to_owned();
    }
    match text.strip_prefix("~/") {
        // The shell knows a home folder only outside quotes.
        Some(rest) => format!("~/\"{rest}\""),
        None => format!("\"{text}\""),
    }
}

/// A text as one word that the shell takes literally.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Joins the words that are not empty.
pub fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words
        .into_iter()
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What a program gets to see of a path, through a real shell.
    fn seen(path: &str) -> String {
        let output = Command::new("bash")
            .args(["-c", &format!("printf '[%s]' {}", path_word(path))])
            .env("DIR", "/data set")
            .env("HOME", "/home/me")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_path_stays_one_word() {
        assert_eq!(seen("$DIR/a b.py"), "[/data set/a b.py]");
        assert_eq!(seen("${DIR}/train.py "), "[/data set/train.py]");
        assert_eq!(seen("\"$DIR/a b.py\""), "[/data set/a b.py]");
        assert_eq!(seen(r"/my\ file"), "[/my file]");
        assert_eq!(seen("~/a b.py"), "[/home/me/a b.py]");
        assert_eq!(seen("a;b&c"), "[a;b&c]");
    }

    #[test]
    fn a_quoted_text_is_taken_literally() {
        for text in ["", "$DIR/it's \"here\" `x` \\", "two\nlines"] {
            let script = format!("printf %s {}", quoted(text));
            let output = Command::new("bash").args(["-c", &script]).output();
            assert_eq!(output.unwrap().stdout, text.as_bytes());
        }
    }

    #[test]
    fn a_line_has_no_empty_words() {
        assert_eq!(line(["exec python", "", " --x 1\n"]), "exec python --x 1");
    }
}
