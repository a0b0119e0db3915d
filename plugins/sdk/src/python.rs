//! Command lines that run a Python script.

use crate::shell;

/// Batch AI ran `python`. Debian has only `python3`; where there is neither, the
/// shell says that it found no `python`.
const ANY_PYTHON: &str = r#""$(command -v python || command -v python3 || echo python)""#;

/// The interpreter of a path that the user may have left out, as one shell word.
pub fn interpreter(path: Option<&str>) -> String {
    match path.map(str::trim) {
        None | Some("") => ANY_PYTHON.to_owned(),
        Some(path) => shell::path_word(path),
    }
}

/// The shell line that becomes the interpreter with a script and its arguments. All
/// three are shell text, as users write it.
pub fn line(
    interpreter_path: Option<&str>,
    script: Option<&str>,
    arguments: Option<&str>,
) -> String {
    let interpreter = interpreter(interpreter_path);
    let script = shell::path_word(script.unwrap_or_default());
    shell::line(["exec", &interpreter, &script, arguments.unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_becomes_one_line() {
        assert_eq!(
            line(
                Some(" /opt/my env/python "),
                Some("$DIR/train.py"),
                Some(" --x 1\n")
            ),
            r#"exec "/opt/my env/python" "$DIR/train.py" --x 1"#
        );
    }

    #[test]
    fn without_a_path_any_python_will_do() {
        for path in [None, Some(""), Some("  ")] {
            let line = line(path, Some("train.py"), None);
            assert_eq!(line, format!("exec {ANY_PYTHON} \"train.py\""));
        }
    }
}
