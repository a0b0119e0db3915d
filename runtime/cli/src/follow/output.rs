//! The output files of a job that is followed, each copied by a thread.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lote_model::environment::output_file;
use lote_model::job::STDOUTERR;
use lote_model::path::JobPath;
use serde::Deserialize;

use super::News;
use super::files::{StreamFile, need_labels};
use super::printer::Printer;
use crate::answer::File;
use crate::console::Console;
use crate::failure::Failure;
use crate::http::Client;
use crate::place;

/// The largest piece that is read at once.
const PIECE_LENGTH: usize = 64 << 10;

/// A copy that came to an end before the job did is started again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The output files of one job.
pub(super) struct Outputs {
    client: Client,
    path: JobPath,
    printer: Printer,
    only: Option<String>,
    sender: Sender<News>,
    copies: BTreeMap<String, Copy>,
    last_byte: Arc<Mutex<Instant>>,
}

/// What of a plan tells the names of output files.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Planned {
    processes: Vec<PlannedProcess>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PlannedProcess {
    output: Option<String>,
}

/// How far one file is.
struct Copy {
    shown_bytes: Arc<AtomicU64>,
    active: Arc<AtomicBool>,
    started: Instant,
}

impl Copy {
    fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    fn has_shown(&self, length: u64) -> bool {
        self.shown_bytes.load(Ordering::Acquire) >= length
    }
}

impl Outputs {
    pub(super) fn new(
        client: &Client,
        path: &JobPath,
        console: &Console,
        only: Option<String>,
        sender: Sender<News>,
    ) -> Self {
        Self {
            client: client.clone(),
            path: path.clone(),
            printer: Printer::new(console),
            only,
            sender,
            copies: BTreeMap::new(),
            last_byte: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Copies the files that the plan names, which may not exist yet, and all
    /// others that are found. True when all that there is has been shown.
    pub(super) fn attend(&mut self, ended: bool) -> Result<bool, Failure> {
        if !ended {
            self.expect();
        }
        let files = self.list()?;
        if self.only.is_none() && need_labels(files.iter().map(|file| file.name.as_str())) {
            self.printer.label_lines();
        }
        let mut complete = true;
        for file in files {
            let length = file.properties.content_length.unwrap_or_default();
            complete &= self.attend_file(&file.name, length, ended);
        }
        Ok(complete)
    }

    /// Asks for files before they exist: the daemon then sends the first byte as
    /// soon as it is written, which no look at a list could match.
    fn expect(&mut self) {
        if self.is_expecting() {
            let names = match &self.only {
                Some(only) => vec![only.clone()],
                None => self.planned_files(),
            };
            for name in names {
                self.copy(&name);
            }
        }
    }

    /// The names in the plan; none while there is no plan. The plan also says
    /// whether there are several processes to be told apart.
    fn planned_files(&self) -> Vec<String> {
        let url = format!("{}/plan", place::job(&self.path));
        let plan: Planned = self
            .client
            .get_as("read the plan", &url)
            .unwrap_or_default();
        if plan.processes.len() > 1 {
            self.printer.label_lines();
        }
        let label = |process: &PlannedProcess| process.output.clone();
        let labels = plan.processes.iter().map(label);
        labels
            .flat_map(|label| {
                ["stdout", "stderr"].map(|stream| output_file(stream, label.as_deref()))
            })
            .collect()
    }

    fn attend_file(&mut self, name: &str, length: u64, ended: bool) -> bool {
        if let Some(copy) = self.copies.get(name) {
            if copy.is_active() {
                return false;
            }
            let shown = copy.has_shown(length);
            if (shown && ended) || copy.started.elapsed() < AGAIN_AFTER {
                return shown;
            }
        } else if ended && length == 0 {
            return true;
        }
        self.copy(name);
        false
    }

    /// Whether neither a file nor a plan has been seen yet.
    pub(super) fn is_expecting(&self) -> bool {
        self.copies.is_empty()
    }

    /// How long no byte has come.
    pub(super) fn quiet_for(&self) -> Duration {
        self.last_byte
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    fn list(&self) -> Result<Vec<File>, Failure> {
        let action = format!("list the output of job '{}'", self.path.job);
        let files: Vec<File> = list_files(&self.client, &action, &self.path, STDOUTERR, ".")?;
        let wanted = |file: &File| match &self.only {
            Some(only) => file.name == *only,
            None => StreamFile::parse(&file.name).is_some(),
        };
        Ok(files.into_iter().filter(wanted).collect())
    }

    /// Starts a thread that copies a file from where the last one stopped.
    fn copy(&mut self, name: &str) {
        let shown_bytes = self
            .copies
            .get(name)
            .map(|copy| copy.shown_bytes.clone())
            .unwrap_or_default();
        let copy = Copy {
            shown_bytes,
            active: Arc::new(AtomicBool::new(true)),
            started: Instant::now(),
        };
        let copier = Copier {
            client: self.client.clone(),
            url: log_url(&self.path, name, true),
            file: StreamFile::named(name),
            printer: self.printer.clone(),
            shown_bytes: copy.shown_bytes.clone(),
            last_byte: self.last_byte.clone(),
        };
        let (active, sender) = (copy.active.clone(), self.sender.clone());
        std::thread::spawn(move || {
            copier.run();
            active.store(false, Ordering::Release);
            // Nobody listens any more when the process is about to end.
            let _ = sender.send(News::FileEnded);
        });
        self.copies.insert(name.to_owned(), copy);
    }
}

struct Copier {
    client: Client,
    url: String,
    file: StreamFile,
    printer: Printer,
    shown_bytes: Arc<AtomicU64>,
    last_byte: Arc<Mutex<Instant>>,
}

impl Copier {
    /// Copies until the stream ends or breaks; either way the main thread looks
    /// whether that was all.
    fn run(&self) {
        let Ok(mut stream) = self.client.stream("read output", &self.url, "*/*") else {
            return;
        };
        // A stream always begins with the file; what was shown before is passed over.
        // A job that is started again appends to its files, so that stays right.
        let mut known = self.shown_bytes.load(Ordering::Acquire);
        let mut piece = vec![0; PIECE_LENGTH];
        while let Ok(length) = stream.read(&mut piece) {
            if length == 0 {
                return;
            }
            *self
                .last_byte
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Instant::now();
            let passed_over = usize::try_from(known).unwrap_or(usize::MAX).min(length);
            known -= passed_over as u64;
            if passed_over < length {
                self.printer.show(&self.file, &piece[passed_over..length]);
                self.shown_bytes
                    .fetch_add((length - passed_over) as u64, Ordering::AcqRel);
            }
        }
    }
}

/// The URL of one output file's content.
pub(crate) fn log_url(path: &JobPath, file: &str, follow: bool) -> String {
    let follow = if follow { "true" } else { "false" };
    place::with_query(
        &format!("{}/logs", place::job(path)),
        &[("file", file), ("follow", follow)],
    )
}

/// The files of one directory of a job.
pub(crate) fn list_files(
    client: &Client,
    action: &str,
    path: &JobPath,
    directory: &str,
    below: &str,
) -> Result<Vec<File>, Failure> {
    let values = client.list_by_post(action, &files_url(path, directory, below))?;
    values
        .iter()
        .map(|value| client.understood(action, value))
        .collect()
}

/// The URL of the list of one directory of a job.
pub(crate) fn files_url(path: &JobPath, directory: &str, below: &str) -> String {
    place::with_query(
        &format!("{}/listOutputFiles", place::job(path)),
        &[("outputdirectoryid", directory), ("directory", below)],
    )
}
