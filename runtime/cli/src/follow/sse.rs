//! Server-sent events, as far as Lote needs them: something has happened.

use std::io::{BufRead, BufReader, Read};

/// Reads a stream of events and calls `heard` with the name of each, until the
/// stream ends or `heard` says no. Comments, which keep a connection alive, are no
/// events.
pub fn listen(stream: impl Read, mut heard: impl FnMut(&str) -> bool) -> std::io::Result<()> {
    let mut name = String::new();
    let mut has_data = false;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            if std::mem::take(&mut has_data) && !heard(&name) {
                return Ok(());
            }
            name.clear();
        } else if let Some(rest) = line.strip_prefix("event:") {
            rest.trim_start().clone_into(&mut name);
        } else if line.starts_with("data:") {
            has_data = true;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_comments() {
        let text = ": hello\n\nevent: status\nid: 7\ndata: {}\n\n:\n\ndata: 1\ndata: 2\n\nevent: empty\n\nevent: unfinished\ndata: 3\n";
        let mut names = Vec::new();
        listen(text.as_bytes(), |name| {
            names.push(name.to_owned());
            true
        })
        .unwrap();
        assert_eq!(names, ["status", ""]);
    }

    #[test]
    fn a_listener_can_stop() {
        let mut count = 0;
        listen("data: 1\n\ndata: 2\n\n".as_bytes(), |_| {
            count += 1;
            false
        })
        .unwrap();
        assert_eq!(count, 1);
    }
}
