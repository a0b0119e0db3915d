//! Directories that this node shares with the other nodes of a gang, for as long as a job is here.
//!
//! They are exports like those of file servers, but nobody stores them: whoever carries out the
//! job's plan asks for them and ends them. What is asked for is written down, so that the next
//! daemon goes on serving it before it has read anything else; what no allocation asks for any
//! more is ended at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lote_model::export::ExportState;
use lote_model::id::{FileServerUid, UnixId};
use lote_model::job::ErrorRecord;
use lote_model::planned_mount::GANG_SHARE_ERROR;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::directories;
use crate::mount::resolved;

/// Where the directories are, in the data directory: with everything else that jobs may fill.
const PLACE: &str = "work/shared";

/// The file with what is asked for, in the directory of the server.
const FILE: &str = "shares.json";

/// How long it may take until a directory is served: the server may have to be started.
const SERVE_MAX: Duration = Duration::from_secs(40);

/// How long it may take until one is served no more.
const WITHDRAW_MAX: Duration = Duration::from_secs(30);

/// A directory that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Share {
    /// The user of the job.
    pub(super) owner: UnixId,
    /// The addresses of the other nodes of the gang.
    pub(super) clients: Vec<String>,
}

/// All that are asked for, by the names of their attempts.
pub(super) type Asked = BTreeMap<FileServerUid, Share>;

/// What is asked for, and how often that has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) shares: Asked,
    pub(super) change: u64,
}

/// What has come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Which change it is about.
    pub(super) change: u64,
    /// Those that are served or cannot be, also those that could not be ended yet.
    pub(super) states: BTreeMap<FileServerUid, ExportState>,
}

/// The directories that this node shares.
#[derive(Debug)]
pub(crate) struct Shares {
    place: PathBuf,
    file: PathBuf,
    /// Held while the file and what is asked for change together.
    writing: Mutex<()>,
    asked: watch::Sender<Request>,
    answers: watch::Sender<Answer>,
    /// How long it may take until a directory is served.
    patience: Duration,
}

impl Shares {
    /// With what an earlier daemon was asked for.
    pub(crate) fn open(data_directory: &Path, server_directory: &Path) -> Self {
        let file = server_directory.join(FILE);
        let shares = match fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::error!(%error, file = %file.display(), "cannot read which directories jobs share");
                Asked::new()
            }),
            Err(_) => Asked::new(),
        };
        Self {
            place: place(data_directory),
            file,
            writing: Mutex::new(()),
            asked: watch::Sender::new(Request { shares, change: 0 }),
            answers: watch::Sender::default(),
            patience: SERVE_MAX,
        }
    }

    /// Where the directory of this name is.
    pub(super) fn path(&self, name: &FileServerUid) -> PathBuf {
        self.place.join(name.as_str())
    }

    /// What is asked for, as it changes.
    pub(super) fn asked(&self) -> watch::Receiver<Request> {
        self.asked.subscribe()
    }

    /// Notes what has come of it.
    pub(super) fn answer(&self, answer: Answer) {
        self.answers.send_if_modified(|known| {
            let is_new = *known != answer;
            *known = answer;
            is_new
        });
    }

    /// All there are or have been, by name.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let asked = self.asked.borrow();
        let asked = asked.shares.keys().map(ToString::to_string);
        let left = fs::read_dir(&self.place).into_iter().flatten().flatten();
        let left = left.filter_map(|entry| entry.file_name().into_string().ok());
        asked.chain(left).collect()
    }

    /// Serves a directory to the nodes of these addresses. Returns when it is served.
    pub(crate) async fn serve(
        &self,
        name: &str,
        owner: UnixId,
        clients: Vec<String>,
    ) -> Result<(), ErrorRecord> {
        let name = FileServerUid::new(name);
        let share = Share { owner, clients };
        directories::with_mode(&self.place, 0o711)
            .and_then(|()| self.change(|asked| asked.insert(name.clone(), share)))
            .map_err(|error| failed(&format!("cannot note it: {error}")))?;
        let mut answers = self.answers.subscribe();
        let served = answers
            .wait_for(|answer| matches!(answer.states.get(&name), Some(ExportState::Serving(_))));
        let is_served = matches!(tokio::time::timeout(self.patience, served).await, Ok(Ok(_)));
        if is_served {
            return Ok(());
        }
        Err(match self.answers.borrow().states.get(&name) {
            Some(ExportState::Failed(why)) => {
                let mut error = failed(&why.message);
                error.details.extend(why.details.iter().cloned());
                error
            }
            _ => failed("its NFS server does not say that it serves it"),
        })
    }

    /// Ends what [`serve`](Self::serve) began, and removes the directory with all that is in it.
    /// One that is not there is no error.
    pub(crate) async fn remove(&self, name: &str) {
        let uid = FileServerUid::new(name);
        let change = match self.change(|asked| asked.remove(&uid)) {
            Ok(()) => self.asked.borrow().change,
            Err(error) => {
                tracing::warn!(%error, name, "cannot note that a shared directory is not needed any more");
                return;
            }
        };
        let mut answers = self.answers.subscribe();
        let ended =
            answers.wait_for(|answer| answer.change >= change && !answer.states.contains_key(&uid));
        if tokio::time::timeout(WITHDRAW_MAX, ended).await.is_err() {
            tracing::warn!(
                name,
                "the shared directory of a job is served still and stays behind"
            );
            return;
        }
        let path = self.path(&uid);
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(path)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, name, "the shared directory of a job stays behind");
        }
    }

    /// It is asked for only once it is written down. Nothing is written if nothing changes.
    fn change<T>(&self, change: impl FnOnce(&mut Asked) -> T) -> io::Result<()> {
        let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.asked.borrow().shares.clone();
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(());
        }
        if let Some(directory) = self.file.parent() {
            directories::private(directory)?;
        }
        let text = serde_json::to_vec_pretty(&new)?;
        lote_vault::file::replace(&self.file, &text, 0o600)?;
        self.asked.send_modify(|request| {
            request.shares = new;
            request.change += 1;
        });
        Ok(())
    }
}

/// Where the directories are.
pub(super) fn place(data_directory: &Path) -> PathBuf {
    resolved(data_directory).join(PLACE)
}

fn failed(why: &str) -> ErrorRecord {
    let message = format!("the directory that the nodes of the job share cannot be served: {why}");
    ErrorRecord::new(GANG_SHARE_ERROR, message).with("step", "mount")
}

#[cfg(test)]
mod tests {
    use lote_model::export::{ExportPoint, NfsServer, SizeLimit};

    use super::*;

    fn shares(folder: &Path) -> Shares {
        fs::create_dir_all(folder.join("work")).unwrap();
        Shares::open(folder, &folder.join("nfs"))
    }

    fn serving() -> ExportState {
        ExportState::Serving(ExportPoint {
            server: NfsServer::Ganesha,
            path: "/x".into(),
            nfs_port: 2049,
            mount_port: None,
            versions: Vec::new(),
            size_limit: SizeLimit {
                in_force: false,
                note: String::new(),
            },
        })
    }

    /// Says that all that is asked for is as `state`.
    fn answer(shares: &Shares, state: &ExportState) {
        let request = shares.asked.borrow().clone();
        let states = request.shares.keys();
        shares.answer(Answer {
            change: request.change,
            states: states.map(|uid| (uid.clone(), state.clone())).collect(),
        });
    }

    #[tokio::test]
    async fn what_is_asked_for_survives_the_daemon_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let first = shares(folder.path());
        let mut asked = first.asked();
        let serve = first.serve("u1.1", UnixId(7), vec!["10.0.0.5".into()]);
        let server = async {
            asked.changed().await.unwrap();
            answer(&first, &serving());
        };
        let (served, ()) = tokio::join!(serve, server);
        served.unwrap();
        fs::create_dir(folder.path().join("work/shared/u1.1")).unwrap();

        let next = shares(folder.path());
        let known = next.asked().borrow().shares.clone();
        assert_eq!(known[&FileServerUid::new("u1.1")].owner, UnixId(7));
        assert_eq!(next.names(), BTreeSet::from(["u1.1".to_owned()]));
        let mut asked = next.asked();
        let server = async {
            asked.changed().await.unwrap();
            assert!(folder.path().join("work/shared/u1.1").exists());
            answer(&next, &serving());
        };
        tokio::join!(next.remove("u1.1"), server);
        assert!(!folder.path().join("work/shared/u1.1").exists());
        assert!(shares(folder.path()).names().is_empty());
        // Again it is no error.
        next.remove("u1.1").await;
    }

    #[tokio::test]
    async fn why_it_is_not_served_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut shares = shares(folder.path());
        shares.patience = Duration::from_millis(50);
        let mut asked = shares.asked();
        let serve = shares.serve("u1.1", UnixId(7), Vec::new());
        let server = async {
            asked.changed().await.unwrap();
            let why = ErrorRecord::new("NfsServerFailed", "the port is taken");
            answer(&shares, &ExportState::Failed(why));
        };
        let (served, ()) = tokio::join!(serve, server);
        let error = served.unwrap_err();
        assert_eq!(error.code, GANG_SHARE_ERROR);
        assert!(error.message.contains("the port is taken"), "{error:?}");
    }
}
