//! How long finished jobs stay.

use std::path::{Path, PathBuf};

use clap::Args;
use lote_model::duration::Seconds;
use serde::Deserialize;

use crate::args::job::duration;

/// As many finished jobs as take a gigabyte of the store at 50 KiB each, which is many times what
/// jobs have; etcd takes two.
const JOBS_MAX: u64 = 20_000;

/// The options about finished jobs; the TOML file has them in a table `[retention]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RetentionArgs {
    /// The most jobs that are kept after their end; the oldest are archived [default: 20000]
    #[arg(long = "keep-finished-jobs", value_name = "N")]
    pub finished_jobs: Option<u64>,
    /// How long jobs are kept after their end, such as 90d [default: as long as there is room]
    #[arg(long = "keep-finished-for", value_name = "TIME")]
    pub finished_for: Option<String>,
    /// Where archived jobs are written [default: archive in the data directory]
    #[arg(long, value_name = "DIR")]
    pub archive_dir: Option<PathBuf>,
}

/// How long finished jobs stay, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// The most that are kept.
    pub jobs_max: u64,
    /// How long each is kept; none means as long as there is room.
    pub age_max: Option<Seconds>,
    /// The directory of the archive.
    pub directory: PathBuf,
}

/// `--keep-finished-for` is no time.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep finished jobs for '{given}': {reason}")]
pub struct RetentionError {
    given: String,
    reason: String,
}

impl RetentionArgs {
    /// These options, then those of the file, then the defaults.
    pub(super) fn resolve(
        self,
        file: Self,
        data_directory: &Path,
    ) -> Result<RetentionSettings, RetentionError> {
        let age_max = self.finished_for.or(file.finished_for).map(|given| {
            let read = duration(&given);
            read.map_err(|reason| RetentionError { given, reason })
        });
        Ok(RetentionSettings {
            jobs_max: self
                .finished_jobs
                .or(file.finished_jobs)
                .unwrap_or(JOBS_MAX),
            age_max: age_max.transpose()?.map(|age| Seconds(age.as_secs())),
            directory: self
                .archive_dir
                .or(file.archive_dir)
                .unwrap_or_else(|| data_directory.join("archive")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_args::NodeArgs;

    #[test]
    fn the_file_has_a_table_and_the_line_wins() {
        let file: NodeArgs =
            toml::from_str("[retention]\nfinished-jobs = 20\nfinished-for = 'P90D'").unwrap();
        let line = RetentionArgs {
            finished_jobs: Some(5),
            ..RetentionArgs::default()
        };
        let settings = line.resolve(file.retention, Path::new("/d")).unwrap();
        assert_eq!(settings.jobs_max, 5);
        assert_eq!(settings.age_max, Some(Seconds::days(90)));
        assert_eq!(settings.directory, Path::new("/d/archive"));
    }

    #[test]
    fn what_is_no_time_is_told() {
        let line = RetentionArgs {
            finished_for: Some("a while".into()),
            ..RetentionArgs::default()
        };
        let error = line
            .resolve(RetentionArgs::default(), Path::new("/d"))
            .unwrap_err();
        assert!(error.to_string().contains("'a while'"), "{error}");
    }
}
