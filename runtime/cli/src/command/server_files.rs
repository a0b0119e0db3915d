//! `lote file-server ls|put|get|rm`, and what became of files that were moved.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Context, Outcome};
use crate::answer::{ServerFile, ServerFileKind};
use crate::args::file_server::TransferArgs;
use crate::failure::{self, Failure};
use crate::transfer::fetch::{RemoteFile, fetch};
use crate::transfer::place::{
    below, is_plain_name, names_a_directory, remote as normal, split, stays_inside,
};
use crate::transfer::remote::Remote;
use crate::transfer::retry::retried;
use crate::transfer::scan::Found;
use crate::transfer::send::send;
use crate::transfer::{self, Options};
use crate::{exit, show};
use lote_model::quantity::format_bytes;

impl From<TransferArgs> for Options {
    fn from(how: TransferArgs) -> Self {
        Self {
            parallel: how.parallel.into(),
            overwrite: how.overwrite,
        }
    }
}

fn server<'c>(context: &'c Context<'_>, name: &str) -> Result<Remote<'c>, Failure> {
    Ok(Remote::new(&context.client, &context.child(name)?))
}

pub(super) fn list(context: &Context<'_>, name: &str, path: &str, long: bool) -> Outcome {
    let remote = server(context, name)?;
    let path = normal(path);
    let values = match remote.list(&path) {
        // What is no directory is listed by itself, as with ls.
        Err(failure) if failure.code() == Some("NotADirectory") => {
            let url = remote.url("files", &path, &[("itself", "true")]);
            context.client.list(&format!("list '{path}'"), &url)?
        }
        values => values?,
    };
    let action = format!("list '{path}'");
    context.print_list(&action, values, |files: &[ServerFile], style| {
        show::server_files(files, long, style)
    })
}

pub(super) fn remove(context: &Context<'_>, name: &str, path: &str, recursive: bool) -> Outcome {
    let remote = server(context, name)?;
    if remote.remove(&normal(path), recursive)? {
        context.say(&format!("removed '{path}'"));
    } else {
        context.say(&format!("'{path}' was not there"));
    }
    Ok(exit::SUCCESS)
}

/// The sources, and where they go: `default` if there is only one path.
fn sources_and_target(mut paths: Vec<PathBuf>, default: &str) -> (Vec<PathBuf>, PathBuf) {
    match paths.len() {
        0 | 1 => (paths, PathBuf::from(default)),
        _ => {
            let target = paths.pop().unwrap_or_default();
            (paths, target)
        }
    }
}

/// Whether a path means what is in a directory rather than the directory.
fn is_contents(path: &str) -> bool {
    normal(path) == "." || path.ends_with("/.")
}

/// A path as text: what goes to the daemon must be UTF-8.
fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::Untransferable {
        path: path.display().to_string(),
        reason: "is not UTF-8, so the file server cannot be asked for it",
    })
}

pub(super) fn put(
    context: &Context<'_>,
    name: &str,
    paths: Vec<PathBuf>,
    how: TransferArgs,
) -> Outcome {
    let remote = server(context, name)?;
    let (sources, target) = sources_and_target(paths, "/");
    let target = text(&target)?;
    let there = normal(target);
    let into =
        sources.len() > 1 || names_a_directory(target) || retried(|| remote.is_directory(&there))?;
    let mut found = Found::default();
    for source in &sources {
        let is_directory = source.is_dir();
        let to = if is_directory && is_contents(&source.to_string_lossy()) {
            there.clone()
        } else if is_directory || into {
            below(&there, &last_name(source)?)
        } else {
            there.clone()
        };
        found.add(source, &to)?;
    }
    let one = found.files.len() == 1 && found.directories.is_empty() && found.left_out.is_empty();
    let outcome = send(&remote, found, how.into(), context.console)?;
    conclude(context, "sent", outcome, one)
}

/// The last part of a path here; that of the directory itself for `.` and `..`.
fn last_name(path: &Path) -> Result<String, Failure> {
    let failed = |source| Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    if let Some(name) = path.file_name() {
        return text(Path::new(name)).map(str::to_owned);
    }
    let whole = path.canonicalize().map_err(failed)?;
    let name = whole.file_name().unwrap_or_default();
    text(Path::new(name)).map(str::to_owned)
}

pub(super) fn get(
    context: &Context<'_>,
    name: &str,
    paths: Vec<PathBuf>,
    how: TransferArgs,
) -> Outcome {
    let remote = server(context, name)?;
    let (sources, target) = sources_and_target(paths, ".");
    let into =
        sources.len() > 1 || target.is_dir() || target.as_os_str().to_string_lossy().ends_with('/');
    let mut wanted = Wanted::default();
    for source in &sources {
        wanted.add(&remote, text(source)?, &target, into)?;
    }
    for directory in &wanted.directories {
        std::fs::create_dir_all(directory).map_err(write_failed(directory))?;
    }
    let one = wanted.files.len() == 1 && wanted.is_one_file();
    let (files, left_out) = (wanted.files, wanted.left_out);
    let mut outcome = fetch(
        &context.client,
        files,
        left_out,
        how.into(),
        false,
        context.console,
    );
    for (path, target) in wanted.links {
        if let Err(failure) = make_link(&path, &target, how.overwrite) {
            outcome.failures.push((path.display().to_string(), failure));
        }
    }
    conclude(context, "fetched", outcome, one)
}

/// What is to be fetched.
#[derive(Debug, Default)]
struct Wanted {
    files: Vec<RemoteFile>,
    directories: Vec<PathBuf>,
    links: Vec<(PathBuf, String)>,
    left_out: Vec<(String, Failure)>,
}

impl Wanted {
    fn is_one_file(&self) -> bool {
        self.directories.is_empty() && self.links.is_empty() && self.left_out.is_empty()
    }

    /// Adds a file, or a directory with all that is in it. A directory always goes
    /// into the target, whether that is there yet or not: so the same command can be
    /// given again.
    fn add(
        &mut self,
        remote: &Remote<'_>,
        source: &str,
        target: &Path,
        into: bool,
    ) -> Result<(), Failure> {
        let from = normal(source);
        let there = retried(|| remote.look_at(&from))?;
        let there = there
            .ok_or_else(|| Failure::NoSuchFile(format!("'{from}' is not on the file server")))?;
        let last = split(&from).1;
        // A link that is asked for is followed.
        let is_directory = there.kind == ServerFileKind::Directory
            || there.kind == ServerFileKind::Link && retried(|| remote.is_directory(&from))?;
        if is_directory {
            let to = if is_contents(source) {
                target.to_owned()
            } else {
                target.join(last)
            };
            return self.add_directory(remote, &from, &to, ".");
        }
        let to = if into {
            target.join(last)
        } else {
            target.to_owned()
        };
        match there.kind {
            ServerFileKind::File => self.files.push(file(remote, &from, &to, &there)),
            ServerFileKind::Link => self.files.push(RemoteFile {
                size: None,
                etag: None,
                modified: None,
                mode: None,
                ..file(remote, &from, &to, &there)
            }),
            _ => self.leave_out(&from, "is neither a file nor a directory"),
        }
        Ok(())
    }

    /// `inside` is the path below the directory that was asked for.
    fn add_directory(
        &mut self,
        remote: &Remote<'_>,
        from: &str,
        to: &Path,
        inside: &str,
    ) -> Result<(), Failure> {
        self.directories.push(to.to_owned());
        for found in retried(|| remote.files(from))? {
            let (there, here) = (below(from, &found.name), to.join(&found.name));
            if found.name_is_not_utf8 || !is_plain_name(&found.name) {
                self.leave_out(
                    &there,
                    "has a name that is not UTF-8, so it cannot be asked for",
                );
                continue;
            }
            match (found.kind, &found.target) {
                (ServerFileKind::Directory, _) => {
                    self.add_directory(remote, &there, &here, &below(inside, &found.name))?;
                }
                (ServerFileKind::File, _) => self.files.push(file(remote, &there, &here, &found)),
                (ServerFileKind::Link, Some(target)) if stays_inside(inside, target) => {
                    self.links.push((here, target.clone()));
                }
                (ServerFileKind::Link, _) => {
                    self.leave_out(&there, "is a link that leads out of what is fetched");
                }
                (ServerFileKind::Other, _) => {
                    self.leave_out(&there, "is neither a file nor a directory");
                }
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &str, reason: &'static str) {
        let path = path.to_owned();
        let failure = Failure::Untransferable {
            path: path.clone(),
            reason,
        };
        self.left_out.push((path, failure));
    }
}

fn file(remote: &Remote<'_>, from: &str, to: &Path, there: &ServerFile) -> RemoteFile {
    RemoteFile {
        name: from.to_owned(),
        url: remote.url("content", from, &[]),
        target: to.to_owned(),
        size: there.size,
        etag: there.etag.clone(),
        modified: Some(there.modified),
        mode: u32::from_str_radix(&there.mode, 8).ok(),
    }
}

fn make_link(path: &Path, target: &str, overwrite: bool) -> Result<(), Failure> {
    if std::fs::read_link(path).is_ok_and(|there| there == Path::new(target)) {
        return Ok(());
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if overwrite && !there.is_dir() => {
            std::fs::remove_file(path).map_err(write_failed(path))?;
        }
        Ok(_) => return Err(Failure::Exists(path.display().to_string())),
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, path).map_err(write_failed(path))
}

fn write_failed(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |source| Failure::File {
        action: "write",
        path: path.to_owned(),
        source,
    }
}

/// Tells what became of several files. `one`: the user asked for a single file, and
/// what is wrong with it is what is wrong.
pub(super) fn conclude(
    context: &Context<'_>,
    verb: &str,
    outcome: transfer::Outcome,
    one: bool,
) -> Outcome {
    let mut failures = outcome.failures;
    if one
        && failures.len() == 1
        && let Some((_, failure)) = failures.pop()
    {
        return Err(failure);
    }
    let style = context.console.style_err();
    for (_, failure) in &failures {
        context.console.error(&failure::render(failure, style));
    }
    context.say(&summary(
        verb,
        outcome.files,
        outcome.bytes,
        outcome.seconds,
        outcome.unchanged,
    ));
    match failures.as_slice() {
        [] => Ok(exit::SUCCESS),
        failures => {
            context.say(&format!(
                "{} could not be {verb}; see above",
                failures.len()
            ));
            let away = failures
                .iter()
                .any(|(_, failure)| failure.exit_code() == exit::UNREACHABLE);
            Ok(if away {
                exit::UNREACHABLE
            } else {
                exit::FAILURE
            })
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "for people; not negative; saturates"
)]
fn summary(verb: &str, files: u64, bytes: u64, seconds: f64, unchanged: u64) -> String {
    let rate = (bytes as f64 / seconds.max(0.001)) as u64;
    let plural = if files == 1 { "" } else { "s" };
    let mut text = format!(
        "{verb} {files} file{plural}, {} in {} ({}/s)",
        format_bytes(bytes),
        crate::output::seconds(seconds),
        format_bytes(rate)
    );
    if unchanged > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, "; {unchanged} there already");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_path_is_where_things_go() {
        let paths = |texts: &[&str]| texts.iter().map(PathBuf::from).collect::<Vec<_>>();
        let (sources, target) = sources_and_target(paths(&["a", "b", "c"]), "/");
        assert_eq!((sources, target), (paths(&["a", "b"]), "c".into()));
        let (sources, target) = sources_and_target(paths(&["a"]), "/");
        assert_eq!((sources, target), (paths(&["a"]), "/".into()));
        assert!(is_contents("a/.") && is_contents("/") && is_contents("."));
        assert!(!is_contents("a/") && !is_contents("a") && !is_contents(".."));
    }

    #[test]
    fn the_summary_counts() {
        assert_eq!(
            summary("sent", 1, 1 << 20, 2.0, 0),
            "sent 1 file, 1.0 MiB in 2.0 s (512.0 KiB/s)"
        );
        assert!(summary("sent", 2, 0, 0.0, 3).ends_with("; 3 there already"));
    }
}
