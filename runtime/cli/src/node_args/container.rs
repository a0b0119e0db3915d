//! Where the images of containers come from.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lote_model::quantity::{format_bytes, parse_bytes};
use serde::Deserialize;

use crate::args::job::duration;

/// How long each step of a pull may take, unless told otherwise.
const PULL_TIMEOUT: Duration = Duration::from_hours(1);

/// How much unpacked images may take up, unless told otherwise.
const CACHE_BYTES: u64 = 64 << 30;

/// Less would keep no image for the next job.
const CACHE_BYTES_MIN: u64 = 1 << 20;

/// The options about containers; the TOML file has them in a table `[container]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContainerArgs {
    /// A TOML file that says where images come from here: archives, directories, other registries;
    /// it is root's, and nobody else may read it
    #[arg(long, value_name = "FILE")]
    pub image_table: Option<PathBuf>,
    /// How long an image may take to be pulled, and to be unpacked [default: 1h]
    #[arg(long = "image-pull-timeout", value_name = "TIME")]
    pub pull_timeout: Option<String>,
    /// How much unpacked images may take up; those not used for longest are removed first
    /// [default: 64GiB]
    #[arg(long = "image-cache-size", value_name = "SIZE")]
    pub cache_size: Option<String>,
}

/// Where the images of containers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSettings {
    /// What stands for the names of images.
    pub image_table: Option<PathBuf>,
    /// How long each step of a pull may take.
    pub pull_timeout: Duration,
    /// How much unpacked images may take up, in bytes.
    pub cache_bytes: u64,
}

/// One of these options makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// `--image-pull-timeout` is no time.
    #[error("--image-pull-timeout '{given}': {reason}")]
    Timeout {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `--image-cache-size` is no size, or too little.
    #[error(
        "'{0}' is no room for images; give --image-cache-size a size of at least {min}, such as \
         64GiB",
        min = format_bytes(CACHE_BYTES_MIN)
    )]
    Size(String),
    /// The table is relative to nothing.
    #[error("the image table '{}' cannot be made absolute; give it with a leading slash", path.display())]
    Table {
        /// What was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ContainerArgs {
    /// These options, then those of the file, then the defaults.
    pub(super) fn resolve(self, file: Self) -> Result<ContainerSettings, ContainerError> {
        let timeout = |given: String| match duration(&given) {
            Ok(time) if time.is_zero() => Err(ContainerError::Timeout {
                given,
                reason: "expected more than nothing".to_owned(),
            }),
            Ok(time) => Ok(time),
            Err(reason) => Err(ContainerError::Timeout { given, reason }),
        };
        let size = |given: String| {
            let bytes = parse_bytes(&given).filter(|bytes| *bytes >= CACHE_BYTES_MIN);
            bytes.ok_or(ContainerError::Size(given))
        };
        // It is read again for each job, and hidden from jobs by its path.
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|source| ContainerError::Table { path, source })
        };
        let table = self.image_table.or(file.image_table);
        let pull_timeout = self.pull_timeout.or(file.pull_timeout).map(timeout);
        let cache_bytes = self.cache_size.or(file.cache_size).map(size);
        Ok(ContainerSettings {
            image_table: table.map(absolute).transpose()?,
            pull_timeout: pull_timeout.transpose()?.unwrap_or(PULL_TIMEOUT),
            cache_bytes: cache_bytes.transpose()?.unwrap_or(CACHE_BYTES),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(line: &str, file: &str) -> Result<ContainerSettings, ContainerError> {
        let args = |text: &str| toml::from_str::<ContainerArgs>(text).unwrap();
        args(line).resolve(args(file))
    }

    #[test]
    fn the_line_wins_over_the_file_and_that_over_the_defaults() {
        let settings = resolve(
            "cache-size = '2GiB'",
            "image-table = '/t'\ncache-size = '1GiB'\npull-timeout = '90s'",
        );
        let expected = ContainerSettings {
            image_table: Some("/t".into()),
            pull_timeout: Duration::from_secs(90),
            cache_bytes: 2 << 30,
        };
        assert_eq!(settings.unwrap(), expected);
        let settings = resolve("", "").unwrap();
        assert_eq!(
            (settings.image_table, settings.pull_timeout),
            (None, PULL_TIMEOUT)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (wrong, option) in [
            ("cache-size = 'much'", "--image-cache-size"),
            ("cache-size = '1'", "--image-cache-size"),
            ("pull-timeout = '0s'", "--image-pull-timeout"),
            ("pull-timeout = 'soon'", "--image-pull-timeout"),
        ] {
            let error = resolve(wrong, "").unwrap_err().to_string();
            assert!(error.contains(option), "{error}");
        }
    }
}
