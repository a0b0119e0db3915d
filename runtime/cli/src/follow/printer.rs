//! Where pieces of a job's output go.

use std::sync::{Arc, Mutex, PoisonError};

use super::files::{StreamFile, Target};
use super::prefix::Prefixer;
use crate::console::Console;

/// Shows output of files on the terminal's two streams. Clones share the state.
#[derive(Clone)]
pub struct Printer {
    console: Console,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Default)]
struct Lines {
    labelled: bool,
    out: Prefixer,
    err: Prefixer,
}

impl Printer {
    /// Shows output on `console`, for now without labels.
    pub fn new(console: &Console) -> Self {
        Self {
            console: console.clone(),
            lines: Arc::default(),
        }
    }

    /// From now on every line says whose it is.
    pub fn label_lines(&self) {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .labelled = true;
    }

    /// Shows a piece of a file, at once.
    pub fn show(&self, file: &StreamFile, piece: &[u8]) {
        // The lock is held while writing, so that pieces are shown in the order
        // in which they were labelled.
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let labelled = lines.labelled && !file.label.is_empty();
        let prefixer = match file.target {
            Target::Out => &mut lines.out,
            Target::Err => &mut lines.err,
        };
        let bytes = if labelled {
            prefixer.feed(&file.label, piece)
        } else {
            piece.to_vec()
        };
        match file.target {
            Target::Out => self.console.out(&bytes),
            Target::Err => self.console.err(&bytes),
        }
    }
}
