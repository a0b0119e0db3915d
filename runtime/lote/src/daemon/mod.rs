//! `lote node`: one machine's daemon, put together from its parts.
//!
//! * `bootstrap` — what a first start makes.
//! * `certificate` — the daemon's certificate: the operator's, or one made here.
//! * `door` — who may reach the daemon: tokens of a file, addresses, the audit log.
//! * `frameworks` — the built-in plugins, and those of the operator's folder.
//! * `limits` — what the system lets the daemon have at once.
//! * `secret` — the key that signs links.
//! * `store` — the store, embedded or in etcd.

mod bootstrap;
mod certificate;
mod door;
mod frameworks;
mod limits;
mod secret;
mod store;

use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lote_api::Retention;
use lote_api::server::serve;
use lote_api::state::{ApiConfig, ApiState};
use lote_api::tls::Tls;
use lote_cli::node_args::{self, NodeArgs, NodeSettings, NodeSettingsError, StoreSettings};
use lote_control::config::Config;
use lote_control::driver::{self, LeaderError};
use lote_model::access::fingerprint::Fingerprint;
use lote_model::framework::Frameworks;
use lote_model::id::NodeName;
use lote_model::problem::explain;
use lote_node::agent::{Agent, AgentError, FencingConfig, Isolation, NodeConfig};
use lote_node::isolation::FsIdentity;
use lote_node::launch::SpawnerCommand;
use lote_vault::SealingKey;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) use self::store::{StoreStartError, open as open_store};

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
    Store(#[from] store::StoreStartError),
    #[error(transparent)]
    Key(#[from] secret::KeyError),
    #[error(transparent)]
    SealingKey(#[from] lote_vault::KeyError),
    #[error(transparent)]
    Plugins(#[from] lote_plugin_host::HostError),
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
pub(crate) fn run(args: NodeArgs) -> ExitCode {
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

fn try_run(args: NodeArgs) -> Result<(), StartError> {
    let settings = resolve(args)?;
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
    runtime.block_on(serve_until_stopped(settings))
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

async fn serve_until_stopped(settings: NodeSettings) -> Result<(), StartError> {
    let store = store::open(&settings).await?;
    tokio::select! {
        () = store::wait_until_ready(&*store) => {}
        signal = wait_for_signal() => return signal,
    }
    store::refuse_half_import(&*store).await?;
    let sealing_key = lote_vault::sealing_key(&settings.data_dir)?;
    let config = node_config(&settings, sealing_key);
    let api = api_config(&settings, &config)?;
    let closed = door::check(&settings, &*store, &api).await?;
    let listener = listen(settings.listen).await?;
    let frameworks: Arc<dyn Frameworks> = Arc::new(frameworks::load(&settings)?);
    let fingerprint = api.tls.as_ref().map(Tls::fingerprint);
    let api = ApiState::new(
        Arc::clone(&store),
        Arc::clone(&frameworks),
        api,
        Arc::new(Timestamp::now),
    );
    let leader_config = Config {
        leadership: store::leadership(&settings, &config.name),
        ..Config::default()
    };
    let stop = CancellationToken::new();
    let spawner = SpawnerCommand::current_executable();
    let agent = Agent::start(config, Arc::clone(&store), spawner)?;
    announce(&settings, &agent, fingerprint);
    door::announce(closed);
    bootstrap::default_resources(&*store, &agent.record().size, Timestamp::now()).await?;
    let mut registered = agent.registered();
    let node = tokio::spawn(agent.run(stop.clone()));
    // Who asks for nodes first finds this one. Requests that came before this wait in the
    // listener's queue.
    tokio::time::timeout(REGISTRATION_WAIT, registered.wait_for(|is| *is))
        .await
        .ok();
    let door = tokio::spawn(serve(listener, api, stop.clone().cancelled_owned()));
    let leader = tokio::spawn(driver::run(store, frameworks, leader_config, stop.clone()));
    wait_for_signal().await?;
    tracing::info!("stopping; running jobs go on");
    stop.cancel();
    let (door, leader, node) = tokio::join!(door, leader, node);
    if let Err(error) = node {
        tracing::error!(%error, "the node's part ended badly");
    }
    leader.map_err(StartError::Task)??;
    door.map_err(StartError::Task)?.map_err(StartError::Serve)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen { address, source })
}

fn node_config(settings: &NodeSettings, sealing_key: SealingKey) -> NodeConfig {
    let host_name = || {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
    };
    let name = settings
        .name
        .clone()
        .or_else(host_name)
        .unwrap_or_else(|| "node".to_owned());
    NodeConfig {
        name: NodeName::new(node_name(&name)),
        address: settings
            .address
            .clone()
            .unwrap_or_else(|| settings.listen.ip().to_string()),
        ssh_port: settings.ssh_port,
        size: settings.size.clone(),
        data_directory: settings.data_dir.clone(),
        nvml_library: settings.nvml_library.clone(),
        isolation: match settings.isolation {
            node_args::Isolation::Auto => Isolation::Full,
            node_args::Isolation::None => Isolation::None,
        },
        sealing_key: Some(sealing_key),
        secrets_file: settings.secrets_file.clone(),
        labels: settings.labels.clone(),
        fencing: match settings.store {
            // Nobody else can be given this node's jobs.
            StoreSettings::Embedded => None,
            StoreSettings::Etcd(_) => Some(FencingConfig::default()),
        },
        peer_address: None,
    }
}

/// Names of nodes are parts of keys and file names: lower case, nothing strange.
fn node_name(text: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    text.chars()
        .map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' })
        .collect()
}

fn api_config(settings: &NodeSettings, node: &NodeConfig) -> Result<ApiConfig, StartError> {
    let mut config = ApiConfig::new(node.name.clone(), secret::link_key(&settings.data_dir)?);
    config.quotas = settings.quotas;
    config.retention = Some(Retention {
        jobs_max: settings.retention.jobs_max,
        age_max: settings.retention.age_max,
        directory: settings.retention.directory.clone(),
        is_elected: settings.store != StoreSettings::Embedded,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_fit_into_keys() {
        assert_eq!(node_name("GPU_box-1.lab"), "gpu_box-1.lab");
        assert_eq!(node_name("a/b ü"), "a-b--");
    }
}
