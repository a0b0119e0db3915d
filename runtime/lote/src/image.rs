//! `lote image`: what machines boot from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lote_api::boot_files;
use lote_cli::args::image::{ImageCommand, ServeArgs};
use lote_model::problem::explain;
use lote_plugin_host::{HostError, compile_for_any_processor};
use tokio::net::TcpListener;

use crate::daemon::builtins;

/// Writes the binary's plugins, compiled, into a directory. `cargo xtask node-image` has this run;
/// no command for people.
pub(crate) const COMPILE_SUBCOMMAND: &str = "__compile-plugins";

/// The code for an image is not made.
#[derive(Debug, thiserror::Error)]
enum CompileError {
    #[error("give one directory")]
    Directory,
    #[error("cannot compile the plugin {name}")]
    Host {
        name: &'static str,
        source: HostError,
    },
    #[error("cannot write {path}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Compiles, and tells why not.
pub(crate) fn compile_main(arguments: &[OsString]) -> ExitCode {
    let done = match arguments {
        [directory] => compile(Path::new(directory)),
        _ => Err(CompileError::Directory),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

fn compile(directory: &Path) -> Result<(), CompileError> {
    for builtin in builtins() {
        let (name, code) =
            compile_for_any_processor(builtin.component).map_err(|source| CompileError::Host {
                name: builtin.name,
                source,
            })?;
        let path = directory.join(name);
        std::fs::write(&path, code).map_err(|source| CompileError::File { path, source })?;
    }
    Ok(())
}

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
