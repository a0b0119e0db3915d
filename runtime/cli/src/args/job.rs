//! `lote job`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lote_model::duration::Seconds;

/// `lote job`.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Submit a job from a file: the JSON body of the API, also as YAML or TOML
    Create(CreateArgs),
    /// List the jobs of an experiment
    List {
        /// The experiment
        #[arg(short, long, default_value = "default")]
        experiment: String,
        /// The jobs of all experiments of the workspace
        #[arg(short, long, conflicts_with = "experiment")]
        all: bool,
    },
    /// Show a job: state, errors, why it waits, what it used, where its files are
    Show(JobName),
    /// List the nodes a job has now, and where to log in to them
    Nodes(JobName),
    /// Show what a running job does on its nodes and GPUs, and go on showing it
    Top(TopArgs),
    /// Show which processes start where: of a job, or of a file before submission
    Plan(PlanArgs),
    /// Print the output of a job's processes
    Logs(LogsArgs),
    /// List a job's files with links, or fetch one
    Files(FilesArgs),
    /// Wait until a job has ended; end with its exit code
    Wait(WaitArgs),
    /// End a job
    Terminate(EndArgs),
    /// Delete a job's record; a live job is terminated first, its files stay
    Delete(EndArgs),
}

/// A job in an experiment.
#[derive(Clone, Debug, Args)]
pub struct JobName {
    /// The job
    #[arg(value_name = "JOB")]
    pub job: String,
    /// Its experiment
    #[arg(short, long, default_value = "default")]
    pub experiment: String,
}

/// `lote job create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The job's name [default: the file's `name`, or made of the file's name and the time]
    pub name: Option<String>,
    /// The job file; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// The experiment the job goes to
    #[arg(short, long, default_value = "default")]
    pub experiment: String,
    /// The cluster, name or full id [default: the file's, or `local`]
    #[arg(short, long)]
    pub cluster: Option<String>,
}

/// `lote job top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The job.
    #[command(flatten)]
    pub name: JobName,
    /// Once, and not again and again as on a terminal
    #[arg(long)]
    pub once: bool,
}

/// `lote job plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// A job, or a job file that has not been submitted
    #[arg(value_name = "JOB|FILE")]
    pub subject: String,
    /// The experiment
    #[arg(short, long, default_value = "default")]
    pub experiment: String,
    /// For a file: the cluster, name or full id [default: the file's, or `local`]
    #[arg(short, long)]
    pub cluster: Option<String>,
}

/// `lote job logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The job.
    #[command(flatten)]
    pub name: JobName,
    /// Go on until the job has ended
    #[arg(short, long)]
    pub follow: bool,
    /// Only this file, such as stderr-0.txt or execution.log
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
}

/// `lote job files`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct FilesArgs {
    /// Fetches instead of listing.
    #[command(subcommand)]
    pub get: Option<FilesCommand>,
    /// The job; none only when a file is fetched
    #[arg(value_name = "JOB", required = true)]
    pub job: Option<String>,
    /// Its experiment
    #[arg(short, long, default_value = "default")]
    pub experiment: String,
    /// Which directory.
    #[command(flatten)]
    pub place: FilePlace,
}

/// Which directory of a job.
#[derive(Clone, Debug, Args)]
pub struct FilePlace {
    /// `stdouterr`, or the id of an output directory
    #[arg(short, long, value_name = "ID", default_value = "stdouterr")]
    pub directory: String,
    /// A directory below it
    #[arg(short, long, default_value = ".")]
    pub path: String,
}

/// What else `lote job files` does.
#[derive(Debug, Subcommand)]
pub enum FilesCommand {
    /// Fetch files, and directories with all in them; goes on with what was broken off
    Get {
        /// The job.
        #[command(flatten)]
        name: JobName,
        /// The files and directories; all of the output directory when there is none
        #[arg(value_name = "FILE")]
        files: Vec<String>,
        /// Which directory.
        #[command(flatten)]
        place: FilePlace,
        /// Where to put it: a directory, or the name of one file; `-` is standard output [default: here]
        #[arg(short = 'O', long, value_name = "PATH")]
        to: Option<PathBuf>,
        /// How many requests at once
        #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
        parallel: u8,
    },
}

/// `lote job wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The job.
    #[command(flatten)]
    pub name: JobName,
    /// Give up after this time, such as 30s, 10m, 2h or PT1H30M; the job goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// `lote job terminate` and `lote job delete`.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// The job.
    #[command(flatten)]
    pub name: JobName,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
}

/// Reads `90`, `30s`, `10m`, `2h`, `1d` or an ISO 8601 duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 30s, 10m, 2h or PT1H30M".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        let seconds = Seconds::parse(text).ok_or_else(wrong)?;
        return Ok(Duration::from_secs(seconds.0));
    }
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(line: &str) -> Result<FilesArgs, clap::Error> {
        use clap::FromArgMatches as _;
        let command = FilesArgs::augment_args(clap::Command::new("files"));
        let matches = command.try_get_matches_from(line.split(' '))?;
        FilesArgs::from_arg_matches(&matches)
    }

    #[test]
    fn files_are_listed_or_fetched() {
        let list = files("files j1 -d MODEL").unwrap();
        assert_eq!(list.job.as_deref(), Some("j1"));
        assert_eq!(
            (list.place.directory.as_str(), list.experiment.as_str()),
            ("MODEL", "default")
        );
        let get = files("files get j1 a.txt -e e2").unwrap();
        assert!(matches!(
            get.get,
            Some(FilesCommand::Get { name, files, .. }) if name.experiment == "e2" && files == ["a.txt"]
        ));
        assert!(files("files -d MODEL").is_err());
    }

    #[test]
    fn times_are_read_in_either_notation() {
        for (text, seconds) in [("90", 90), ("10m", 600), ("2h", 7200), ("PT1H30M", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "m", "5 parsecs", "-1s", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
