//! Brings about what is wanted: places for the files, a server that serves them, and the end of
//! what is wanted no more. Whatever fails is tried again; nothing that works is interrupted.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lote_model::export::{
    Export, ExportPhase, ExportPoint, ExportState, ExportStorage, NfsServer, SizeLimit,
};
use lote_model::id::FileServerUid;
use lote_model::job::ErrorRecord;
use lote_model::problem::explain;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::choice::{self, Server};
use super::directory::{self, DirectoryError};
use super::disk::Disks;
use super::following::{Wanted, WantedExport};
use super::ganesha::{self, Ganesha, GaneshaError, Programs};
use super::ganesha_config::{Core, ServedExport};
use super::kernel;
use super::ledger::{self, Entry, Ledger};
use super::measure::{Measure, Measured};
use super::reports::{ExportOutcome, Outcome};
use super::shares::{Answer, Asked, Share};
use super::{ExportError, ExportNode, quota};
use crate::directories::{self, cannot};
use crate::power::has_address;

/// Pause before a failure is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// How long Ganesha stays when a job shared something and nobody does any more: the next job may
/// be there soon.
const LINGER: Duration = Duration::from_mins(5);

/// Pause between two looks when all is well.
const LOOK: Duration = Duration::from_mins(1);

/// Keeps up what is wanted, for ever.
pub(super) async fn manage(
    node: &ExportNode,
    mut wanted: watch::Receiver<Option<Wanted>>,
    outcome: watch::Sender<Outcome>,
    measured: watch::Sender<Vec<Measured>>,
) {
    let mut manager = Manager::new(node.clone());
    let mut asked = node.shares.asked();
    loop {
        let known = wanted.borrow_and_update().clone();
        let request = asked.borrow_and_update().clone();
        // Until the store was read, what an earlier daemon left is kept as it is.
        let pause = match known {
            Some(wanted) => {
                let pass = manager.reconcile(&wanted, &request.shares).await;
                node.shares.answer(Answer {
                    change: request.change,
                    states: manager.states.clone(),
                });
                measured.send_if_modified(|known| replace(known, pass.measured));
                outcome.send_if_modified(|known| replace(known, pass.outcome));
                if pass.is_settled { LOOK } else { RETRY }
            }
            None => LOOK,
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            changed = asked.changed() => if changed.is_err() { return },
            () = manager.something_happened() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn replace<T: PartialEq>(known: &mut T, new: T) -> bool {
    let is_new = *known != new;
    *known = new;
    is_new
}

/// What came of one look at everything.
struct Pass {
    outcome: Outcome,
    measured: Vec<Measured>,
    /// Whether nothing has to be tried again.
    is_settled: bool,
}

/// An export whose files have their place.
#[derive(Clone, Debug)]
struct Placed {
    uid: FileServerUid,
    served: ServedExport,
    size_limit: SizeLimit,
    /// None for what jobs share.
    measured: Option<Measured>,
}

/// The end of the removal of an export's files.
type Erased = (FileServerUid, Result<(), ExportError>);

/// How far the end of an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Underway,
}

/// How each export is, or why it is not served.
type Served = BTreeMap<FileServerUid, Result<ExportPoint, ErrorRecord>>;

struct Manager {
    node: ExportNode,
    ganesha: Option<Ganesha>,
    /// Read once; kept in step with the file.
    ledger: Option<Ledger>,
    /// Removals of files, which may take long.
    erasing: JoinSet<Erased>,
    being_erased: HashSet<FileServerUid>,
    /// What became of them.
    erased: BTreeMap<FileServerUid, Result<(), ErrorRecord>>,
    /// What was said last of each export.
    states: BTreeMap<FileServerUid, ExportState>,
    /// When a job last shared something.
    shared_at: Option<Instant>,
}

impl Manager {
    fn new(node: ExportNode) -> Self {
        Self {
            node,
            ganesha: None,
            ledger: None,
            erasing: JoinSet::new(),
            being_erased: HashSet::new(),
            erased: BTreeMap::new(),
            states: BTreeMap::new(),
            shared_at: None,
        }
    }

    /// Returns when the server has ended or files have been removed.
    async fn something_happened(&mut self) {
        let server = async {
            match &self.ganesha {
                Some(ganesha) => ganesha.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = server => {}
            Some(ended) = self.erasing.join_next() => {
                match ended {
                    Ok((uid, result)) => {
                        self.being_erased.remove(&uid);
                        self.erased.insert(uid, result.map_err(|error| error.record()));
                    }
                    Err(error) => {
                        tracing::error!(%error, "the removal of an export's files ended badly");
                        self.being_erased.clear();
                    }
                }
            }
        }
    }

    async fn reconcile(&mut self, wanted: &Wanted, shares: &Asked) -> Pass {
        let mut failures = BTreeMap::new();
        let mut placed = Vec::new();
        for (uid, it) in wanted {
            if it.export.phase != ExportPhase::Serve {
                continue;
            }
            match self.place(&it.export, wanted).await {
                Ok(place) => placed.push(place),
                Err(error) => {
                    failures.insert(uid.clone(), error.record());
                }
            }
        }
        for (name, share) in shares {
            self.shared_at = Some(Instant::now());
            match self.place_share(name, share).await {
                Ok(place) => placed.push(place),
                Err(error) => {
                    failures.insert(name.clone(), error.record());
                }
            }
        }
        let served = self.serve(&placed).await;
        let is_served_as_wanted = served.is_ok();
        match served {
            Ok(served) => self.take_in(&placed, served),
            Err(error) => {
                let record = error.record();
                failures.extend(placed.iter().map(|it| (it.uid.clone(), record.clone())));
            }
        }
        if is_served_as_wanted {
            self.end_withdrawn(wanted).await;
            let is_known =
                |uid: &FileServerUid| wanted.contains_key(uid) || shares.contains_key(uid);
            self.states.retain(|uid, _| is_known(uid));
            self.forget_gone(is_known);
        }
        for (uid, record) in failures {
            self.fail(uid, record);
        }
        self.pass(wanted, placed, is_served_as_wanted)
    }

    fn pass(&self, wanted: &Wanted, placed: Vec<Placed>, is_served_as_wanted: bool) -> Pass {
        let outcome_of = |(uid, wanted): (&FileServerUid, &WantedExport)| {
            let outcome = ExportOutcome {
                revision: wanted.revision,
                state: self.states.get(uid).cloned(),
            };
            (uid.clone(), outcome)
        };
        let has_failed = |state: &ExportState| matches!(state, ExportState::Failed(_));
        Pass {
            is_settled: is_served_as_wanted && !self.states.values().any(has_failed),
            outcome: Outcome {
                is_known: true,
                exports: wanted.iter().map(outcome_of).collect(),
            },
            measured: placed.into_iter().filter_map(|it| it.measured).collect(),
        }
    }

    fn fail(&mut self, uid: FileServerUid, record: ErrorRecord) {
        let state = ExportState::Failed(record);
        if self.states.get(&uid) != Some(&state)
            && let ExportState::Failed(record) = &state
        {
            tracing::error!(
                file_server = %uid,
                code = record.code,
                "cannot export: {}", record.message
            );
        }
        self.states.insert(uid, state);
    }

    // --- The place of the files -----------------------------------------------------------

    fn ledger_path(&self) -> PathBuf {
        self.node.server_directory().join(ledger::FILE)
    }

    fn ledger(&mut self) -> Result<&mut Ledger, ExportError> {
        if self.ledger.is_none() {
            let path = self.ledger_path();
            let directory = self.node.server_directory();
            let failed = cannot::<_, DirectoryError>("make", &directory);
            directories::private(&directory).map_err(failed)?;
            self.ledger = Some(Ledger::load(&path)?);
        }
        Ok(self.ledger.get_or_insert_default())
    }

    /// Changes what is remembered of an export, if it changes anything. It is in force only once
    /// it is on disk.
    fn remember(
        &mut self,
        uid: &FileServerUid,
        change: impl FnOnce(&mut Entry),
    ) -> Result<Entry, ExportError> {
        let path = self.ledger_path();
        let ledger = self.ledger()?;
        let mut new = ledger.clone();
        let full = || DirectoryError::Full {
            path: PathBuf::from(uid.as_str()),
        };
        let entry = new.enter(uid).ok_or_else(full)?;
        change(entry);
        let entry = entry.clone();
        if new != *ledger {
            new.save(&path)?;
            *ledger = new;
        }
        Ok(entry)
    }

    /// Makes sure that an export has its directory, with its limit.
    async fn place(&mut self, export: &Export, wanted: &Wanted) -> Result<Placed, ExportError> {
        let uid = &export.uid;
        let places = self.node.directories();
        let (path, is_own_file_system) = match &export.storage {
            ExportStorage::Own => {
                if let Some(place) = places.first()
                    && self.node.makes_directory(place)
                {
                    directory::make_place(place)?;
                }
                (directory::own(&places, uid)?, false)
            }
            ExportStorage::Directory(path) => (directory::given(&places, path.as_ref())?, false),
            ExportStorage::Disks { paths, erase } => {
                let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
                (self.mount(export, &paths, *erase).await?, true)
            }
        };
        let path = directory::checked_name(path)?;
        let is_wanted = |other: &FileServerUid| wanted.contains_key(other);
        if let Some(other) = self.ledger()?.overlapping(uid, &path, is_wanted) {
            let other = other.clone();
            return Err(DirectoryError::Overlap { path, other }.into());
        }
        let entry = self.remember(uid, |entry| entry.path = Some(path.clone()))?;
        let (owner, bytes) = (export.owner, export.size_limit_bytes);
        let (target, names) = (path.clone(), export.clients.clone());
        let made = blocking(move || {
            let opened = directory::open_or_make(&target, owner, directory::FOR_ALL)?;
            let limit = if is_own_file_system {
                file_system_limit()
            } else {
                limited(&opened, quota::project(entry.number), bytes)
            };
            Ok::<_, DirectoryError>((limit, addresses(&names)))
        });
        let ((size_limit, by), clients) = made.await?;
        Ok(Placed {
            uid: uid.clone(),
            size_limit,
            measured: Some(Measured {
                uid: uid.clone(),
                path: path.clone(),
                by,
                limit_bytes: export.size_limit_bytes,
            }),
            served: ServedExport {
                number: entry.number,
                path,
                clients,
            },
        })
    }

    /// Makes sure that a directory is there that jobs share. No user can replace it: what it lies
    /// in is the daemon's.
    async fn place_share(
        &mut self,
        name: &FileServerUid,
        share: &Share,
    ) -> Result<Placed, ExportError> {
        let path = directory::checked_name(self.node.shares.path(name))?;
        let entry = self.remember(name, |entry| entry.path = Some(path.clone()))?;
        let (target, owner, names) = (path.clone(), share.owner, share.clients.clone());
        let clients = blocking(move || {
            directory::open_or_make(&target, owner, directory::OWNERS_ONLY)?;
            Ok::<_, DirectoryError>(addresses(&names))
        });
        Ok(Placed {
            uid: name.clone(),
            size_limit: SizeLimit {
                in_force: false,
                note: "as much as the job's own directory".into(),
            },
            measured: None,
            served: ServedExport {
                number: entry.number,
                path,
                clients: clients.await?,
            },
        })
    }

    fn disks(&self, uid: &FileServerUid) -> Disks {
        Disks::new(&self.node.config.disks, &self.node.disks_directory(), uid)
    }

    /// Makes sure that the disks of an export are mounted.
    async fn mount(
        &mut self,
        export: &Export,
        paths: &[PathBuf],
        may_erase: bool,
    ) -> Result<PathBuf, ExportError> {
        let disks = self.disks(&export.uid);
        if !disks.is_mounted()? {
            let fresh = Disks::new_entry()?;
            let entry = self.remember(&export.uid, |entry| {
                entry.disk.get_or_insert(fresh);
            })?;
            let Some(remembered) = &entry.disk else {
                return Ok(disks.files());
            };
            let limit = export.size_limit_bytes;
            disks
                .mount(paths, may_erase, limit, &entry, remembered)
                .await?;
        }
        self.remember(&export.uid, |entry| {
            if let Some(disk) = &mut entry.disk {
                disk.is_formatted = true;
            }
        })?;
        Ok(disks.files())
    }

    // --- The server -----------------------------------------------------------------------

    /// Brings about that exactly these are served. Returns how each is, or why it is not.
    async fn serve(&mut self, placed: &[Placed]) -> Result<Served, ExportError> {
        let found = blocking(choice::look).await;
        let chosen = choice::choose(self.node.config.server, &found);
        match chosen {
            Err(_) if placed.is_empty() => {
                self.stop_ganesha().await?;
                Ok(BTreeMap::new())
            }
            Err(missing) => Err(missing.into()),
            Ok(Server::Kernel { exportfs }) => {
                self.stop_ganesha().await?;
                serve_by_kernel(&exportfs, self.node.config.mount_port, placed).await
            }
            Ok(Server::Ganesha { ganesha, rpcbind }) => {
                if let Some(exportfs) = choice::program("exportfs") {
                    kernel::serve_nothing(&exportfs).await?;
                }
                self.serve_by_ganesha(Programs { ganesha, rpcbind }, placed)
                    .await
            }
        }
    }

    fn ganesha(&mut self) -> Result<&mut Ganesha, GaneshaError> {
        let opened = match self.ganesha.take() {
            Some(ganesha) => ganesha,
            None => Ganesha::open(&self.node.server_directory(), self.node.executable.clone())?,
        };
        Ok(self.ganesha.insert(opened))
    }

    /// The kernel serves now, or nobody has to.
    async fn stop_ganesha(&mut self) -> Result<(), ExportError> {
        if self.ganesha.is_some() || self.node.server_directory().exists() {
            self.ganesha()?.serve_nothing().await?;
        }
        Ok(())
    }

    async fn serve_by_ganesha(
        &mut self,
        programs: Programs,
        placed: &[Placed],
    ) -> Result<Served, ExportError> {
        let lingers = self.shared_at.is_some_and(|at| at.elapsed() < LINGER)
            && self.ganesha.as_ref().is_some_and(Ganesha::is_up);
        if placed.is_empty() && !lingers {
            self.stop_ganesha().await?;
            return Ok(BTreeMap::new());
        }
        let (config, address) = (&self.node.config, self.node.address.clone());
        let settings = Core {
            nfs_port: config.nfs_port,
            mount_port: programs.rpcbind.as_ref().map(|_| config.mount_port),
            bind: blocking(move || bind_address(&address)).await,
        };
        let exports: Vec<ServedExport> = placed.iter().map(|it| it.served.clone()).collect();
        let ganesha = self.ganesha()?;
        let missing = ganesha.serve(&programs, &settings, &exports).await?;
        let log = ganesha.log_end();
        let versions = ganesha::versions(settings.mount_port.is_some());
        let of = |it: &Placed| {
            if missing.contains(&it.served.number) {
                let refused = GaneshaError::Refused { log: log.clone() };
                return Err(ExportError::from(refused).record());
            }
            Ok(ExportPoint {
                server: NfsServer::Ganesha,
                path: it.served.path.to_string_lossy().into_owned(),
                nfs_port: settings.nfs_port,
                mount_port: settings.mount_port,
                versions: versions.clone(),
                size_limit: it.size_limit.clone(),
            })
        };
        Ok(placed.iter().map(|it| (it.uid.clone(), of(it))).collect())
    }

    fn take_in(&mut self, placed: &[Placed], mut served: Served) {
        for it in placed {
            match served.remove(&it.uid) {
                Some(Ok(point)) => {
                    let state = ExportState::Serving(point);
                    if self.states.insert(it.uid.clone(), state.clone()).as_ref() != Some(&state) {
                        tracing::info!(
                            file_server = %it.uid,
                            path = %it.served.path.display(),
                            clients = it.served.clients.len(),
                            "exported"
                        );
                    }
                }
                Some(Err(record)) => self.fail(it.uid.clone(), record),
                None => {}
            }
        }
    }

    // --- The end of an export -------------------------------------------------------------

    /// Lets go of what is served no more.
    async fn end_withdrawn(&mut self, wanted: &Wanted) {
        for (uid, it) in wanted {
            let ExportPhase::Withdraw { erase } = it.export.phase else {
                continue;
            };
            match self.withdraw(&it.export, erase).await {
                Ok(End::Done) => {
                    self.states.insert(uid.clone(), ExportState::Withdrawn);
                }
                Ok(End::Underway) => {}
                Err(record) => self.fail(uid.clone(), record),
            }
        }
    }

    async fn withdraw(&mut self, export: &Export, erase: bool) -> Result<End, ErrorRecord> {
        let uid = &export.uid;
        if self.states.get(uid) == Some(&ExportState::Withdrawn) {
            return Ok(End::Done);
        }
        if self.being_erased.contains(uid) {
            return Ok(End::Underway);
        }
        if let Some(erased) = self.erased.remove(uid) {
            erased?;
            return self.let_go(uid);
        }
        let ledger = self.ledger().map_err(|error| error.record())?;
        let Some(entry) = ledger.get(uid).cloned() else {
            // Nothing was ever made for it.
            return Ok(End::Done);
        };
        if let ExportStorage::Disks { paths, .. } = &export.storage {
            let ended = self.end_disks(uid, &entry, paths, erase).await;
            ended.map_err(|error| error.record())?;
            return self.let_go(uid);
        }
        match entry.path.filter(|_| erase) {
            Some(path) => {
                self.start_erasing(uid, path, export.storage == ExportStorage::Own);
                Ok(End::Underway)
            }
            None => self.let_go(uid),
        }
    }

    /// Its number stays taken until it is gone from the store; its files are not touched again.
    fn let_go(&mut self, uid: &FileServerUid) -> Result<End, ErrorRecord> {
        let forgotten = self.remember(uid, |entry| {
            entry.path = None;
            entry.disk = None;
        });
        match forgotten {
            Ok(_) => Ok(End::Done),
            Err(error) => Err(error.record()),
        }
    }

    async fn end_disks(
        &self,
        uid: &FileServerUid,
        entry: &Entry,
        paths: &[String],
        erase: bool,
    ) -> Result<(), ExportError> {
        let disks = self.disks(uid);
        disks.unmount()?;
        match &entry.disk {
            Some(disk) if erase && disk.is_formatted => {
                let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
                disks.erase(&paths, entry.number, disk).await?;
            }
            _ => disks.release(entry.number).await?,
        }
        Ok(())
    }

    fn start_erasing(&mut self, uid: &FileServerUid, path: PathBuf, with_directory: bool) {
        self.being_erased.insert(uid.clone());
        let uid = uid.clone();
        self.erasing.spawn_blocking(move || {
            let result = directory::erase(&path, with_directory);
            (uid, result.map_err(ExportError::from))
        });
    }

    /// Forgets what is in the store no more. Its files stay, because nobody said that they may
    /// go.
    fn forget_gone(&mut self, is_known: impl Fn(&FileServerUid) -> bool) {
        if let Err(error) = self.try_forget_gone(is_known) {
            tracing::warn!("cannot forget an export: {}", explain(&error));
        }
    }

    fn try_forget_gone(
        &mut self,
        is_known: impl Fn(&FileServerUid) -> bool,
    ) -> Result<(), ExportError> {
        let path = self.ledger_path();
        let known = self.ledger()?.uids();
        for uid in known.iter().filter(|uid| !is_known(uid)) {
            self.disks(uid).unmount()?;
            let ledger = self.ledger()?;
            let mut new = ledger.clone();
            new.forget(uid);
            new.save(&path)?;
            *ledger = new;
            tracing::info!(file_server = %uid, "exported no more");
        }
        Ok(())
    }
}

async fn serve_by_kernel(
    exportfs: &Path,
    mount_port: u16,
    placed: &[Placed],
) -> Result<Served, ExportError> {
    let exports: Vec<ServedExport> = placed.iter().map(|it| it.served.clone()).collect();
    if exports.is_empty() {
        kernel::serve_nothing(exportfs).await?;
        return Ok(Served::new());
    }
    kernel::serve(exportfs, &exports).await?;
    let offer = kernel::offer(mount_port)?;
    let has_version_3 = offer.versions.iter().any(|version| version == "3");
    let of = |it: &Placed| ExportPoint {
        server: NfsServer::Kernel,
        path: it.served.path.to_string_lossy().into_owned(),
        nfs_port: offer.nfs_port,
        mount_port: has_version_3.then_some(offer.mount_port),
        versions: offer.versions.clone(),
        size_limit: it.size_limit.clone(),
    };
    let served = placed.iter().map(|it| (it.uid.clone(), Ok(of(it))));
    Ok(served.collect())
}

/// Where files of a file system of their own can be no more than it holds.
fn file_system_limit() -> (SizeLimit, Measure) {
    let limit = SizeLimit {
        in_force: true,
        note: "the file system on its disks is no larger".into(),
    };
    (limit, Measure::FileSystem)
}

/// Holds a directory to a size where its file system can.
fn limited(directory: &OwnedFd, project: u32, bytes: u64) -> (SizeLimit, Measure) {
    let limit = |in_force, note: String| SizeLimit { in_force, note };
    if !quota::is_enforced(directory) {
        let note = "the file system has no project quotas; mount ext4 or xfs with prjquota";
        return (limit(false, note.into()), Measure::Files);
    }
    match quota::limit(directory, project, bytes) {
        Ok(()) => {
            let note = "a project quota, which counts what is written from now on";
            (limit(true, note.into()), Measure::Quota { project })
        }
        Err(error) => {
            let note = format!("the project quota cannot be set: {error}");
            (limit(false, note), Measure::Files)
        }
    }
}

/// The addresses of clients; a name that means nothing here is left out, and said.
fn addresses(names: &[String]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for name in names {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        match (bare, 0).to_socket_addrs() {
            Ok(known) => found.extend(known.map(|address| address.ip())),
            Err(error) => tracing::warn!(%error, client = name, "a client has no address here"),
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Where the server listens: at the node's address, if that is one of this machine's; at all
/// addresses, if clients reach it by one that is not, or by a name that means loopback here.
pub(super) fn bind_address(address: &str) -> IpAddr {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return if has_address(ip) { ip } else { any };
    }
    let found = (bare, 0).to_socket_addrs().ok();
    let found = found.and_then(|mut found| found.next());
    let found = found.map(|address| address.ip());
    found
        .filter(|ip| !ip.is_loopback() && has_address(*ip))
        .unwrap_or(any)
}

/// Runs what may wait for a disk or a name server.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_addresses() {
        let names = ["10.0.0.8", "10.0.0.7", "[fd00::1]", "10.0.0.8", "*", "a b"];
        let found = addresses(&names.map(str::to_owned));
        let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["10.0.0.7", "10.0.0.8", "fd00::1"]);
    }

    #[test]
    fn the_server_listens_where_clients_reach_it() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(bind_address("127.0.0.1"), ip("127.0.0.1"));
        assert_eq!(bind_address("[::1]"), ip("::1"));
        // Of no interface here (a documentation address), and a name of loopback.
        assert_eq!(bind_address("198.51.100.9"), ip("0.0.0.0"));
        assert_eq!(bind_address("localhost"), ip("0.0.0.0"));
    }

    #[test]
    fn a_limit_that_is_not_in_force_says_so() {
        let directory = rustix::fs::open(
            "/proc",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let (limit, by) = limited(&directory.unwrap(), 1, 1 << 30);
        assert!(!limit.in_force && limit.note.contains("prjquota"));
        assert_eq!(by, Measure::Files);
    }
}
