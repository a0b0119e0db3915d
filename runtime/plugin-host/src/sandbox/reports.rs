//! What a plugin says for the log.

/// Lines kept per call; a plugin that reports in a loop must not fill the daemon.
const MAX_LINES: usize = 64;

/// Bytes kept per line.
const MAX_LINE_BYTES: usize = 2 << 10;

/// Lines that an error shows.
const LAST_WORDS: usize = 3;

/// How a panic's text begins.
const PANIC: &str = "panicked at ";

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// Worth a line.
    Info,
    /// Somebody should look at it.
    Warning,
    /// It went wrong.
    Error,
}

/// A line that a plugin said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// How important it is.
    pub level: Level,
    /// The line.
    pub text: String,
}

/// The lines of one call: the last [`MAX_LINES`].
#[derive(Debug, Default)]
pub(crate) struct Reports {
    lines: std::collections::VecDeque<Report>,
}

impl Reports {
    pub(crate) fn add(&mut self, level: Level, text: &str) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        let text = shortened(text);
        self.lines.push_back(Report { level, text });
    }

    /// All lines, those of the standard error of WASI programs last.
    pub(crate) fn into_list(mut self, standard_error: &str) -> Vec<Report> {
        for line in standard_error.lines() {
            self.add(Level::Warning, line);
        }
        self.lines.into()
    }
}

/// The text of the last panic.
pub(crate) fn panic_text(reports: &[Report]) -> Option<String> {
    let found = reports
        .iter()
        .rev()
        .find(|report| report.text.contains(PANIC));
    found.map(|report| report.text.replace('\n', " "))
}

/// The last lines before the end, without the panic.
pub(crate) fn last_words(reports: &[Report]) -> Vec<String> {
    let lines: Vec<String> = reports
        .iter()
        .filter(|report| !report.text.contains(PANIC))
        .map(|report| report.text.clone())
        .collect();
    let skip = lines.len().saturating_sub(LAST_WORDS);
    lines.into_iter().skip(skip).collect()
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_its_last_lines() {
        let mut reports = Reports::default();
        for number in 0..1_000 {
            reports.add(Level::Info, &format!("{number} {}", "ä".repeat(4_000)));
        }
        let list = reports.into_list("the end");
        assert_eq!(list.len(), MAX_LINES);
        assert!(
            list.iter()
                .all(|report| report.text.len() <= MAX_LINE_BYTES)
        );
        assert!(list[MAX_LINES - 2].text.starts_with("999 "));
        assert_eq!(last_words(&list[MAX_LINES - 1..]), ["the end"]);
    }

    #[test]
    fn a_panic_is_found_and_not_told_twice() {
        let mut reports = Reports::default();
        reports.add(Level::Info, "before");
        reports.add(Level::Error, "panicked at src/lib.rs:1:1:\nno");
        let list = reports.into_list("");
        assert_eq!(panic_text(&list).unwrap(), "panicked at src/lib.rs:1:1: no");
        assert_eq!(last_words(&list), ["before"]);
    }
}
