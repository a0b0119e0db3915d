//! What a node does for a job before its processes start, told to those who wait for them.

use std::sync::Arc;
use std::time::Duration;

use lote_model::job::DirectoryLocation;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::reporter::Reporter;

/// What takes less time than this is not told. It is also the shortest time between two tellings,
/// because each is a write to the store.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// What is done now, and where what it writes can be read.
#[derive(Clone, Debug, Default)]
struct Doing {
    what: String,
    directories: Vec<DirectoryLocation>,
}

/// Tells what is done, until it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    doing: watch::Sender<Doing>,
    telling: JoinHandle<()>,
}

impl Progress {
    pub(super) fn new(reporter: Arc<Reporter>) -> Self {
        let (doing, news) = watch::channel(Doing::default());
        Self {
            doing,
            telling: tokio::spawn(tell(reporter, news)),
        }
    }

    /// Something else is done now.
    pub(super) fn now(&self, what: &str, directories: &[DirectoryLocation]) {
        self.doing.send_replace(Doing {
            what: what.to_owned(),
            directories: directories.to_vec(),
        });
    }
}

impl Drop for Progress {
    /// A report that is just being written cannot replace one that comes after it.
    fn drop(&mut self) {
        self.telling.abort();
    }
}

async fn tell(reporter: Arc<Reporter>, mut news: watch::Receiver<Doing>) {
    while news.changed().await.is_ok() {
        tokio::time::sleep(WORTH_TELLING).await;
        let Doing { what, directories } = news.borrow_and_update().clone();
        reporter.report_preparing(what, &directories).await;
    }
}
