//! The terminal, or what stands in its place: two streams and a status line.

use std::io::{IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::output::Style;

/// Where a command writes. Clones share the streams.
#[derive(Clone)]
pub struct Console {
    streams: Arc<Mutex<Streams>>,
    kind: Kind,
}

/// What the streams are.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// How standard output looks.
    pub style_out: Style,
    /// How standard error looks.
    pub style_err: Style,
    /// Whether a line on standard error can be written over.
    pub live: bool,
    /// Whether a question can be asked and answered.
    pub can_ask: bool,
}

struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Whether the last thing on the screen is a status line.
    status_shown: bool,
    /// Whether output is at the beginning of a line there.
    at_line_start: bool,
}

/// Back to the beginning of the line, and erase it.
const ERASE_LINE: &[u8] = b"\r\x1b[K";

impl Console {
    /// The process's own streams.
    pub fn of_process() -> Self {
        let no_color = std::env::var("NO_COLOR").ok();
        let term = std::env::var("TERM").ok();
        let style = |terminal: bool| Style::choose(terminal, no_color.as_deref(), term.as_deref());
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let kind = Kind {
            style_out: style(out.is_terminal()),
            style_err: style(err.is_terminal()),
            live: err.is_terminal() && term.as_deref() != Some("dumb"),
            can_ask: err.is_terminal() && std::io::stdin().is_terminal(),
        };
        Self::new(Box::new(out), Box::new(err), kind)
    }

    /// Any streams.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, kind: Kind) -> Self {
        let streams = Streams {
            out,
            err,
            status_shown: false,
            at_line_start: true,
        };
        Self {
            streams: Arc::new(Mutex::new(streams)),
            kind,
        }
    }

    /// How standard output looks.
    pub fn style_out(&self) -> Style {
        self.kind.style_out
    }

    /// How standard error looks.
    pub fn style_err(&self) -> Style {
        self.kind.style_err
    }

    /// Whether [`Console::status`] shows anything.
    pub fn is_live(&self) -> bool {
        self.kind.live
    }

    /// Writes an answer, or a piece of a job's standard output, and flushes it.
    pub fn out(&self, bytes: &[u8]) {
        self.with(|streams| streams.write(bytes, true));
    }

    /// Writes a piece of a job's standard error and flushes it.
    pub fn err(&self, bytes: &[u8]) {
        self.with(|streams| streams.write(bytes, false));
    }

    /// Writes a message of `lote` itself to standard error, on lines of its own.
    pub fn error(&self, text: &str) {
        let live = self.kind.live;
        self.with(|streams| {
            if live && !streams.at_line_start {
                streams.write(b"\n", false);
            }
            streams.write(text.as_bytes(), false);
        });
    }

    /// Shows a line that the next output replaces. Nothing where lines stay, or
    /// in the middle of a job's line.
    pub fn status(&self, text: &str) {
        if self.kind.live {
            self.with(|streams| streams.status(text));
        }
    }

    /// Takes the status line away.
    pub fn clear_status(&self) {
        self.with(Streams::clear_status);
    }

    /// Asks a question; only `y` and `yes` are a yes. None if nobody can answer.
    pub fn confirm(&self, question: &str) -> Option<bool> {
        if !self.kind.can_ask {
            return None;
        }
        self.error(&format!("{question} [y/N] "));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }

    fn with(&self, act: impl FnOnce(&mut Streams)) {
        // A thread that panicked while writing leaves nothing half done that matters.
        act(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Streams {
    /// A reader that went away (`lote job logs j | head`) is no reason to stop
    /// following a job, so failures to write are not told.
    fn write(&mut self, bytes: &[u8], out: bool) {
        self.clear_status();
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
        let stream = if out { &mut self.out } else { &mut self.err };
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    fn status(&mut self, text: &str) {
        if !self.at_line_start {
            return;
        }
        let line: String = text.chars().filter(|c| !c.is_control()).collect();
        let _ = self
            .err
            .write_all(ERASE_LINE)
            .and_then(|()| self.err.write_all(line.as_bytes()))
            .and_then(|()| self.err.flush());
        self.status_shown = true;
    }

    fn clear_status(&mut self) {
        if std::mem::take(&mut self.status_shown) {
            let _ = self
                .err
                .write_all(ERASE_LINE)
                .and_then(|()| self.err.flush());
        }
    }
}
