//! `lote image`: what machines boot from.

use std::path::PathBuf;
use std::process::ExitCode;

use lote_api::boot_files;
use lote_cli::args::image::{ImageCommand, ServeArgs};
use lote_model::problem::explain;
use tokio::net::TcpListener;

/// The files are not served.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} is missing; give the directory `network` of a node image")]
    Missing(PathBuf),
    #[error("cannot serve on {address}")]
    Serve {
        address: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot start the server")]
    Runtime(#[source] std::io::Error),
}

/// Serves, and tells why not.
pub(crate) fn run(command: ImageCommand) -> ExitCode {
    let ImageCommand::Serve(args) = command;
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(args: ServeArgs) -> Result<(), Error> {
    let names = boot_files::FILES.into_iter().chain([boot_files::SCRIPT]);
    let missing = names
        .map(|name| args.directory.join(name))
        .find(|path| !path.is_file());
    if let Some(path) = missing {
        return Err(Error::Missing(path));
    }
    let address = args.listen;
    let failed = |source| Error::Serve { address, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        println!(
            "serving {} on http://{bound}/boot.ipxe",
            args.directory.display()
        );
        boot_files::serve(listener, &args.directory, args.append)
            .await
            .map_err(failed)
    })
}
