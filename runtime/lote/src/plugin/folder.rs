//! `lote plugin install` and `lote plugin remove`: a daemon's plugin folder.
//!
//! A daemon looks at its folder every second and swaps what has changed. Jobs that run keep
//! their plans, so neither disturbs them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lote_cli::args::plugin::{PluginInstallArgs, PluginQuery, PluginRemoveArgs, PluginShowArgs};
use lote_cli::args::{ClientArgs, ClientCommand, GlobalArgs};
use lote_model::framework::PluginName;
use lote_plugin_host::{PluginInfo, digest};

use super::{Error, Terminal, check, host, read_component, verdict};

/// How long `--wait` waits for a daemon. A plugin in Python takes seconds to compile.
const WAIT_SECONDS: u64 = 180;

/// Checks a component and puts it into the folder under its name and version.
pub(super) fn install(
    terminal: &Terminal,
    global: GlobalArgs,
    args: &PluginInstallArgs,
) -> Result<ExitCode, Error> {
    let bytes = read_component(&args.file)?;
    let origin = args.file.display().to_string();
    // One that this host has compiled before has passed all checks.
    let Ok(plugin) = host()?.load(&origin, &bytes) else {
        refuse(terminal, &origin, &bytes)?;
        return Ok(verdict(false));
    };
    let info = plugin.info();
    let path = args.plugin_dir.join(file_name(info));
    put(&args.plugin_dir, &path, &bytes, args.replace)?;
    let name = format!("{}@{}", info.descriptor.name, info.descriptor.version);
    terminal.say(&format!("installed {name} as {}", path.display()));
    terminal.say(&format!("sha256 {}", info.digest));
    if !args.wait {
        return Ok(verdict(true));
    }
    let command = ClientCommand::Plugin(PluginQuery::Show(PluginShowArgs {
        name,
        wait: Some(WAIT_SECONDS),
        digest: Some(info.digest.clone()),
    }));
    Ok(lote_cli::run(ClientArgs { global, command }))
}

/// Says which check it does not pass.
fn refuse(terminal: &Terminal, origin: &str, bytes: &[u8]) -> Result<(), Error> {
    let checks = host()?.examine(origin, bytes).checks;
    let style = terminal.console.style_err();
    let text = check::text(&checks, &digest(bytes), style);
    terminal.console.error(&text);
    terminal.say("not installed");
    Ok(())
}

fn file_name(info: &PluginInfo) -> String {
    let descriptor = &info.descriptor;
    format!("{}@{}.wasm", descriptor.name, descriptor.version)
}

/// Writes a file under another name first: the daemon never sees half of it.
fn put(folder: &Path, path: &Path, bytes: &[u8], replace: bool) -> Result<(), Error> {
    match fs::read(path) {
        Ok(present) if present == bytes => return Ok(()),
        Ok(_) if !replace => return Err(Error::OtherContent(path.to_owned())),
        _ => {}
    }
    let failed = |source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left would not be loaded: it does not end in `.wasm`.
        drop(fs::remove_file(&temporary));
    }
    written.map_err(failed)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Removes what `install` has put there.
pub(super) fn remove(terminal: &Terminal, args: &PluginRemoveArgs) -> Result<ExitCode, Error> {
    let folder = &args.plugin_dir;
    let name = args.name.parse::<PluginName>();
    let path = name
        .ok()
        .filter(|name| name.version.is_some())
        .map(|name| folder.join(format!("{name}.wasm")))
        .filter(|path| path.is_file());
    let Some(path) = path else {
        return Err(Error::NotInstalled {
            folder: folder.clone(),
            there: installed(folder)?,
        });
    };
    fs::remove_file(&path).map_err(|source| Error::File {
        action: "remove",
        path: path.clone(),
        source,
    })?;
    terminal.say(&format!("removed {}", path.display()));
    Ok(verdict(true))
}

/// The names of what is in a folder.
fn installed(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(folder).map_err(|source| Error::File {
        action: "read",
        path: folder.to_owned(),
        source,
    })?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "wasm"))
        .filter_map(|path: PathBuf| path.file_stem().map(|it| it.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}
