//! `lote job logs`.

use std::io::Read as _;

use lote_model::job::STDOUTERR;
use lote_model::path::JobPath;

use super::{Context, Outcome};
use crate::answer::File;
use crate::args::job::LogsArgs;
use crate::exit;
use crate::failure::Failure;
use crate::follow::files::{StreamFile, need_labels};
use crate::follow::printer::Printer;
use crate::follow::{self, Options, list_files, log_url};

pub(super) fn run(context: &Context<'_>, args: LogsArgs) -> Outcome {
    let path = context.job(&args.name)?;
    if args.follow {
        let options = Options {
            output: true,
            only_file: args.file,
            quiet: true,
            interrupts: None,
            deadline: None,
        };
        follow::follow(&context.client, &path, context.console, options)?;
        return Ok(exit::SUCCESS);
    }
    let printer = Printer::new(context.console);
    match args.file {
        Some(file) => print(context, &path, &file, &printer)?,
        None => print_all(context, &path, &printer)?,
    }
    Ok(exit::SUCCESS)
}

/// One file after the other; with several processes every line says whose it is.
fn print_all(context: &Context<'_>, path: &JobPath, printer: &Printer) -> Result<(), Failure> {
    let action = format!("list the output of job '{}'", path.job);
    let files: Vec<File> = list_files(&context.client, &action, path, STDOUTERR, ".")?;
    let names = || files.iter().map(|file| file.name.as_str());
    if need_labels(names()) {
        printer.label_lines();
    }
    for name in names().filter(|name| StreamFile::parse(name).is_some()) {
        print(context, path, name, printer)?;
    }
    Ok(())
}

fn print(
    context: &Context<'_>,
    path: &JobPath,
    name: &str,
    printer: &Printer,
) -> Result<(), Failure> {
    let action = format!("read '{name}' of job '{}'", path.job);
    let mut stream = context
        .client
        .stream(&action, &log_url(path, name, false), "*/*")?;
    let file = StreamFile::named(name);
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut piece).map_err(|source| Failure::Broken {
            action: action.clone(),
            url: context.client.url().to_owned(),
            source,
        })?;
        if length == 0 {
            return Ok(());
        }
        printer.show(&file, &piece[..length]);
    }
}
