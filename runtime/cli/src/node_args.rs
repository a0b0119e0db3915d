//! The daemon's options: from the command line, variables and a TOML file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use lote_model::label::{self, LabelError};
use lote_model::node::SSH_PORT_DEFAULT;
use lote_model::quota::Quotas;
use lote_model::storage_account::StorageAccounts;
use serde::Deserialize;

pub use container::{ContainerArgs, ContainerError, ContainerSettings};
pub use export::{ExportArgs, ExportError, ExportSettings, NfsServer};
pub use gpu::{GpuArgs, GpuSettings};
pub use machine::{MachineArgs, MachineError, MachineSettings};
pub use mount::{MountArgs, MountError, MountSettings};
pub use power::{PowerArgs, PowerDriver, PowerError, PowerSettings, PowerSwitching};
pub use quotas::QuotaArgs;
pub use retention::{RetentionArgs, RetentionError, RetentionSettings};
pub use scheduling::{HalfLifeError, SchedulingArgs, SchedulingSettings};
pub use spool::{SpoolArgs, SpoolError, SpoolSettings};
pub use store::{EtcdSettings, EtcdTlsFiles, StoreSettings};

mod container;
mod export;
mod gpu;
mod machine;
mod mount;
mod power;
mod quotas;
mod retention;
mod scheduling;
mod spool;
mod store;

/// The options of `lote node`, all optional. The TOML file of `--config` has the
/// same names (`data-dir = "…"`); the command line wins over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Daemon options")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct NodeArgs {
    /// A TOML file with any of these options
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Take options from the kernel's command line as well (lote.NAME=VALUE), and from lote.toml
    /// and lote.token in this directory: how a node image starts the daemon
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub boot: Option<PathBuf>,
    /// Where the daemon keeps its store and its jobs
    /// [default: /var/lib/lote as root, else ~/.local/state/lote]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the API is served [default: 127.0.0.1:8471]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// Where the cluster's state is kept [default: embedded]
    #[arg(long, value_enum)]
    pub store: Option<StoreKind>,
    /// The URLs of all members of etcd, with scheme and port
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// The authority that signed the members' certificates, in PEM form
    #[arg(long, value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// This daemon's certificate for etcd, in PEM form
    #[arg(long, value_name = "FILE")]
    pub etcd_cert: Option<PathBuf>,
    /// The private key of --etcd-cert, in PEM form; only its owner may read it
    #[arg(long, value_name = "FILE")]
    pub etcd_key: Option<PathBuf>,
    /// What all keys in etcd start with [default: /lote/]
    #[arg(long, value_name = "TEXT")]
    pub etcd_prefix: Option<String>,
    /// Do not hand --etcd-cert and --etcd-key to machines that join: they bring their own
    #[arg(long)]
    pub keep_etcd_key: bool,
    /// Join the cluster of the daemon at this URL, once; the token is in `LOTE_JOIN_TOKEN` or in
    /// --join-token-file
    #[arg(long, value_name = "URL")]
    pub join: Option<String>,
    /// The file with the token to join with, made by `lote token create --node`; only its owner
    /// may read it
    #[arg(long, value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,
    /// The node's name in the cluster [default: the host name]
    #[arg(long)]
    pub name: Option<String>,
    /// The address other nodes reach it by [default: that of --listen; where machines share a
    /// store and that one is loopback or 0.0.0.0, the one that leads to etcd]
    #[arg(long)]
    pub address: Option<String>,
    /// Where daemons ask each other for files and logs, if machines share a store
    /// [default: port 8472 of --address]
    #[arg(long, value_name = "ADDR:PORT")]
    pub peer_listen: Option<String>,
    /// The hardware address that wakes this machine [default: that of the interface with its
    /// address]
    #[arg(long, value_name = "MAC")]
    pub mac: Option<String>,
    /// Never switch this machine off
    #[arg(long)]
    pub always_on: bool,
    /// The port of this machine's SSH server, told to people who want to log in [default: 22]
    #[arg(long, value_name = "PORT")]
    pub ssh_port: Option<u16>,
    /// The size label (vmSize) it registers with [default: cpu without GPUs]
    #[arg(long)]
    pub size: Option<String>,
    /// What to say of the machine's place, such as rack=r1; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label::parse)]
    #[serde(skip)]
    pub label: Vec<(String, String)>,
    /// The same in the file, as a table; `--label` adds to it.
    #[arg(skip)]
    pub labels: BTreeMap<String, String>,
    /// The NVML library, if it is not where the system looks
    #[arg(long, value_name = "PATH")]
    pub nvml_library: Option<PathBuf>,
    /// A folder of plugins that are added to, or replace, the built-in ones; what changes
    /// there is in use within seconds
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,
    /// The only plugins of that folder to be loaded: lines as sha256sum prints them
    #[arg(long, value_name = "FILE")]
    pub plugin_allow: Option<PathBuf>,
    /// A TOML file of secrets that jobs refer to in key vaults, by their URLs
    #[arg(long, value_name = "FILE")]
    pub secrets_file: Option<PathBuf>,
    /// A file of administrators' tokens, a name and a token in each line; only its
    /// owner may read it
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Serve HTTPS with a certificate made at the first start; its fingerprint is
    /// printed at every start
    #[arg(long)]
    pub tls: bool,
    /// Serve HTTPS with this certificate, in PEM form, with those above it
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, in PEM form; only its owner may read it
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Serve plain HTTP although others can listen in: tokens travel readably
    #[arg(long)]
    pub insecure_http: bool,
    /// Write reads to the audit log as well
    #[arg(long)]
    pub audit_reads: bool,
    /// How jobs are kept apart [default: auto]
    #[arg(long, value_enum)]
    pub isolation: Option<Isolation>,
    /// Leave out the services beside Batch AI that its old clients call: login, subscriptions,
    /// provider registration, storage keys
    #[arg(long)]
    pub no_neighbours: bool,
    /// Keys of storage accounts that old clients may ask for; in the file only.
    #[arg(skip)]
    pub storage_accounts: StorageAccounts,
    /// What is done with the machine's GPUs.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// How much users may create.
    #[command(flatten)]
    pub quotas: QuotaArgs,
    /// How long finished jobs stay.
    #[command(flatten)]
    pub retention: RetentionArgs,
    /// What jobs get of the machine.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// How the file systems of jobs are mounted.
    #[command(flatten)]
    pub mount: MountArgs,
    /// Where the images of containers come from.
    #[command(flatten)]
    pub container: ContainerArgs,
    /// How machines are switched off and on.
    #[command(flatten)]
    pub power: PowerArgs,
    /// Which job comes first, and where it goes.
    #[command(flatten)]
    pub scheduling: SchedulingArgs,
    /// How output waits for a file system that is away.
    #[command(flatten)]
    pub spool: SpoolArgs,
    /// How this machine exports file servers.
    #[command(flatten)]
    pub export: ExportArgs,
}

/// `--store`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A database file of this daemon: one machine
    #[default]
    Embedded,
    /// The members of an etcd: many machines
    Etcd,
}

/// `--isolation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All the kernel offers; without root the daemon refuses to start jobs
    #[default]
    Auto,
    /// None: jobs run as the daemon's user and see what it sees
    None,
}

/// The options with the file merged in and defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct NodeSettings {
    /// The directory with what the machine was told when it booted; jobs see neither it nor the
    /// kernel's command line.
    pub boot: Option<PathBuf>,
    /// Where the daemon keeps its store and its jobs.
    pub data_dir: PathBuf,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Where the cluster's state is kept.
    pub store: StoreSettings,
    /// Whether this daemon's certificate for etcd stays with it.
    pub keep_etcd_key: bool,
    /// The URL of a daemon whose cluster is to be joined.
    pub join: Option<String>,
    /// The file with the token to join with.
    pub join_token_file: Option<PathBuf>,
    /// The node's name, if one was given.
    pub name: Option<String>,
    /// Its address, if one was given.
    pub address: Option<String>,
    /// Where daemons ask each other, if it was given.
    pub peer_listen: Option<SocketAddr>,
    /// The hardware address that wakes it, if one was given.
    pub mac: Option<String>,
    /// Whether it is never switched off.
    pub always_on: bool,
    /// The port of the machine's SSH server.
    pub ssh_port: u16,
    /// Its size label, if one was given.
    pub size: Option<String>,
    /// What the operator says of its place and kind.
    pub labels: BTreeMap<String, String>,
    /// The NVML library, if it is not where the system looks.
    pub nvml_library: Option<PathBuf>,
    /// The folder of further plugins.
    pub plugin_dir: Option<PathBuf>,
    /// The list of those in it that may be loaded; all when absent.
    pub plugin_allow: Option<PathBuf>,
    /// The table of secrets that jobs only refer to.
    pub secrets_file: Option<PathBuf>,
    /// The file of administrators' tokens.
    pub token_file: Option<PathBuf>,
    /// How connections are encrypted.
    pub tls: TlsSource,
    /// Whether plain HTTP is served where others can listen in.
    pub insecure_http: bool,
    /// Whether reads are written to the audit log.
    pub audit_reads: bool,
    /// How jobs are kept apart.
    pub isolation: Isolation,
    /// What is done with the machine's GPUs.
    pub gpu: GpuSettings,
    /// How much users may create.
    pub quotas: Quotas,
    /// How long finished jobs stay.
    pub retention: RetentionSettings,
    /// What jobs get of the machine.
    pub machine: MachineSettings,
    /// How the file systems of jobs are mounted.
    pub mount: MountSettings,
    /// Where the images of containers come from.
    pub container: ContainerSettings,
    /// How machines are switched off and on; none if nobody does it.
    pub power: Option<PowerSettings>,
    /// Which job comes first, and where it goes.
    pub scheduling: SchedulingSettings,
    /// How output waits for a file system that is away.
    pub spool: SpoolSettings,
    /// How this machine exports file servers.
    pub export: ExportSettings,
    /// Whether the services beside Batch AI that its old clients call are there.
    pub neighbours: bool,
    /// Keys of storage accounts that old clients may ask for.
    pub storage_accounts: StorageAccounts,
}

/// Where the daemon's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSource {
    /// There is none: plain HTTP.
    None,
    /// The daemon makes one.
    SelfMade,
    /// The operator has one.
    Files {
        /// The certificate, with those above it.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// Why the daemon's options are no settings.
#[derive(Debug, thiserror::Error)]
pub enum NodeSettingsError {
    /// The file of `--config` cannot be read.
    #[error("cannot read the configuration file '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file '{}' is wrong", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// `--listen` or `--peer-listen` is no address and port.
    #[error("'{0}' is not an address to listen on; give it as ADDR:PORT, such as 127.0.0.1:8471")]
    Listen(String),
    /// There is a token and nowhere to show it.
    #[error("--join-token-file needs --join URL, the daemon whose cluster is to be joined")]
    JoinMissing,
    /// The embedded store is asked for together with a cluster.
    #[error(
        "--join makes this machine one of many, which share a store: leave out --store embedded"
    )]
    JoinEmbedded,
    /// Half a certificate, or two.
    #[error("give --tls-cert and --tls-key together, or --tls for a certificate that is made here")]
    Tls,
    /// Etcd is asked for and not named.
    #[error("--store etcd needs the members of etcd: give --etcd https://HOST:2379,…")]
    EtcdMissing,
    /// Etcd is described and not asked for.
    #[error("--etcd and the options with it need --store etcd, or a cluster that was joined")]
    EtcdUnused,
    /// Half a set of certificates for etcd.
    #[error(
        "give --etcd-ca alone, or with both --etcd-cert and --etcd-key; etcd without certificates \
         needs none of them"
    )]
    EtcdTls,
    /// `--mac` is no hardware address.
    #[error("'{0}' is no hardware address; give --mac as aa:bb:cc:dd:ee:ff")]
    Mac(String),
    /// The options about power are wrong.
    #[error(transparent)]
    Power(#[from] PowerError),
    /// `--usage-half-life` is no time.
    #[error(transparent)]
    HalfLife(#[from] HalfLifeError),
    /// Output cannot wait so.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The data directory is relative to nothing.
    #[error("the data directory '{}' cannot be made absolute; give --data-dir with a leading slash", path.display())]
    DataDirectory {
        /// What was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Finished jobs cannot be kept so long.
    #[error(transparent)]
    Retention(#[from] RetentionError),
    /// Jobs cannot get this of the machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// File systems cannot be mounted so.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// An option about containers.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// File servers cannot be exported so.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The node cannot be labelled so.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// There is no place for data.
    #[error("no home directory is known; give --data-dir")]
    NoDataDirectory,
}

/// Where the API is served unless told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8471";

/// The port at which daemons ask each other unless told otherwise.
pub const PEER_PORT_DEFAULT: u16 = 8472;

impl NodeArgs {
    /// Merges the file of `--config` and fills in the defaults. `default_data_dir`
    /// is where data goes when neither names a place, see [`default_data_dir`].
    pub fn resolve(
        self,
        default_data_dir: Option<PathBuf>,
    ) -> Result<NodeSettings, NodeSettingsError> {
        let file = match &self.config {
            Some(path) => read_file(path)?,
            None => Self::default(),
        };
        let store = store::resolve(&self, &file)?;
        let tls = tls_source(
            self.tls || file.tls,
            self.tls_cert.or(file.tls_cert),
            self.tls_key.or(file.tls_key),
        )?;
        let listen = self
            .listen
            .or(file.listen)
            .unwrap_or_else(|| LISTEN_DEFAULT.into());
        let mut labels = file.labels;
        labels.extend(self.label);
        label::check(&labels)?;
        let join = self.join.or(file.join);
        let join_token_file = self.join_token_file.or(file.join_token_file);
        match (&join, &store) {
            (None, _) if join_token_file.is_some() => return Err(NodeSettingsError::JoinMissing),
            (Some(_), StoreSettings::Embedded) => return Err(NodeSettingsError::JoinEmbedded),
            _ => {}
        }
        let data_dir = self
            .data_dir
            .or(file.data_dir)
            .or(default_data_dir)
            .ok_or(NodeSettingsError::NoDataDirectory)?;
        // Jobs have working directories of their own, and find nothing by a relative path.
        let data_dir = match std::path::absolute(&data_dir) {
            Ok(absolute) => absolute,
            Err(source) => {
                let path = data_dir;
                return Err(NodeSettingsError::DataDirectory { path, source });
            }
        };
        let retention = self.retention.resolve(file.retention, &data_dir)?;
        Ok(NodeSettings {
            boot: self.boot,
            data_dir,
            listen: address_and_port(listen)?,
            store,
            keep_etcd_key: self.keep_etcd_key || file.keep_etcd_key,
            join,
            join_token_file,
            name: self.name.or(file.name),
            address: self.address.or(file.address),
            peer_listen: self
                .peer_listen
                .or(file.peer_listen)
                .map(address_and_port)
                .transpose()?,
            mac: self.mac.or(file.mac).map(hardware_address).transpose()?,
            always_on: self.always_on || file.always_on,
            ssh_port: self.ssh_port.or(file.ssh_port).unwrap_or(SSH_PORT_DEFAULT),
            size: self.size.or(file.size),
            labels,
            nvml_library: self.nvml_library.or(file.nvml_library),
            plugin_dir: self.plugin_dir.or(file.plugin_dir),
            plugin_allow: self.plugin_allow.or(file.plugin_allow),
            secrets_file: self.secrets_file.or(file.secrets_file),
            token_file: self.token_file.or(file.token_file),
            tls,
            insecure_http: self.insecure_http || file.insecure_http,
            audit_reads: self.audit_reads || file.audit_reads,
            isolation: self.isolation.or(file.isolation).unwrap_or_default(),
            gpu: self.gpu.resolve(file.gpu),
            quotas: self.quotas.resolve(file.quotas),
            retention,
            machine: self.machine.resolve(file.machine)?,
            mount: self.mount.resolve(file.mount)?,
            container: self.container.resolve(file.container)?,
            power: self.power.resolve(file.power)?,
            scheduling: self.scheduling.resolve(file.scheduling)?,
            spool: self.spool.resolve(file.spool)?,
            export: self.export.resolve(file.export)?,
            neighbours: !(self.no_neighbours || file.no_neighbours),
            storage_accounts: file.storage_accounts,
        })
    }
}

fn address_and_port(text: String) -> Result<SocketAddr, NodeSettingsError> {
    text.parse().map_err(|_| NodeSettingsError::Listen(text))
}

/// As `aa:bb:cc:dd:ee:ff`, however it is written.
fn hardware_address(given: String) -> Result<String, NodeSettingsError> {
    let text = given.replace('-', ":").to_ascii_lowercase();
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text.split(':').count() == 6 && text.split(':').all(is_byte) {
        Ok(text)
    } else {
        Err(NodeSettingsError::Mac(given))
    }
}

fn tls_source(
    self_made: bool,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<TlsSource, NodeSettingsError> {
    match (self_made, certificate, key) {
        (false, None, None) => Ok(TlsSource::None),
        (true, None, None) => Ok(TlsSource::SelfMade),
        (false, Some(certificate), Some(key)) => Ok(TlsSource::Files { certificate, key }),
        _ => Err(NodeSettingsError::Tls),
    }
}

fn read_file(path: &Path) -> Result<NodeArgs, NodeSettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| NodeSettingsError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| NodeSettingsError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// Where the daemon's data goes by default: `/var/lib/lote` for root, else below
/// `XDG_STATE_HOME` or the home directory.
pub fn default_data_dir(
    is_root: bool,
    state_home: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Option<PathBuf> {
    if is_root {
        return Some("/var/lib/lote".into());
    }
    state_home
        .filter(|path| path.is_absolute())
        .or_else(|| home.map(|home| home.join(".local/state")))
        .map(|base| base.join("lote"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_start_needs_no_option() {
        let settings = NodeArgs::default().resolve(Some("/d".into())).unwrap();
        assert_eq!(settings.data_dir, PathBuf::from("/d"));
        assert_eq!(settings.listen.to_string(), LISTEN_DEFAULT);
        assert_eq!(settings.isolation, Isolation::Auto);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("node.toml");
        std::fs::write(
            &config,
            "data-dir = '/file'\nname = 'file'\nisolation = 'none'",
        )
        .unwrap();
        let args = NodeArgs {
            config: Some(config.clone()),
            name: Some("line".into()),
            ..NodeArgs::default()
        };
        let settings = args.clone().resolve(None).unwrap();
        assert_eq!(settings.data_dir, PathBuf::from("/file"));
        assert_eq!(settings.name.as_deref(), Some("line"));
        assert_eq!(settings.isolation, Isolation::None);

        std::fs::write(&config, "data_dir = '/file'").unwrap();
        let error = args.resolve(None).unwrap_err();
        assert!(matches!(error, NodeSettingsError::Parse { .. }), "{error}");
    }

    #[test]
    fn labels_of_the_line_join_those_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("node.toml");
        std::fs::write(&config, "labels = { rack = 'r1', switch = 's1' }").unwrap();
        let args = |label: &str| NodeArgs {
            config: Some(config.clone()),
            label: vec![label::parse(label).unwrap()],
            ..NodeArgs::default()
        };
        let settings = args("rack=r2").resolve(Some("/d".into())).unwrap();
        let expected = [("rack", "r2"), ("switch", "s1")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(settings.labels, expected.into());

        std::fs::write(&config, "labels = { Rack = 'r1' }").unwrap();
        let error = args("a=b").resolve(Some("/d".into())).unwrap_err();
        assert!(matches!(error, NodeSettingsError::Label(_)), "{error}");
    }

    #[test]
    fn a_wrong_address_says_what_is_expected() {
        let wrong = || Some("localhost".to_owned());
        let (listen, peer_listen) = (
            NodeArgs {
                listen: wrong(),
                ..NodeArgs::default()
            },
            NodeArgs {
                peer_listen: wrong(),
                ..NodeArgs::default()
            },
        );
        for args in [listen, peer_listen] {
            let error = args.resolve(Some("/d".into())).unwrap_err();
            assert!(error.to_string().contains("ADDR:PORT"), "{error}");
        }
    }

    #[test]
    fn a_data_directory_is_absolute() {
        let of = |path: &str| {
            let args = NodeArgs {
                data_dir: Some(path.into()),
                ..NodeArgs::default()
            };
            args.resolve(None)
        };
        let here = std::env::current_dir().unwrap();
        let settings = of("state/./lote").unwrap();
        assert_eq!(settings.data_dir, here.join("state/lote"));
        assert_eq!(
            settings.retention.directory,
            here.join("state/lote/archive")
        );
        assert_eq!(of("/d").unwrap().data_dir, PathBuf::from("/d"));
        let error = of("").unwrap_err();
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }

    #[test]
    fn a_hardware_address_is_six_bytes() {
        let mac = |mac: &str| {
            let args = NodeArgs {
                mac: Some(mac.to_owned()),
                ..NodeArgs::default()
            };
            args.resolve(Some("/d".into())).map(|settings| settings.mac)
        };
        assert_eq!(
            mac("00-1B-21-ab-cd-ef").unwrap().as_deref(),
            Some("00:1b:21:ab:cd:ef")
        );
        for wrong in ["", "00:1b:21:ab:cd", "00:1b:21:ab:cd:eg", "001b21abcdef"] {
            assert!(
                matches!(mac(wrong), Err(NodeSettingsError::Mac(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn joining_needs_a_place_and_many_machines() {
        let resolve = |text: &str| {
            let args: NodeArgs = toml::from_str(text).unwrap();
            args.resolve(Some("/d".into()))
        };
        let settings = resolve("join = 'https://a:8471'\njoin-token-file = 't'").unwrap();
        assert_eq!(settings.join.as_deref(), Some("https://a:8471"));
        assert!(matches!(
            resolve("join-token-file = 't'"),
            Err(NodeSettingsError::JoinMissing)
        ));
        assert!(matches!(
            resolve("join = 'https://a'\nstore = 'embedded'"),
            Err(NodeSettingsError::JoinEmbedded)
        ));
    }

    #[test]
    fn certificates_are_whole_or_made_here() {
        let tls = |tls, cert: Option<&str>, key: Option<&str>| {
            let args = NodeArgs {
                tls,
                tls_cert: cert.map(PathBuf::from),
                tls_key: key.map(PathBuf::from),
                ..NodeArgs::default()
            };
            args.resolve(Some("/d".into())).map(|settings| settings.tls)
        };
        assert_eq!(tls(false, None, None).unwrap(), TlsSource::None);
        assert_eq!(tls(true, None, None).unwrap(), TlsSource::SelfMade);
        assert!(matches!(
            tls(false, Some("c"), Some("k")).unwrap(),
            TlsSource::Files { .. }
        ));
        for (made, cert, key) in [
            (false, Some("c"), None),
            (false, None, Some("k")),
            (true, Some("c"), Some("k")),
        ] {
            assert!(matches!(tls(made, cert, key), Err(NodeSettingsError::Tls)));
        }
    }

    #[test]
    fn data_goes_where_the_user_may_write() {
        let home = || Some(PathBuf::from("/home/u"));
        assert_eq!(
            default_data_dir(true, None, home()).unwrap(),
            PathBuf::from("/var/lib/lote")
        );
        assert_eq!(
            default_data_dir(false, None, home()).unwrap(),
            PathBuf::from("/home/u/.local/state/lote")
        );
        assert_eq!(
            default_data_dir(false, Some("/s".into()), home()).unwrap(),
            PathBuf::from("/s/lote")
        );
        assert_eq!(default_data_dir(false, None, None), None);
    }
}
