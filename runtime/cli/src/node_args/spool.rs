//! How output waits for a file system that is away.

use std::time::Duration;

use clap::Args;
use lote_model::quantity::{format_bytes, parse_bytes};
use serde::Deserialize;

use crate::args::job::duration;

/// How much output of a job may wait, unless told otherwise.
const LIMIT_BYTES: u64 = 1 << 30;

/// Less would be dropped before a file system that is well has taken it.
const LIMIT_BYTES_MIN: u64 = 1 << 20;

/// How long the end of a job waits for its output, unless told otherwise.
const PATIENCE: Duration = Duration::from_mins(10);

/// The options about output that waits; the TOML file has them in a table `[spool]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpoolArgs {
    /// How much output of a job may wait on this machine for its file system; of more, the oldest
    /// is dropped [default: 1GiB]
    #[arg(long = "spool-limit", value_name = "SIZE")]
    #[serde(rename = "limit")]
    pub spool_limit: Option<String>,
    /// How long the end of a job waits for its output to arrive [default: 10m]
    #[arg(long = "spool-patience", value_name = "TIME")]
    #[serde(rename = "patience")]
    pub spool_patience: Option<String>,
}

/// How output waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The most bytes of a job's output that wait.
    pub limit_bytes: u64,
    /// How long the end of a job waits for them.
    pub patience: Duration,
}

/// One of these options makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SpoolError {
    /// `--spool-limit` is no size, or too little.
    #[error(
        "'{0}' of output cannot wait; give --spool-limit a size of at least {min}, such as 1GiB",
        min = format_bytes(LIMIT_BYTES_MIN)
    )]
    Limit(String),
    /// `--spool-patience` is no time.
    #[error("--spool-patience: {0}")]
    Patience(String),
}

impl SpoolArgs {
    /// These options, then those of the file.
    pub(super) fn resolve(self, file: Self) -> Result<SpoolSettings, SpoolError> {
        let limit = self.spool_limit.or(file.spool_limit);
        let limit = limit.map(|text| {
            let bytes = parse_bytes(&text).filter(|bytes| *bytes >= LIMIT_BYTES_MIN);
            bytes.ok_or(SpoolError::Limit(text))
        });
        let patience = self.spool_patience.or(file.spool_patience);
        let patience = patience.map(|text| duration(&text).map_err(SpoolError::Patience));
        Ok(SpoolSettings {
            limit_bytes: limit.transpose()?.unwrap_or(LIMIT_BYTES),
            patience: patience.transpose()?.unwrap_or(PATIENCE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(line: &str, file: &str) -> Result<SpoolSettings, SpoolError> {
        let args = |text: &str| toml::from_str::<SpoolArgs>(text).unwrap();
        args(line).resolve(args(file))
    }

    #[test]
    fn the_line_wins_over_the_file_and_that_over_the_defaults() {
        let settings = resolve("limit = '2MiB'", "limit = '3MiB'\npatience = '1m'").unwrap();
        let expected = SpoolSettings {
            limit_bytes: 2 << 20,
            patience: Duration::from_mins(1),
        };
        assert_eq!(settings, expected);
        assert_eq!(resolve("", "").unwrap().limit_bytes, LIMIT_BYTES);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["limit = 'much'", "limit = '1'"] {
            let error = resolve(wrong, "").unwrap_err();
            assert!(error.to_string().contains("1.0 MiB"), "{error}");
        }
        assert!(matches!(
            resolve("", "patience = 'long'"),
            Err(SpoolError::Patience(_))
        ));
    }
}
