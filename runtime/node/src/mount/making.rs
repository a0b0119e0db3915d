//! Mounts all that a job asks for, one after the other.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use lote_model::id::NodeName;
use lote_model::job::ErrorRecord;
use lote_model::planned_mount::{BlobsSource, FileServerSource, FileShareSource, MountSource};
use lote_model::problem::explain;
use lote_model::secret::SecretText;
use tokio::process::Command;

use super::client::{self, Client};
use super::command_line::{self, OwnClient, own_client_words, shown};
use super::failure::Failure;
use super::kernel::{self, Leaving, Restrictions};
use super::layout::{Layout, Placed};
use super::nfs_client::{NfsClient, detect};
use super::options::NfsOptions;
use super::state::{self, Made};
use super::table::{
    Credentials, Directory, Nfs, Owner, S3, Smb, StorageName, StorageTable, Target, with_target,
};
use super::{MountConfig, leaving};
use crate::command::{self, End, SYSTEM_PATH};
use crate::directories;
use crate::isolation::{FsIdentity, Identity};

/// The keys of accounts by their pointers among the job's secrets, or why there is none.
pub(crate) type Keys = BTreeMap<String, Result<SecretText, String>>;

/// All that is needed to mount what a job asks for.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    pub(crate) config: &'a MountConfig,
    /// This node.
    pub(crate) node: &'a NodeName,
    pub(crate) layout: &'a Layout,
    /// Whom the job runs as.
    pub(crate) identity: Identity,
    pub(crate) keys: Keys,
}

/// What was mounted at a place.
#[derive(Debug, Default)]
struct Mounted {
    directory: Option<String>,
    below: Option<String>,
    client: Option<Client>,
    restrictions: Restrictions,
}

/// Where the client of the file system with this number writes what it says.
pub(super) fn client_log(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("client-{number}.log"))
}

type Outcome<T> = Result<T, Failure>;

fn failed(doing: &str) -> impl FnOnce(io::Error) -> Failure {
    let doing = doing.to_owned();
    move |error| Failure::from(format!("{doing}: {error}"))
}

impl Making<'_> {
    /// Mounts everything. What was mounted when something fails stays, to be left with the rest.
    /// `tell` hears what is mounted next.
    pub(crate) async fn mount(
        &self,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Vec<Made>, ErrorRecord> {
        let Layout {
            directory, mounts, ..
        } = self.layout;
        let mut made: Vec<Made> = Vec::with_capacity(mounts.len());
        for (number, placed) in mounts.iter().enumerate() {
            tell(&format!("mounting '{}'", placed.relative));
            let mounted = async {
                if number == 0 {
                    // What a daemon left that was killed before anything of the job started.
                    leaving::leave_directory(directory).await;
                    let doing = "cannot make the directory of its mounts";
                    leaving::open(directory, self.identity.gid).map_err(failed(doing))?;
                }
                self.mount_one(number, placed).await
            };
            let mounted = mounted
                .await
                .map_err(|failure| self.error(&failure, placed))?;
            made.push(Made {
                root: placed.root,
                relative: placed.relative.clone(),
                directory: mounted.directory,
                below: mounted.below,
                client: mounted.client,
            });
            if let Err(error) = state::write(directory, &made) {
                let failure = failed("cannot write down what is mounted")(error);
                return Err(self.error(&failure, placed));
            }
        }
        Ok(made)
    }

    fn error(&self, failure: &Failure, placed: &Placed) -> ErrorRecord {
        let secrets: Vec<_> = self.keys.values().flatten().cloned().collect();
        failure
            .error(placed, &secrets)
            .with("node", self.node.as_str())
    }

    async fn mount_one(&self, number: usize, placed: &Placed) -> Outcome<Mounted> {
        let is_nested = self.layout.is_nested(placed);
        let place = self.place(number, placed, is_nested);
        let place = place.map_err(failed("cannot make the place to mount at"))?;
        let mounted = match &placed.source {
            MountSource::FileServer(source) | MountSource::GangShare(source) => {
                self.file_server(number, source, &place).await
            }
            MountSource::FileShare(source) => self.share(number, placed, source, &place).await,
            MountSource::Blobs(source) => self.blobs(number, placed, source, &place).await,
            MountSource::Command(command) => self.users_command(command, &place).await,
        }?;
        let settled = self
            .settle(placed, &place, is_nested, mounted.restrictions)
            .await;
        if settled.is_err()
            && let Some(client) = mounted.client
        {
            client.kill();
        }
        settled.map(|()| mounted)
    }

    /// A directory to mount at that nobody but root can replace. What lies below another file
    /// system is mounted beside first: commands take a path, and that one is its users' to change.
    fn place(&self, number: usize, placed: &Placed, is_nested: bool) -> io::Result<PathBuf> {
        if is_nested {
            let place = leaving::stage(&self.layout.directory).join(number.to_string());
            DirBuilder::new().mode(0o700).create(&place)?;
            return Ok(place);
        }
        let mut place = self.layout.host_root(placed.root);
        for part in placed.relative.split('/') {
            place.push(part);
            directories::with_mode(&place, 0o755)?;
        }
        Ok(place)
    }

    /// Checks that something is mounted, takes away what no job gets, and puts it where it belongs.
    async fn settle(
        &self,
        placed: &Placed,
        place: &Path,
        is_nested: bool,
        restrictions: Restrictions,
    ) -> Outcome<()> {
        let is_there = kernel::is_mount_point(place);
        if !is_there.map_err(failed("cannot tell what is mounted"))? {
            return Err(Failure::from(format!(
                "the command ended well but nothing is mounted at {}",
                place.display()
            )));
        }
        let at = place.to_owned();
        let restricted = move || kernel::restrict(&at, restrictions);
        self.bounded(
            restricted,
            "cannot take set-user-id programs and device files away",
        )
        .await?;
        if !is_nested {
            return Ok(());
        }
        let (shown, identity) = (place.to_owned(), self.identity);
        let (root, way) = (self.layout.host_root(placed.root), placed.relative.clone());
        let move_there = move || {
            let there = {
                let _rights = FsIdentity::assume(identity)?;
                kernel::directory_below(&root, &way, 0o755)?
            };
            kernel::bind_at(&shown, &there)?;
            kernel::leave(&shown, Leaving::Lazily)
        };
        let doing = "it lies below another file system of the job, where its directory cannot be \
                     made or is a link";
        self.bounded(move_there, doing).await
    }

    /// What touches a file system that may not answer.
    async fn bounded(
        &self,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
        doing: &str,
    ) -> Outcome<()> {
        match kernel::bounded(self.config.time_limit, work).await {
            Some(done) => done.map_err(failed(doing)),
            None => Err(Failure::from(format!(
                "the file system does not answer within {} s",
                self.config.time_limit.as_secs()
            ))),
        }
    }

    async fn file_server(
        &self,
        number: usize,
        source: &FileServerSource,
        place: &Path,
    ) -> Outcome<Mounted> {
        let options = NfsOptions::parse(source.options.as_deref())?;
        let restrictions = Restrictions {
            read_only: options.read_only,
            no_exec: options.no_exec,
        };
        let client = if source.node == *self.node {
            self.own_export(source, place).await?;
            None
        } else {
            match detect() {
                NfsClient::Kernel => {
                    let words = command_line::file_server(source, &options, place)?;
                    self.run(&words, &[]).await?;
                    None
                }
                NfsClient::Fuse(_) => {
                    let words = command_line::own_client(source, &options, place)?;
                    Some(self.start_client(number, &words).await?)
                }
                NfsClient::None(lack) => {
                    let what = "this node cannot mount file servers of other nodes";
                    return Err(Failure::from(format!("{what}: {lack}")));
                }
            }
        };
        Ok(Mounted {
            client,
            restrictions,
            ..Mounted::default()
        })
    }

    /// Without the network, on the disk of this node.
    async fn own_export(&self, source: &FileServerSource, place: &Path) -> Outcome<()> {
        let (export, below) = (source.point.path.clone(), source.directory.clone());
        let place = place.to_owned();
        let bound = kernel::bounded(self.config.time_limit, move || {
            kernel::bind(Path::new(&export), below.as_deref(), &place)
        });
        let directory = source.directory.as_deref().unwrap_or("/");
        match bound.await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if is_escape(&error) => Err(Failure::from(format!(
                "the directory '{directory}' leads out of the file server"
            ))),
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(Failure::from(
                format!("the file server has no directory '{directory}'"),
            )),
            Some(Err(error)) => Err(failed("cannot show the exported directory")(error)),
            None => Err(Failure::from(
                "the disk of the file server does not answer".to_owned(),
            )),
        }
    }

    async fn start_client(&self, number: usize, words: &[String]) -> Outcome<Client> {
        let log = client_log(&self.layout.directory, number);
        let command = &self.config.nfs_client;
        let started = client::start(command, words, &log, self.config.time_limit).await;
        started.map_err(|error| {
            let words = [&["lote".to_owned(), "nfs-mount".to_owned()], words].concat();
            Failure::of_client(shown(&words), error)
        })
    }

    async fn users_command(&self, command: &str, place: &Path) -> Outcome<Mounted> {
        if !self.config.allow_commands {
            return Err(Failure::from(
                "this node runs no mount commands of users, because they run as root; its \
                 operator can allow them with --allow-mount-commands, or put the storage into the \
                 table of --storage-table"
                    .to_owned(),
            ));
        }
        self.run(&command_line::users_command(command, place), &[])
            .await?;
        Ok(Mounted::default())
    }

    async fn share(
        &self,
        number: usize,
        placed: &Placed,
        source: &FileShareSource,
        place: &Path,
    ) -> Outcome<Mounted> {
        let name = StorageName::of_share(&source.account, &source.url)?;
        let modes = (source.file_mode.as_str(), source.directory_mode.as_str());
        self.storage(number, placed, &name, modes, place).await
    }

    async fn blobs(
        &self,
        number: usize,
        placed: &Placed,
        source: &BlobsSource,
        place: &Path,
    ) -> Outcome<Mounted> {
        let name = StorageName::new(&source.account, &source.container)?;
        let options = source.options.as_deref().unwrap_or_default();
        let mut mounted = self
            .storage(number, placed, &name, ("0660", "0770"), place)
            .await?;
        // Those of blobfuse mean nothing to what stands for it, but for this one.
        let mut options = options.split([',', ' ']);
        mounted.restrictions.read_only |= options.any(|option| option == "ro");
        Ok(mounted)
    }

    /// Whatever the operator's table says.
    async fn storage(
        &self,
        number: usize,
        placed: &Placed,
        name: &StorageName,
        modes: (&str, &str),
        place: &Path,
    ) -> Outcome<Mounted> {
        let key = || {
            let missing = || Err("the job brings no key of the account".to_owned());
            let key = placed
                .key
                .as_ref()
                .and_then(|pointer| self.keys.get(pointer));
            key.cloned().unwrap_or_else(missing).map_err(Failure::from)
        };
        let account = |key: &SecretText, names: &[(&'static str, &'static str)]| {
            let pairs = names.iter().flat_map(|(user, secret)| {
                [
                    (*user, name.account.clone()),
                    (*secret, key.expose().to_owned()),
                ]
            });
            pairs.collect::<Vec<_>>()
        };
        match self.target(name)? {
            Target::Directory(directory) => self.directory(directory, place).await,
            Target::Nfs(nfs) => self.table_nfs(number, &nfs, place).await,
            Target::Smb(smb) => self.table_smb(number, &smb, name, modes, key, place).await,
            Target::S3(s3) => {
                let environment = match s3.credentials {
                    Some(_) => Vec::new(),
                    None => account(&key()?, S3_VARIABLES),
                };
                self.run(&self.s3_words(&s3, name, place), &environment)
                    .await?;
                Ok(Mounted::default())
            }
            Target::Command(words) => {
                // A command may do without one.
                let environment = key().map_or_else(
                    |_| vec![(ACCOUNT_VARIABLE.0, name.account.clone())],
                    |key| account(&key, &[ACCOUNT_VARIABLE]),
                );
                let words = with_target(&words, place, self.identity);
                self.run(&words, &environment).await?;
                Ok(Mounted::default())
            }
        }
    }

    fn s3_words(&self, s3: &S3, name: &StorageName, place: &Path) -> Vec<String> {
        match s3.own_command(name) {
            Some(words) => with_target(&words, place, self.identity),
            None => command_line::table_s3(s3, self.identity, place),
        }
    }

    /// What the table has for a share or container.
    fn target(&self, name: &StorageName) -> Outcome<Target> {
        let entry = name.entry();
        let line = format!("\"{entry}\" = {{ directory = \"/PATH\" }}");
        let what = "instead of a directory also nfs, smb, s3 or command";
        let Some(path) = &self.config.storage_table else {
            return Err(Failure::from(format!(
                "nothing stands for '{entry}' here: the operator of this node starts the daemon \
                 with --storage-table FILE, and writes into that file: {line} ({what})"
            )));
        };
        let table = StorageTable::read(path).map_err(|error| Failure::from(explain(&error)))?;
        table.find(name)?.ok_or_else(|| {
            Failure::from(format!(
                "nothing stands for '{entry}' here: the operator of this node writes into {}: \
                 {line} ({what})",
                table.path().display()
            ))
        })
    }

    async fn directory(&self, directory: Directory, place: &Path) -> Outcome<Mounted> {
        let Directory { path, below, .. } = directory.clone();
        let (place, identity) = (place.to_owned(), self.identity);
        let doing = match &below {
            None => format!("the storage table names {path}, which cannot be shown"),
            Some(below) => format!("the directory '{below}' of the share cannot be shown"),
        };
        let show = move || {
            make_directory(&directory, identity)?;
            let Directory { path, below, .. } = &directory;
            kernel::bind(Path::new(path), below.as_deref(), &place)
        };
        self.bounded(show, &doing).await?;
        Ok(Mounted {
            directory: Some(path),
            below,
            ..Mounted::default()
        })
    }

    async fn table_nfs(&self, number: usize, nfs: &Nfs, place: &Path) -> Outcome<Mounted> {
        let lack = match detect() {
            NfsClient::Kernel => {
                self.run(&command_line::table_nfs(nfs, place), &[]).await?;
                return Ok(Mounted::default());
            }
            NfsClient::None(lack) => {
                return Err(Failure::from(format!("this node mounts no NFS: {lack}")));
            }
            NfsClient::Fuse(lack) => lack,
        };
        let options = nfs.options.as_deref().unwrap_or_default();
        let value = |name: &str| {
            let mut pairs = options
                .split(',')
                .filter_map(|option| option.split_once('='));
            pairs.find(|(own, _)| *own == name)?.1.parse::<u16>().ok()
        };
        let (Some(port), Some(mount_port)) = (value("port"), value("mountport")) else {
            return Err(Failure::from(format!(
                "{lack}; Lote's own client needs port=… and mountport=… among the options of the \
                 storage table"
            )));
        };
        let read_only = options.split(',').any(|option| option == "ro");
        let words = own_client_words(&OwnClient {
            server: &nfs.server,
            port,
            mount_port,
            export: &nfs.path,
            directory: None,
            read_only,
            target: place,
        });
        Ok(Mounted {
            client: Some(self.start_client(number, &words).await?),
            ..Mounted::default()
        })
    }

    async fn table_smb(
        &self,
        number: usize,
        smb: &Smb,
        name: &StorageName,
        modes: (&str, &str),
        key: impl FnOnce() -> Outcome<SecretText>,
        place: &Path,
    ) -> Outcome<Mounted> {
        let own = match &smb.credentials {
            Credentials::File(_) => None,
            Credentials::Job => {
                let path = self.layout.directory.join(format!("credentials-{number}"));
                let written = KeyFile::write(path, &name.account, &key()?);
                Some(written.map_err(failed("cannot hand the account's key on"))?)
            }
        };
        let file = match (&smb.credentials, &own) {
            (Credentials::File(path), _) => path,
            (Credentials::Job, Some(own)) => &own.0,
            (Credentials::Job, None) => return Err(Failure::default()),
        };
        let words = command_line::table_smb(smb, modes, file, self.identity, place);
        self.run(&words, &[]).await?;
        Ok(Mounted::default())
    }

    /// Runs a command as root, with nothing of the daemon's in its environment.
    async fn run(&self, words: &[String], environment: &[(&'static str, String)]) -> Outcome<()> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::from("the command is empty".to_owned()));
        };
        let mut process = Command::new(program);
        process.args(arguments).env_clear().envs([
            ("PATH", SYSTEM_PATH),
            ("HOME", "/root"),
            ("LANG", "C.UTF-8"),
        ]);
        process.envs(environment.iter().map(|(name, value)| (name, value)));
        let limit = self.config.time_limit;
        let command = shown(words);
        let finished = command::run(process, limit)
            .await
            .map_err(|error| Failure {
                sentence: format!("cannot start '{program}' on this node: {error}"),
                command: Some(command.clone()),
                ..Failure::default()
            })?;
        match finished.end {
            End::Exited(status) if status.success() => Ok(()),
            End::Exited(status) => Err(Failure::ended(command, status, finished.said)),
            End::TimedOut => Err(Failure::timed_out(command, limit, finished.said)),
            End::Lost(error) => Err(failed("the command cannot be waited for")(error)),
        }
    }
}

/// How commands of the table learn of the account.
const ACCOUNT_VARIABLE: (&str, &str) = ("LOTE_ACCOUNT_NAME", "LOTE_ACCOUNT_KEY");

/// The same for programs that mount buckets, under the names that they look for.
const S3_VARIABLES: &[(&str, &str)] = &[
    ACCOUNT_VARIABLE,
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWSACCESSKEYID", "AWSSECRETACCESSKEY"),
];

/// `openat2` says so of a way that leads out of its directory.
fn is_escape(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [nix::errno::Errno::EXDEV, nix::errno::Errno::ELOOP]
        .iter()
        .any(|escape| code == Some(*escape as i32))
}

/// Makes the directory of a share if it is missing and to be made.
fn make_directory(directory: &Directory, identity: Identity) -> io::Result<()> {
    let path = Path::new(&directory.path);
    if !directory.create || path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    let mode = match directory.owner {
        Owner::Root => 0o755,
        Owner::Job => 0o700,
    };
    match DirBuilder::new().mode(mode).create(path) {
        // Another job was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    match directory.owner {
        Owner::Root => Ok(()),
        Owner::Job => chown(path, Some(identity.uid), Some(identity.gid)),
    }
}

/// A file with an account and its key for `mount.cifs`, as long as it runs.
#[derive(Debug)]
struct KeyFile(PathBuf);

impl KeyFile {
    fn write(path: PathBuf, account: &str, key: &SecretText) -> io::Result<Self> {
        if key.expose().contains(['\n', '\r']) {
            return Err(io::Error::other("the key has a line end in it"));
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let own = Self(path);
        writeln!(file, "username={account}\npassword={}", key.expose())?;
        Ok(own)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}
