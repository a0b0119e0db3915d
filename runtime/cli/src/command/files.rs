//! `lote job files`.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lote_model::path::JobPath;

use super::{Context, Outcome};
use crate::answer::File;
use crate::args::job::{FilePlace, FilesArgs, FilesCommand};
use crate::exit;
use crate::failure::Failure;
use crate::follow::{files_url, list_files};
use crate::show;

/// As programs make files; the user's mask takes away from it.
const MODE: u32 = 0o666;

pub(super) fn run(context: &Context<'_>, args: FilesArgs) -> Outcome {
    match args.get {
        Some(FilesCommand::Get {
            name,
            file,
            place,
            to,
        }) => get(context, &context.job(&name)?, &file, &place, to),
        // clap insists on a job when nothing is fetched.
        None => {
            let job = context.job_in(&args.experiment, &args.job.unwrap_or_default())?;
            list(context, &job, &args.place)
        }
    }
}

fn list(context: &Context<'_>, job: &JobPath, place: &FilePlace) -> Outcome {
    let action = format!("list the files of job '{}'", job.job);
    let url = files_url(job, &place.directory, &place.path);
    let values = context.client.list_by_post(&action, &url)?;
    context.print_list(&action, values, show::file_table)
}

fn get(
    context: &Context<'_>,
    job: &JobPath,
    file: &str,
    place: &FilePlace,
    to: Option<PathBuf>,
) -> Outcome {
    let (below, name) = split(&place.path, file);
    let action = format!("fetch '{file}' of job '{}'", job.job);
    let files = list_files(&context.client, &action, job, &place.directory, &below)?;
    let link = link(&files, name).ok_or_else(|| missing(file, job, place, &files))?;
    let mut stream = context.client.stream(&action, link, "*/*")?;
    let to = to.unwrap_or_else(|| PathBuf::from(name));
    let broken = |source: io::Error| Failure::Broken {
        action: action.clone(),
        url: context.client.url().to_owned(),
        source,
    };
    if to == Path::new("-") {
        copy_out(context, &mut stream).map_err(broken)?;
    } else {
        let length = copy_to(&mut stream, &to, MODE)?;
        context.say(&format!(
            "wrote {} ({})",
            to.display(),
            lote_model::quantity::format_bytes(length)
        ));
    }
    Ok(exit::SUCCESS)
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
