//! Which job comes first, and where it goes.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::args::job::duration;

/// The options about the order and the places of jobs; the TOML file has them in a table
/// `[scheduling]`. All daemons of a cluster have the same, because each can lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct SchedulingArgs {
    /// The labels that say which machines are near each other, the narrowest first
    /// [default: switch,rack]
    #[arg(long, value_name = "KEY,…", value_delimiter = ',')]
    pub nearness: Option<Vec<String>>,
    /// After how long what a workspace has used counts half in its fair share [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub usage_half_life: Option<String>,
}

/// What the operator says of it; what is none is left to the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchedulingSettings {
    /// The labels that count, the narrowest first.
    pub nearness: Option<Vec<String>>,
    /// After how long usage counts half.
    pub usage_half_life: Option<Duration>,
}

/// `--usage-half-life` is no time.
#[derive(Debug, thiserror::Error)]
#[error("--usage-half-life '{given}': {reason}")]
pub struct HalfLifeError {
    given: String,
    reason: String,
}

impl SchedulingArgs {
    /// These options, then those of the file.
    pub(super) fn resolve(self, file: Self) -> Result<SchedulingSettings, HalfLifeError> {
        let read = |given: String| match duration(&given) {
            Ok(time) if time.is_zero() => Err(HalfLifeError {
                given,
                reason: "expected more than nothing".to_owned(),
            }),
            Ok(time) => Ok(time),
            Err(reason) => Err(HalfLifeError { given, reason }),
        };
        let half_life = self.usage_half_life.or(file.usage_half_life);
        Ok(SchedulingSettings {
            nearness: self.nearness.or(file.nearness),
            usage_half_life: half_life.map(read).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_args::NodeArgs;

    #[test]
    fn the_file_has_a_table_and_the_line_wins() {
        let text = "[scheduling]\nnearness = ['leaf', 'hall']\nusage-half-life = '7d'";
        let file: NodeArgs = toml::from_str(text).unwrap();
        let line = SchedulingArgs {
            nearness: Some(vec!["row".into()]),
            ..SchedulingArgs::default()
        };
        let settings = line.resolve(file.scheduling).unwrap();
        assert_eq!(settings.nearness, Some(vec!["row".to_owned()]));
        assert_eq!(settings.usage_half_life, Some(Duration::from_hours(168)));
        for wrong in ["soon", "0"] {
            let line = SchedulingArgs {
                usage_half_life: Some(wrong.into()),
                ..SchedulingArgs::default()
            };
            let error = line.resolve(SchedulingArgs::default()).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }
}
