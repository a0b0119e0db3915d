//! How the file systems of jobs are mounted.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::args::job::duration;

/// How long a file system may take to be mounted, unless the operator says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_mins(1);

/// The options about mounts; the TOML file has them in a table `[mount]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct MountArgs {
    /// A TOML file that says what stands here for the file shares and blob containers of jobs;
    /// it is root's, and nobody else may read it
    #[arg(long, value_name = "FILE")]
    pub storage_table: Option<PathBuf>,
    /// Run the mount commands of `unmanagedFileSystems`: whoever may submit a job is root here
    #[arg(long = "allow-mount-commands")]
    pub allow_commands: bool,
    /// How long mounting a file system may take [default: 60s]
    #[arg(long = "mount-timeout", value_name = "TIME")]
    pub timeout: Option<String>,
}

/// How the file systems of jobs are mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountSettings {
    /// What stands for shares and containers.
    pub storage_table: Option<PathBuf>,
    /// Whether mount commands of users are run.
    pub allow_commands: bool,
    /// How long each file system may take.
    pub timeout: Duration,
}

/// One of these options makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// `--mount-timeout` is no time.
    #[error("--mount-timeout '{given}': {reason}")]
    Timeout {
        /// What was given.
        given: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The table is relative to nothing.
    #[error("the storage table '{}' cannot be made absolute; give it with a leading slash", path.display())]
    Table {
        /// What was given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl MountArgs {
    /// These options, then those of the file, then the defaults.
    pub(super) fn resolve(self, file: Self) -> Result<MountSettings, MountError> {
        let read = |given: String| match duration(&given) {
            Ok(time) if time.is_zero() => Err(MountError::Timeout {
                given,
                reason: "expected more than nothing".to_owned(),
            }),
            Ok(time) => Ok(time),
            Err(reason) => Err(MountError::Timeout { given, reason }),
        };
        // It is read again for each job, and hidden from jobs by its path.
        let absolute = |path: PathBuf| {
            std::path::absolute(&path).map_err(|source| MountError::Table { path, source })
        };
        let table = self.storage_table.or(file.storage_table);
        let timeout = self.timeout.or(file.timeout).map(read).transpose()?;
        Ok(MountSettings {
            storage_table: table.map(absolute).transpose()?,
            allow_commands: self.allow_commands || file.allow_commands,
            timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_users_are_not_run_unless_the_operator_says_so() {
        let settings = MountArgs::default().resolve(MountArgs::default()).unwrap();
        let expected = MountSettings {
            storage_table: None,
            allow_commands: false,
            timeout: Duration::from_mins(1),
        };
        assert_eq!(settings, expected);
        let file: MountArgs =
            toml::from_str("storage-table = '/t'\nallow-commands = true\ntimeout = '90s'").unwrap();
        let settings = MountArgs::default().resolve(file).unwrap();
        assert!(settings.allow_commands);
        assert_eq!(settings.storage_table, Some("/t".into()));
        assert_eq!(settings.timeout, Duration::from_secs(90));
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for bad in ["soon", "0s"] {
            let args = MountArgs {
                timeout: Some(bad.into()),
                ..MountArgs::default()
            };
            let error = args.resolve(MountArgs::default()).unwrap_err().to_string();
            assert!(error.contains("--mount-timeout"), "{error}");
        }
    }
}
