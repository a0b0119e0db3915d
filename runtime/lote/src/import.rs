//! `lote import`: fills an empty store with what `lote export` wrote.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lote_cli::args::state::ImportArgs;
use lote_cli::node_args::NodeSettingsError;
use lote_model::problem::explain;
use lote_store::StoreError;
use lote_store::dump::{Header, ImportError, ImportPlan};

use crate::daemon::{self, DataDirectoryError, OpenStoreError};

/// Nothing was imported, or not everything.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Settings(#[from] NodeSettingsError),
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    #[error(
        "the secrets in {file} are sealed with a key that is not in {data_directory}: copy \
         cluster.key there from the data directory of a daemon that the export comes from"
    )]
    OtherKey {
        file: PathBuf,
        data_directory: PathBuf,
    },
    #[error(transparent)]
    Key(#[from] lote_vault::KeyError),
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    #[error("the store does not answer")]
    Silent(#[source] StoreError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("cannot start the threads of the import")]
    Runtime(#[source] std::io::Error),
}

/// Imports, and tells how it went.
pub(crate) fn run(args: ImportArgs) -> ExitCode {
    match try_run(args) {
        Ok(told) => {
            eprintln!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: ImportArgs) -> Result<String, Error> {
    let settings = daemon::resolve(args.daemon)?;
    let plan = ImportPlan::read(&args.file)?;
    daemon::create_data_directory(&settings.data_dir)?;
    check_key(plan.header(), &args.file, &settings.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let store = daemon::open_store(&settings).await?;
        store.revision().await.map_err(Error::Silent)?;
        let imported = plan.import(&*store).await?;
        Ok(format!(
            "imported {} keys: the state of {}; start the daemon with the same options",
            imported.keys,
            plan.header().exported_at
        ))
    })
}

/// The daemon must be able to open what is sealed.
fn check_key(header: &Header, file: &Path, data_directory: &Path) -> Result<(), Error> {
    let Some(fingerprint) = &header.cluster_key else {
        return Ok(());
    };
    let is_there = data_directory.join(lote_vault::key::FILE).exists();
    if is_there && lote_vault::sealing_key(data_directory)?.fingerprint() == *fingerprint {
        return Ok(());
    }
    Err(Error::OtherKey {
        file: file.to_owned(),
        data_directory: data_directory.to_owned(),
    })
}
