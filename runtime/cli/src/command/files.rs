//! `lote job files`.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lote_model::path::JobPath;
use lote_model::quantity::format_bytes;

use super::{Context, Outcome, server_files};
use crate::answer::File;
use crate::args::job::{FilePlace, FilesArgs, FilesCommand};
use crate::exit;
use crate::failure::Failure;
use crate::follow::files_url;
use crate::show;
use crate::transfer::Options;
use crate::transfer::fetch::{RemoteFile, fetch};
use crate::transfer::place::is_plain_name;

pub(super) fn run(context: &Context<'_>, args: FilesArgs) -> Outcome {
    match args.get {
        Some(FilesCommand::Get {
            name,
            files,
            place,
            to,
            parallel,
        }) => {
            let job = context.job(&name)?;
            let wanted = Wanted {
                job: &job,
                place: &place,
                files: if files.is_empty() {
                    vec![String::new()]
                } else {
                    files
                },
            };
            match (to, wanted.files.as_slice()) {
                (Some(to), [file]) if to == Path::new("-") => to_output(context, &wanted, file),
                (to, _) => get(context, &wanted, to, parallel),
            }
        }
        // clap insists on a job when nothing is fetched.
        None => {
            let job = context.job_in(&args.experiment, &args.job.unwrap_or_default())?;
            list(context, &job, &args.place)
        }
    }
}

/// What is asked for of a job.
struct Wanted<'a> {
    job: &'a JobPath,
    place: &'a FilePlace,
    /// An empty one is all of the directory.
    files: Vec<String>,
}

fn list(context: &Context<'_>, job: &JobPath, place: &FilePlace) -> Outcome {
    let action = format!("list the files of job '{}'", job.job);
    let url = files_url(job, &place.directory, &place.path);
    let values = context.client.list_by_post(&action, &url)?;
    context.print_list(&action, values, show::file_table)
}

fn to_output(context: &Context<'_>, wanted: &Wanted<'_>, file: &str) -> Outcome {
    let (below, name) = split(&wanted.place.path, file);
    let action = format!("fetch '{file}' of job '{}'", wanted.job.job);
    let files = wanted.list(context, &below)?;
    let link = link(&files, name).ok_or_else(|| missing(file, wanted.job, wanted.place, &files))?;
    let mut stream = context.client.stream(&action, link, "*/*")?;
    copy_out(context, &mut stream).map_err(|source| Failure::Broken {
        action: action.clone(),
        url: context.client.url().to_owned(),
        source,
    })?;
    Ok(exit::SUCCESS)
}

/// What a job wrote replaces what an earlier look at it left here.
fn get(context: &Context<'_>, wanted: &Wanted<'_>, to: Option<PathBuf>, parallel: u8) -> Outcome {
    let into = to.as_deref().is_none_or(|to| {
        wanted.files.len() > 1 || to.is_dir() || to.to_string_lossy().ends_with('/')
    });
    let to = to.unwrap_or_else(|| PathBuf::from("."));
    let mut found = Vec::new();
    for file in &wanted.files {
        wanted.find(context, file, &to, into, &mut found)?;
    }
    let one = match found.as_slice() {
        [file] if wanted.files.len() == 1 => Some(file.target.clone()),
        _ => None,
    };
    let options = Options {
        parallel: parallel.into(),
        overwrite: true,
    };
    let outcome = fetch(
        &context.client,
        found,
        Vec::new(),
        options,
        true,
        context.console,
    );
    if let Some(target) = one.as_ref().filter(|_| outcome.failures.is_empty()) {
        let length = std::fs::metadata(target).map_or(0, |metadata| metadata.len());
        let (target, length) = (target.display(), format_bytes(length));
        context.say(&format!("wrote {target} ({length})"));
        return Ok(exit::SUCCESS);
    }
    server_files::conclude(context, "fetched", outcome, one.is_some())
}

impl Wanted<'_> {
    fn list(&self, context: &Context<'_>, below: &str) -> Result<Vec<File>, Failure> {
        let action = format!("list the files of job '{}'", self.job.job);
        let url = files_url(self.job, &self.place.directory, below);
        // Links that last as long as links may: fetching can take its time.
        let values = context
            .client
            .list_by_post(&action, &format!("{url}&linkexpiryinminutes=600"))?;
        let files = values
            .iter()
            .map(|value| context.client.understood(&action, value));
        files.collect()
    }

    /// A file, or all files of a directory, and where they go.
    fn find(
        &self,
        context: &Context<'_>,
        file: &str,
        to: &Path,
        into: bool,
        found: &mut Vec<RemoteFile>,
    ) -> Result<(), Failure> {
        let file = file.trim_end_matches('/');
        if file.is_empty() {
            return self.directory(context, &self.place.path, to, found);
        }
        let (below, name) = split(&self.place.path, file);
        let files = self.list(context, &below)?;
        let entry = files.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| missing(file, self.job, self.place, &files))?;
        if entry.file_type == "directory" {
            // Into the target, whether that is there yet or not.
            return self.directory(context, &format!("{below}/{name}"), &to.join(name), found);
        }
        let target = if into { to.join(name) } else { to.to_owned() };
        found.extend(remote_file(entry, file, target));
        Ok(())
    }

    fn directory(
        &self,
        context: &Context<'_>,
        below: &str,
        to: &Path,
        found: &mut Vec<RemoteFile>,
    ) -> Result<(), Failure> {
        std::fs::create_dir_all(to).map_err(|source| Failure::File {
            action: "write",
            path: to.to_owned(),
            source,
        })?;
        for entry in self.list(context, below)? {
            if !is_plain_name(&entry.name) {
                continue;
            }
            let (name, target) = (format!("{below}/{}", entry.name), to.join(&entry.name));
            if entry.file_type == "directory" {
                self.directory(context, &name, &target, found)?;
            } else {
                found.extend(remote_file(&entry, name.trim_start_matches("./"), target));
            }
        }
        Ok(())
    }
}

fn remote_file(entry: &File, name: &str, target: PathBuf) -> Option<RemoteFile> {
    Some(RemoteFile {
        name: name.to_owned(),
        url: entry.download_url.clone()?,
        target,
        size: entry.properties.content_length,
        etag: None,
        modified: entry.properties.last_modified,
        mode: None,
    })
}

/// The directory and the name of a file that may be given with its directory.
fn split<'a>(below: &str, file: &'a str) -> (String, &'a str) {
    match file.rsplit_once('/') {
        Some((folder, name)) if below == "." => (folder.to_owned(), name),
        Some((folder, name)) => (format!("{}/{folder}", below.trim_end_matches('/')), name),
        None => (below.to_owned(), file),
    }
}

fn link<'a>(files: &'a [File], name: &str) -> Option<&'a str> {
    files
        .iter()
        .find(|file| file.name == name)?
        .download_url
        .as_deref()
}

fn missing(file: &str, job: &JobPath, place: &FilePlace, files: &[File]) -> Failure {
    let there: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let there = if there.is_empty() {
        "nothing yet".into()
    } else {
        there.join(", ")
    };
    Failure::NoSuchFile(format!(
        "job '{}' has no file '{file}' in directory '{}'; there is {there}",
        job.job, place.directory
    ))
}

/// Writes to the standard output.
pub(super) fn copy_out(context: &Context<'_>, stream: &mut dyn Read) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => context.console.out(&piece[..length]),
        }
    }
}

/// Writes beside the target first, so that a broken connection leaves no file
/// that looks whole.
pub(super) fn copy_to(stream: &mut dyn Read, to: &Path, mode: u32) -> Result<u64, Failure> {
    let failed = |source| Failure::File {
        action: "write",
        path: to.to_owned(),
        source,
    };
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let copied = options.open(&partial).and_then(|mut file| {
        let length = io::copy(stream, &mut file)?;
        file.sync_all()?;
        std::fs::rename(&partial, to)?;
        Ok(length)
    });
    copied.map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_given_with_its_directory() {
        assert_eq!(split(".", "model.pt"), (".".into(), "model.pt"));
        assert_eq!(split(".", "a/b/model.pt"), ("a/b".into(), "model.pt"));
        assert_eq!(split("x/", "a/model.pt"), ("x/a".into(), "model.pt"));
    }
}
