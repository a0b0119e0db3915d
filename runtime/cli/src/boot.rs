//! What a machine is told when it boots: words of the kernel's command line, and two files beside
//! the kernel. A node image starts the daemon with `lote node --boot DIRECTORY`.
//!
//! `lote.NAME=VALUE` on the kernel's command line is `--NAME=VALUE`, and `lote.NAME` alone is
//! `--NAME`, for every option of the daemon. `lote.toml` in the directory is the file of
//! `--config`, and `lote.token` the token to join with.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel shows its command line.
pub const KERNEL_COMMAND_LINE: &str = "/proc/cmdline";

/// The options of a machine, in the boot directory.
const CONFIGURATION: &str = "lote.toml";

/// The token to join with, in the boot directory.
const TOKEN: &str = "lote.token";

/// What all words that are for Lote start with.
const PREFIX: &str = "lote.";

/// The option that makes the daemon look for all this.
const OPTION: &str = "--boot";

/// What the machine was told at boot cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}, which says how this machine was booted")]
pub struct BootError {
    /// The file.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// The command line with what the machine was told at boot, if it asks for that.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn extended(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, BootError> {
    if let Some(directory) = directory(&arguments) {
        let kernel = read(Path::new(KERNEL_COMMAND_LINE))?.unwrap_or_default();
        let mut told = options(&kernel);
        let configuration = directory.join(CONFIGURATION);
        if configuration.exists() && !has(&told, "--config") {
            told.push(format!("--config={}", configuration.display()));
        }
        if let Some(token) = read(&directory.join(TOKEN))?
            && !has(&told, "--token")
        {
            told.push(format!("--token={}", token.trim()));
        }
        arguments.extend(told.into_iter().map(OsString::from));
    }
    Ok(arguments)
}

/// The directory of `lote node --boot DIRECTORY`.
fn directory(arguments: &[OsString]) -> Option<PathBuf> {
    if arguments.get(1).is_none_or(|command| command != "node") {
        return None;
    }
    let mut rest = arguments.iter().skip(2);
    let given = rest.find_map(|argument| {
        let text = argument.to_str()?;
        let value = text.strip_prefix(OPTION)?;
        (value.is_empty() || value.starts_with('=')).then(|| value.to_owned())
    })?;
    match given.strip_prefix('=') {
        Some(directory) => Some(directory.into()),
        None => rest.next().map(PathBuf::from),
    }
}

fn has(options: &[String], name: &str) -> bool {
    let is_it = |option: &String| {
        let rest = option.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    options.iter().any(is_it)
}

/// A file's text; none if there is no such file.
fn read(path: &Path) -> Result<Option<String>, BootError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BootError {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The daemon's options in a kernel's command line.
fn options(command_line: &str) -> Vec<String> {
    let words = words(command_line);
    let ours = words.iter().filter_map(|word| word.strip_prefix(PREFIX));
    let named = ours.filter(|word| !word.is_empty() && !word.starts_with('='));
    named.map(|word| format!("--{word}")).collect()
}

/// The words as the kernel tells them apart: by blanks that are not between double quotes, which
/// are left out.
fn words(command_line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in command_line.trim_end_matches('\0').chars() {
        match character {
            '"' => quoted = !quoted,
            blank if blank.is_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn words_for_others_are_left_alone() {
        let told = options(
            "BOOT_IMAGE=/vmlinuz quiet lote.name=gpu-02 lote.tls ro lote.label=\"rack=r 1\" \
             lote. lote.=x mylote.name=y\n",
        );
        assert_eq!(told, ["--name=gpu-02", "--tls", "--label=rack=r 1"]);
        assert!(options("").is_empty());
    }

    #[test]
    fn only_a_daemon_that_asks_is_told() {
        for (line, found) in [
            ("lote node --boot /m", Some("/m")),
            ("lote node --boot=/m --tls", Some("/m")),
            ("lote node --bootstrap /m", None),
            ("lote node list", None),
            ("lote run --boot /m", None),
            ("lote", None),
        ] {
            let told = directory(&arguments(line));
            assert_eq!(told, found.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn the_files_beside_the_kernel_become_options() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!("lote node --boot {}", folder.path().display());
        let before = extended(arguments(&line)).unwrap();
        std::fs::write(folder.path().join(CONFIGURATION), "name = \"n\"\n").unwrap();
        std::fs::write(folder.path().join(TOKEN), " secret \n").unwrap();
        let after = extended(arguments(&line)).unwrap();
        let added: Vec<_> = after[before.len()..].iter().collect();
        let config = format!("--config={}", folder.path().join(CONFIGURATION).display());
        assert_eq!(added, [config.as_str(), "--token=secret"]);
    }
}
