//! `lote node`: one machine's daemon, put together from its parts.
//!
//! * `bootstrap` — what a first start makes.
//! * `certificate` — the daemon's certificate for clients: the operator's, or one made here.
//! * `cluster` — the cluster that daemons are who share a store: identity, key, authority.
//! * `door` — who may reach the daemon: tokens of a file, addresses, the audit log.
//! * `frameworks` — the built-in plugins, and those of the operator's folder.
//! * `join` — how this machine becomes a member, and what it keeps of that.
//! * `limits` — what the system lets the daemon have at once.
//! * `machine` — what this machine is called, and where others reach it.
//! * `peers` — this daemon among the others: its certificate, and the door for them.
//! * `power` — how machines are switched off and on.
//! * `remote` — remote starts inside a gang, between the node and the door for other daemons.
//! * `secret` — the key that signs links, on a machine that is alone.
//! * `store` — the store, embedded or in etcd.
//! * `supervision` — what systemd is told: ready, waiting, alive.

mod bootstrap;
mod certificate;
mod cluster;
mod door;
mod frameworks;
mod join;
mod limits;
mod machine;
mod peers;
mod power;
mod remote;
mod secret;
mod store;
mod supervision;
mod telemetry;

use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_api::server::serve;
use lote_api::state::{ApiConfig, ApiState};
use lote_api::tls::Tls;
use lote_api::{JoinOffer, RemoteStartDoor, Retention, TelemetrySource};
use lote_cli::DaemonArgs;
use lote_cli::args::GlobalArgs;
use lote_cli::boot::KERNEL_COMMAND_LINE;
use lote_cli::node_args::{
    self, ExportSettings, NfsServer, NodeArgs, NodeSettings, NodeSettingsError,
};
use lote_control::config::Config;
use lote_control::driver::{self, LeaderError, Leadership, NoSwitch, PowerSwitch};
use lote_model::access::fingerprint::Fingerprint;
use lote_model::framework::Frameworks;
use lote_model::id::NodeName;
use lote_model::membership::Membership;
use lote_model::problem::explain;
use lote_node::SpoolConfig;
use lote_node::agent::{
    Agent, AgentError, FencingConfig, GpuCheck, Isolation, NodeConfig, Reserved,
};
use lote_node::container::ContainerConfig;
use lote_node::devices::DeviceConfig;
use lote_node::export::{ExportConfig, ServerChoice};
use lote_node::isolation::FsIdentity;
use lote_node::launch::SpawnerCommand;
use lote_node::mount::MountConfig;
use lote_store::Store;
use lote_vault::SealingKey;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use cluster::Cluster;
use machine::MachineError;
use peers::PeerDoor;
use store::Place;
use telemetry::DaemonTelemetry;

pub(crate) use frameworks::builtins;

/// Threads for calls that block: plugins, directories of jobs, output files.
const BLOCKING_THREADS_MAX: usize = 64;

/// How long requests wait for this machine to be known as a node, which takes longer where it
/// must first end what it has lost.
const REGISTRATION_WAIT: Duration = Duration::from_secs(5);

/// The daemon could not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Settings(#[from] NodeSettingsError),
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    #[error("cannot start the threads of the daemon")]
    Runtime(#[source] std::io::Error),
    #[error("cannot drop the supplementary groups of root")]
    Groups(#[source] std::io::Error),
    #[error(transparent)]
    Door(#[from] door::DoorError),
    #[error(transparent)]
    Certificate(#[from] certificate::CertificateError),
    #[error(
        "cannot listen on {address}; is another daemon running? choose another address with --listen"
    )]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    Membership(#[from] join::MembershipError),
    #[error(transparent)]
    Store(#[from] store::StoreStartError),
    #[error(transparent)]
    Cluster(#[from] cluster::ClusterError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Peers(#[from] peers::PeersError),
    #[error(transparent)]
    Key(#[from] secret::KeyError),
    #[error(transparent)]
    SealingKey(#[from] lote_vault::KeyError),
    #[error(transparent)]
    Plugins(#[from] frameworks::PluginsError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::BootstrapError),
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    #[error("the API stopped")]
    Serve(#[source] std::io::Error),
    #[error(transparent)]
    Leader(#[from] LeaderError),
    #[error("a part of the daemon ended badly")]
    Task(#[source] tokio::task::JoinError),
}

/// There is no place for data.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the data directory {path}; choose another with --data-dir")]
pub(crate) struct DataDirectoryError {
    path: PathBuf,
    source: std::io::Error,
}

/// Runs the daemon until SIGTERM or SIGINT.
pub(crate) fn run(args: DaemonArgs) -> ExitCode {
    start_log();
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// To standard error, as services log; `LOTE_LOG` sets the level.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LOTE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn try_run(args: DaemonArgs) -> Result<(), StartError> {
    let settings = resolve(args.node)?;
    if nix::unistd::geteuid().is_root() {
        // Files of jobs are read with the rights of their user; root's own
        // groups would come along. Before any other thread exists.
        FsIdentity::drop_supplementary_groups().map_err(StartError::Groups)?;
    }
    limits::raise_open_files();
    create_data_directory(&settings.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(StartError::Runtime)?;
    runtime.block_on(serve_until_stopped(settings, &args.global))
}

/// The options with their file and defaults.
pub(crate) fn resolve(args: NodeArgs) -> Result<NodeSettings, NodeSettingsError> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let is_root = nix::unistd::geteuid().is_root();
    let default =
        node_args::default_data_dir(is_root, variable("XDG_STATE_HOME"), variable("HOME"));
    args.resolve(default)
}

/// Makes the data directory, which users may pass through and nobody may list.
pub(crate) fn create_data_directory(path: &Path) -> Result<(), DataDirectoryError> {
    let created = DirBuilder::new().recursive(true).mode(0o711).create(path);
    created.map_err(|source| DataDirectoryError {
        path: path.to_owned(),
        source,
    })
}

/// The store that a daemon with these settings would use.
pub(crate) async fn open_store(settings: &NodeSettings) -> Result<Arc<dyn Store>, OpenStoreError> {
    let membership = join::read(&settings.data_dir)?;
    let place = store::place(settings, membership.as_ref())?;
    Ok(store::open(&place, &settings.data_dir).await?)
}

/// There is no store for these settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error(transparent)]
    Membership(#[from] join::MembershipError),
    #[error(transparent)]
    Store(#[from] store::StoreStartError),
}

async fn serve_until_stopped(
    settings: NodeSettings,
    global: &GlobalArgs,
) -> Result<(), StartError> {
    let membership = join::membership(&settings, global).await?;
    let place = store::place(&settings, membership.as_ref())?;
    let store = store::open(&place, &settings.data_dir).await?;
    supervision::tell_waiting("waiting for the store");
    tokio::select! {
        () = store::wait_until_ready(&*store) => {}
        signal = wait_for_signal() => return signal,
    }
    store::refuse_half_import(&*store).await?;
    let member = Member::of(&settings, membership.as_ref(), &place, &*store).await?;
    let config = node_config(&settings, &member);
    let telemetry = Arc::new(DaemonTelemetry::default());
    let figures = telemetry.figures.clone();
    let mut api = api_config(&settings, &config, &member)?;
    api.telemetry = TelemetrySource::new(Arc::clone(&telemetry) as Arc<_>);
    let closed = door::check(&settings, &*store, &api).await?;
    let listener = listen(settings.listen).await?;
    let plugins = frameworks::load(&settings)?;
    let frameworks: Arc<dyn Frameworks> = Arc::clone(&plugins) as Arc<_>;
    let fingerprint = api.tls.as_ref().map(Tls::fingerprint);
    let api = ApiState::new(
        Arc::clone(&store),
        Arc::clone(&frameworks),
        api,
        Arc::new(Timestamp::now),
    );
    let leader_config = leader_config(&settings, store::leadership(&place, &config.name));
    let stop = CancellationToken::new();
    let spawner = SpawnerCommand::current_executable();
    let agent = Agent::start(config, Arc::clone(&store), spawner)?;
    telemetry.node.set(agent.telemetry()).ok();
    agent.call_peers_by(Arc::new(remote::Calls(api.clone())));
    let starts = Arc::new(remote::Starts(agent.remote_starts()));
    announce(&settings, &agent, fingerprint);
    door::announce(closed);
    bootstrap::default_resources(&*store, &agent.record().size, Timestamp::now()).await?;
    let mut registered = agent.registered();
    let status = format!(
        "node {}, listens on {}",
        agent.record().name,
        settings.listen
    );
    let node = tokio::spawn(agent.run(stop.clone()));
    // Who asks for nodes first finds this one. Requests that came before this wait in the
    // listener's queue.
    tokio::time::timeout(REGISTRATION_WAIT, registered.wait_for(|is| *is))
        .await
        .ok();
    // Ends with the daemon; nothing waits for it.
    tokio::spawn(frameworks::follow(plugins, settings.clone(), stop.clone()));
    let peers = tokio::spawn(serve_others(
        member.peers,
        api.clone(),
        starts,
        stop.clone(),
    ));
    let door = tokio::spawn(serve(listener, api, stop.clone().cancelled_owned()));
    let leader = tokio::spawn(driver::run(
        store,
        frameworks,
        power_switch(&settings),
        leader_config,
        figures,
        stop.clone(),
    ));
    supervision::tell_ready(&status);
    // From the moment on at which it is ready, as systemd counts; ends with the daemon.
    tokio::spawn(supervision::give_signs_of_life(stop.clone()));
    wait_for_signal().await?;
    supervision::tell_stopping();
    tracing::info!("stopping; running jobs go on");
    stop.cancel();
    let (door, peers, leader, node) = tokio::join!(door, peers, leader, node);
    if let Err(error) = node {
        tracing::error!(%error, "the node's part ended badly");
    }
    leader.map_err(StartError::Task)??;
    peers
        .map_err(StartError::Task)?
        .map_err(StartError::Serve)?;
    door.map_err(StartError::Task)?.map_err(StartError::Serve)
}

/// Nothing where nobody else is.
async fn serve_others(
    peers: Option<PeerDoor>,
    api: ApiState,
    starts: Arc<dyn RemoteStartDoor>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    match peers {
        Some(peers) => peers.serve(api, starts, stop).await,
        None => Ok(()),
    }
}

/// Who this daemon is among others, or alone.
struct Member {
    name: NodeName,
    address: String,
    /// Seals secrets.
    sealing_key: SealingKey,
    /// Signs links and operation ids.
    link_key: [u8; 32],
    /// For other daemons; none where the store is this daemon's own.
    peers: Option<PeerDoor>,
    join_offer: Option<JoinOffer>,
    /// Whether a member of etcd is on this machine.
    holds_etcd: bool,
}

impl Member {
    async fn of(
        settings: &NodeSettings,
        membership: Option<&Membership>,
        place: &Place,
        store: &dyn Store,
    ) -> Result<Self, StartError> {
        let data = &settings.data_dir;
        let Place::Etcd(access) = place else {
            return Ok(Self {
                name: machine::name(settings),
                address: machine::address(settings),
                sealing_key: lote_vault::sealing_key(data)?,
                link_key: secret::link_key(data)?,
                peers: None,
                join_offer: None,
                holds_etcd: false,
            });
        };
        let name = machine::shared_name(settings, membership).map_err(MachineError::from)?;
        let cluster = Cluster::open(store, data, membership, Timestamp::now()).await?;
        let address = machine::shared_address(settings, &access.endpoints)?;
        let link_key = cluster.link_key();
        let listen = machine::peer_listen(settings, &address);
        let peers = PeerDoor::open(listen, cluster.authority, &name, &address).await?;
        tracing::info!(
            cluster = cluster.identity.id,
            peers = peers.address,
            "a member of a cluster"
        );
        let offered = if settings.keep_etcd_key {
            access.without_certificate()
        } else {
            access.clone()
        };
        Ok(Self {
            name,
            address,
            link_key,
            peers: Some(peers),
            join_offer: Some(JoinOffer {
                key: cluster.key.clone(),
                etcd: offered,
            }),
            sealing_key: cluster.key,
            holds_etcd: access.endpoints.iter().any(|url| machine::is_here(url)),
        })
    }
}

fn leader_config(settings: &NodeSettings, leadership: Leadership) -> Config {
    let default = Config::default();
    let scheduling = &settings.scheduling;
    let half_life = scheduling.usage_half_life;
    let half_life = half_life.and_then(|time| jiff::SignedDuration::try_from(time).ok());
    Config {
        leadership,
        power: settings.power.as_ref().map(power::policy),
        nearness: scheduling.nearness.clone().unwrap_or(default.nearness),
        usage_half_life: half_life.unwrap_or(default.usage_half_life),
        ..Config::default()
    }
}

fn power_switch(settings: &NodeSettings) -> Arc<dyn PowerSwitch> {
    match &settings.power {
        Some(power) => Arc::new(power::Switch::new(power.clone())),
        None => Arc::new(NoSwitch),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn node_config(settings: &NodeSettings, member: &Member) -> NodeConfig {
    NodeConfig {
        name: member.name.clone(),
        address: member.address.clone(),
        ssh_port: settings.ssh_port,
        size: settings.size.clone(),
        data_directory: settings.data_dir.clone(),
        nvml_library: settings.nvml_library.clone(),
        gpu_check: settings.gpu.check.then(|| GpuCheck {
            command: settings.gpu.check_command.clone(),
        }),
        sysfs_root: settings.gpu.sysfs_root.clone(),
        isolation: match settings.isolation {
            node_args::Isolation::Auto => Isolation::Full,
            node_args::Isolation::None => Isolation::None,
        },
        hidden: told_at_boot(settings),
        sealing_key: Some(member.sealing_key.clone()),
        secrets_file: settings.secrets_file.clone(),
        labels: settings.labels.clone(),
        // Where a daemon is alone, nobody else can be given its jobs.
        fencing: member.peers.as_ref().map(|_| FencingConfig::default()),
        peer_address: member.peers.as_ref().map(|peers| peers.address.clone()),
        devices: DeviceConfig {
            allowed: settings.machine.allowed_devices.clone(),
            ..DeviceConfig::default()
        },
        reserved: Reserved {
            cpus: settings.machine.reserved_cpus,
            memory_bytes: settings.machine.reserved_memory_bytes,
        },
        mac_address: settings
            .mac
            .clone()
            .or_else(|| machine::mac_address(&member.address)),
        always_on: settings.always_on || member.holds_etcd,
        power_off: power::own_off(settings.power.as_ref()),
        spool: SpoolConfig {
            limit_bytes: settings.spool.limit_bytes,
            patience: settings.spool.patience,
        },
        mounts: MountConfig {
            storage_table: settings.mount.storage_table.clone(),
            allow_commands: settings.mount.allow_commands,
            time_limit: settings.mount.timeout,
            ..MountConfig::default()
        },
        containers: ContainerConfig {
            image_table: settings.container.image_table.clone(),
            pull_time_limit: settings.container.pull_timeout,
            cache_bytes: settings.container.cache_bytes,
        },
        export: export_config(&settings.export),
    }
}

/// Where the machine was told how to join, with a token.
fn told_at_boot(settings: &NodeSettings) -> Vec<PathBuf> {
    let directory = settings.boot.iter().cloned();
    let kernel = settings.boot.iter().map(|_| KERNEL_COMMAND_LINE.into());
    directory.chain(kernel).collect()
}

fn export_config(settings: &ExportSettings) -> ExportConfig {
    ExportConfig {
        server: match settings.server {
            NfsServer::Auto => ServerChoice::Auto,
            NfsServer::Kernel => ServerChoice::Kernel,
            NfsServer::Ganesha => ServerChoice::Ganesha,
        },
        nfs_port: settings.nfs_port,
        mount_port: settings.mount_port,
        directories: settings.directories.clone(),
        disks: settings.disks.clone(),
    }
}

fn api_config(
    settings: &NodeSettings,
    node: &NodeConfig,
    member: &Member,
) -> Result<ApiConfig, StartError> {
    let mut config = ApiConfig::new(node.name.clone(), member.link_key);
    let peers = member.peers.as_ref();
    config.peers = peers.map(|peers| peers.credentials().clone());
    config.join_offer.clone_from(&member.join_offer);
    config.quotas = settings.quotas;
    config.retention = Some(Retention {
        jobs_max: settings.retention.jobs_max,
        age_max: settings.retention.age_max,
        directory: settings.retention.directory.clone(),
        is_elected: member.peers.is_some(),
    });
    config.neighbours = settings.neighbours;
    config.storage_accounts = settings.storage_accounts.clone();
    config.sealing_key.clone_from(&node.sealing_key);
    config.read_as_job_user = node.isolation == Isolation::Full && nix::unistd::geteuid().is_root();
    config.tls = certificate::load(settings, &node.address)?;
    config.operator_tokens = door::operator_tokens(settings.token_file.as_deref())?;
    config.audit = Some(door::audit_log(&settings.data_dir)?);
    config.audit_reads = settings.audit_reads;
    Ok(config)
}

/// Says what is in force, so that nobody has to guess (design §1.5).
fn announce(settings: &NodeSettings, agent: &Agent, fingerprint: Option<Fingerprint>) {
    let node = agent.record();
    let scheme = if fingerprint.is_some() {
        "https"
    } else {
        "http"
    };
    tracing::info!(
        url = format!("{scheme}://{}", settings.listen),
        data = %settings.data_dir.display(),
        node = %node.name,
        size = node.size,
        cores = node.cpu_cores,
        gpus = node.gpus.len(),
        "ready"
    );
    if let Some(fingerprint) = fingerprint {
        tracing::info!("the certificate's fingerprint is {fingerprint}");
    }
    for capability in &node.isolation {
        let state = if capability.in_force {
            "in force"
        } else {
            "not in force"
        };
        tracing::info!("{}: {state}: {}", capability.name, capability.note);
    }
    for condition in &node.conditions {
        tracing::warn!("{}: {}", condition.code, condition.message);
    }
}

async fn wait_for_signal() -> Result<(), StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
