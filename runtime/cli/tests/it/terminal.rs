//! A terminal that remembers what was written to it, and a command run on it.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser as _;
use lote_cli::console::{Console, Kind};
use lote_cli::follow::interrupt::Interrupts;
use lote_cli::output::Style;
use lote_cli::settings::Surroundings;
use lote_cli::{Cli, Invocation, run_with};

/// A stream that is kept.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until a text has been written.
    pub(crate) fn wait_for(&self, text: &str) {
        let start = Instant::now();
        while !self.text().contains(text) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "'{text}' never came, only:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// What a command left.
pub(crate) struct Run {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A terminal and the folder that stands for the user's home.
pub(crate) struct Terminal {
    pub(crate) out: Kept,
    pub(crate) err: Kept,
    pub(crate) home: tempfile::TempDir,
    pub(crate) live: bool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self {
            out: Kept::default(),
            err: Kept::default(),
            home: tempfile::tempdir().unwrap(),
            live: false,
        }
    }

    /// Runs a command line, words separated by spaces, against the daemon at `url`.
    pub(crate) fn run(&self, url: &str, line: &str) -> Run {
        self.run_interrupted(url, line, &|| Box::new(std::iter::empty()))
    }

    pub(crate) fn run_interrupted(
        &self,
        url: &str,
        line: &str,
        interrupts: &dyn Fn() -> Interrupts,
    ) -> Run {
        let words = ["lote", "--url", url].into_iter().chain(line.split(' '));
        let Invocation::Client(client) = Cli::try_parse_from(words).unwrap().into_invocation()
        else {
            panic!("that is the daemon")
        };
        let kind = Kind {
            style_out: Style::Plain,
            style_err: Style::Plain,
            live: self.live,
            can_ask: false,
        };
        let console = Console::new(Box::new(self.out.clone()), Box::new(self.err.clone()), kind);
        let code = run_with(*client, &self.surroundings(), &console, interrupts);
        Run {
            code,
            out: self.out.text(),
            err: self.err.text(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            variables: [("HOME".to_owned(), self.home.path().display().to_string())].into(),
            current_directory: Some("/home/u/code".into()),
        }
    }
}

/// Runs one command on a terminal of its own.
pub(crate) fn run(url: &str, line: &str) -> Run {
    Terminal::new().run(url, line)
}
