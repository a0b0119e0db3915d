//! The socket in the job, at which its processes ask for remote starts.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lote_rsh::protocol::{Kind, SOCKET_NAME, Start};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::frames::{self, refuse};
use super::member::{Member, PREPARING, Stage};
use super::session::{self, WhenSilent};
use super::{caller, relay};

/// How many processes of a job may have remote starts under way from one node; others wait.
const CALLERS_MAX: usize = 2_048;

/// How long a process may take to say what it wants.
const ASKING_MAX: Duration = Duration::from_secs(10);

/// Pause after the machine could not accept a connection.
const RETRY: Duration = Duration::from_millis(100);

/// Opens the socket, in place of one of an earlier daemon. Every user may connect; who is let in,
/// [`caller`] says.
pub(super) fn listen(directory: &Path) -> io::Result<UnixListener> {
    // By its descriptor, because the path may be longer than an address can be.
    let opened = File::open(directory)?;
    let at = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string());
    let draft = at.join(format!("{SOCKET_NAME}.new"));
    fs::remove_file(&draft).ok();
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o666))?;
    fs::rename(&draft, at.join(SOCKET_NAME))?;
    Ok(listener)
}

/// Answers until the job's part here is over.
pub(super) async fn serve(member: Arc<Member>, listener: UnixListener) {
    let room = Arc::new(Semaphore::new(CALLERS_MAX));
    let over = member.over().clone();
    let accept = async {
        while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let member = Arc::clone(&member);
                    tokio::spawn(async move {
                        answer(&member, stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection for a remote start");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = over.cancelled() => {}
    }
}

async fn answer(member: &Arc<Member>, mut stream: UnixStream) {
    match asked(member, &mut stream).await {
        Ok(start) => {
            let parts = &member.parts;
            match member.node_at(&start.address).cloned() {
                None => {
                    let reason = stranger(member, &start.address);
                    refuse(&mut stream, Kind::Refused, &reason).await;
                }
                Some(node) if node == parts.node => {
                    let stream = Box::new(stream);
                    session::serve(member, &node, &start, stream, WhenSilent::HangUp).await;
                }
                Some(node) => relay::to(member, &node, start, stream).await,
            }
        }
        Err(Refusal::Told(reason)) => refuse(&mut stream, Kind::Refused, &reason).await,
        Err(Refusal::Gone(error)) => {
            tracing::debug!(%error, "a process did not say what it wants to start");
        }
    }
}

/// Why nothing is done about a connection.
enum Refusal {
    Told(String),
    Gone(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

/// What a process of the job wants to start.
async fn asked(member: &Member, stream: &mut UnixStream) -> Result<Start, Refusal> {
    let parts = &member.parts;
    if !caller::is_in_group(stream, &parts.cgroup_procs)? {
        tracing::warn!(job = %parts.uid, "a process that is not one of the job asked for a remote start");
        let reason = "only processes of the job may start others on its nodes";
        return Err(Refusal::Told(reason.into()));
    }
    let reading = frames::expect(stream, Kind::Start);
    let payload = tokio::time::timeout(ASKING_MAX, reading).await;
    let payload = payload.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let mut start = Start::decode(&payload).map_err(|malformed| {
        Refusal::Told(format!(
            "{malformed}; this node's daemon is of another version"
        ))
    })?;
    if member.stage() == Stage::Preparing {
        if !(parts.may_run)() {
            return Err(Refusal::Told(PREPARING.into()));
        }
        // The daemon was started again and finds what is there.
        member.prepared().await;
    }
    start
        .environment
        .retain(|pair| !is_secret(&parts.secret_names, pair));
    Ok(start)
}

/// Whether it is a variable whose value the other node has itself.
fn is_secret(names: &[String], pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    names.iter().any(|secret| secret.as_bytes() == name)
}

fn stranger(member: &Member, address: &[u8]) -> String {
    let nodes = member.parts.gang.iter();
    let nodes: Vec<String> = nodes
        .map(|member| format!("{} ({})", member.node, member.address))
        .collect();
    format!(
        "'{}' is no node of this job; its nodes are {}",
        String::from_utf8_lossy(address),
        nodes.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_whole_name() {
        let names = ["TOKEN".to_owned()];
        assert!(is_secret(&names, b"TOKEN=hunter2"));
        assert!(is_secret(&names, b"TOKEN="));
        assert!(!is_secret(&names, b"TOKENS=1"));
        assert!(!is_secret(&names, b"X=TOKEN"));
    }

    #[tokio::test]
    async fn a_socket_takes_the_place_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        drop(listen(&deep).unwrap());
        let _listener = listen(&deep).unwrap();
        let found = fs::metadata(deep.join(SOCKET_NAME)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o666);
    }
}
