//! How machines are switched off and on.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::args::job::duration;

/// What switches a machine off that does that itself, unless told otherwise.
const OFF_COMMAND: &str = "systemctl poweroff";

/// How long a machine may take to come back, unless told otherwise.
const ON_WITHIN: Duration = Duration::from_mins(15);

/// How long one may take to fall silent.
const OFF_WITHIN: Duration = Duration::from_mins(5);

/// How long an operator's command may run, unless told otherwise.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// The options about power; the TOML file has them in a table `[power]`. All daemons of a
/// cluster have the same, because each can lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct PowerArgs {
    /// How machines are switched on; `wake-on-lan` needs no other option [default: by
    /// --power-on-command, if there is one]
    #[arg(long = "power", value_enum, value_name = "HOW")]
    pub driver: Option<PowerDriver>,
    /// Switches the machine on that `LOTE_NODE`, `LOTE_NODE_ADDRESS` and `LOTE_NODE_MAC` name; run on
    /// the daemon that leads, without a shell
    #[arg(long = "power-on-command", value_name = "COMMAND")]
    pub on_command: Option<String>,
    /// Switches it off; with `wake-on-lan` run on that machine itself [default there: systemctl
    /// poweroff]
    #[arg(long = "power-off-command", value_name = "COMMAND")]
    pub off_command: Option<String>,
    /// How long these commands may run [default: 1m]
    #[arg(long = "power-command-limit", value_name = "TIME")]
    pub command_limit: Option<String>,
    /// Switch machines off that no cluster has had for so long, such as 30m [default: never]
    #[arg(long = "power-off-after", value_name = "TIME")]
    pub off_after: Option<String>,
    /// How long a machine may take to come back before another is tried [default: 15m]
    #[arg(long = "power-on-within", value_name = "TIME")]
    pub on_within: Option<String>,
    /// How long one may take to fall silent before it is used again [default: 5m]
    #[arg(long = "power-off-within", value_name = "TIME")]
    pub off_within: Option<String>,
    /// How many idle machines of each size stay on [default: 0]
    #[arg(long, value_name = "N")]
    pub keep_powered: Option<usize>,
}

/// `--power`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerDriver {
    /// A packet wakes them, and they switch themselves off
    WakeOnLan,
    /// Commands of the operator's, for IPMI, Redfish or whatever there is
    Command,
}

/// How machines are switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerSwitching {
    /// By a packet, and by a command on the machine itself.
    WakeOnLan {
        /// The words of the command that switches it off.
        off: Vec<String>,
    },
    /// By commands on the daemon that leads.
    Commands {
        /// The words of the one that switches on.
        on: Vec<String>,
        /// The words of the one that switches off.
        off: Vec<String>,
    },
}

/// When and how machines are switched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerSettings {
    /// How.
    pub switching: PowerSwitching,
    /// How long commands may run.
    pub command_limit: Duration,
    /// How long a machine is idle before it is switched off; none for never.
    pub off_after: Option<Duration>,
    /// How long it may take to come back.
    pub on_within: Duration,
    /// How long it may take to fall silent.
    pub off_within: Duration,
    /// How many idle machines of each size stay on.
    pub keep_powered: usize,
}

/// The options about power do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PowerError {
    /// One half of switching.
    #[error("give --power-on-command and --power-off-command together, or --power wake-on-lan")]
    Commands,
    /// Two ways to switch on.
    #[error(
        "--power wake-on-lan wakes by a packet: leave out --power-on-command, or take --power command"
    )]
    TwoWays,
    /// Times and numbers, and nothing that switches.
    #[error("{0} needs --power wake-on-lan, or --power-on-command and --power-off-command")]
    Nothing(&'static str),
    /// A command that is none.
    #[error("{option} '{given}' is no command: check its quotes")]
    Command {
        /// Which option.
        option: &'static str,
        /// What it says.
        given: String,
    },
    /// A time that is none.
    #[error("{option} '{given}': {reason}")]
    Time {
        /// Which option.
        option: &'static str,
        /// What it says.
        given: String,
        /// What was expected.
        reason: String,
    },
}

impl PowerArgs {
    /// These options, then those of the file, then the defaults; none where nothing switches.
    pub(super) fn resolve(self, file: Self) -> Result<Option<PowerSettings>, PowerError> {
        let args = Self {
            driver: self.driver.or(file.driver),
            on_command: self.on_command.or(file.on_command),
            off_command: self.off_command.or(file.off_command),
            command_limit: self.command_limit.or(file.command_limit),
            off_after: self.off_after.or(file.off_after),
            on_within: self.on_within.or(file.on_within),
            off_within: self.off_within.or(file.off_within),
            keep_powered: self.keep_powered.or(file.keep_powered),
        };
        let Some(switching) = args.switching()? else {
            return args.refuse_leftover().map(|()| None);
        };
        Ok(Some(PowerSettings {
            switching,
            command_limit: time("--power-command-limit", args.command_limit)?
                .unwrap_or(COMMAND_LIMIT),
            off_after: time("--power-off-after", args.off_after)?,
            on_within: time("--power-on-within", args.on_within)?.unwrap_or(ON_WITHIN),
            off_within: time("--power-off-within", args.off_within)?.unwrap_or(OFF_WITHIN),
            keep_powered: args.keep_powered.unwrap_or_default(),
        }))
    }

    fn switching(&self) -> Result<Option<PowerSwitching>, PowerError> {
        let (on, off) = (self.on_command.as_deref(), self.off_command.as_deref());
        match (self.driver, on, off) {
            (None, None, None) => Ok(None),
            (Some(PowerDriver::WakeOnLan), None, off) => Ok(Some(PowerSwitching::WakeOnLan {
                off: words("--power-off-command", off.unwrap_or(OFF_COMMAND))?,
            })),
            (Some(PowerDriver::WakeOnLan), Some(_), _) => Err(PowerError::TwoWays),
            (None | Some(PowerDriver::Command), Some(on), Some(off)) => {
                Ok(Some(PowerSwitching::Commands {
                    on: words("--power-on-command", on)?,
                    off: words("--power-off-command", off)?,
                }))
            }
            (None | Some(PowerDriver::Command), _, _) => Err(PowerError::Commands),
        }
    }

    fn refuse_leftover(&self) -> Result<(), PowerError> {
        let given = [
            ("--power-command-limit", self.command_limit.is_some()),
            ("--power-off-after", self.off_after.is_some()),
            ("--power-on-within", self.on_within.is_some()),
            ("--power-off-within", self.off_within.is_some()),
            ("--keep-powered", self.keep_powered.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(PowerError::Nothing(option)),
            None => Ok(()),
        }
    }
}

fn words(option: &'static str, given: &str) -> Result<Vec<String>, PowerError> {
    let words = shlex::split(given).filter(|words| !words.is_empty());
    words.ok_or_else(|| PowerError::Command {
        option,
        given: given.to_owned(),
    })
}

fn time(option: &'static str, given: Option<String>) -> Result<Option<Duration>, PowerError> {
    let read = |given: String| match duration(&given) {
        Ok(time) if time.is_zero() => Err(PowerError::Time {
            option,
            given,
            reason: "expected more than nothing".to_owned(),
        }),
        Ok(time) => Ok(time),
        Err(reason) => Err(PowerError::Time {
            option,
            given,
            reason,
        }),
    };
    given.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_args::NodeArgs;

    fn settings(text: &str) -> Result<Option<PowerSettings>, PowerError> {
        let file: NodeArgs = toml::from_str(text).unwrap();
        PowerArgs::default().resolve(file.power)
    }

    #[test]
    fn machines_that_wake_switch_themselves_off() {
        assert_eq!(settings("").unwrap(), None);
        let power =
            settings("[power]\ndriver = 'wake-on-lan'\noff-after = '30m'\nkeep-powered = 2");
        let power = power.unwrap().unwrap();
        let off = ["systemctl", "poweroff"].map(str::to_owned).into();
        assert_eq!(power.switching, PowerSwitching::WakeOnLan { off });
        assert_eq!(power.off_after, Some(Duration::from_mins(30)));
        assert_eq!((power.keep_powered, power.on_within), (2, ON_WITHIN));
    }

    #[test]
    fn commands_are_words_and_the_line_wins() {
        let text = "[power]\non-command = '/opt/ipmi on'\noff-command = \"/opt/ipmi off 'a b'\"";
        let file: NodeArgs = toml::from_str(text).unwrap();
        let line = PowerArgs {
            on_command: Some("/opt/redfish $X".into()),
            ..PowerArgs::default()
        };
        let power = line.resolve(file.power).unwrap().unwrap();
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let expected = PowerSwitching::Commands {
            on: words(&["/opt/redfish", "$X"]),
            off: words(&["/opt/ipmi", "off", "a b"]),
        };
        assert_eq!(power.switching, expected);
        assert_eq!(power.off_after, None);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let error = |text: &str| {
            settings(&format!("[power]\n{text}"))
                .unwrap_err()
                .to_string()
        };
        for text in [
            "on-command = 'a'",
            "off-command = 'a'",
            "driver = 'command'",
        ] {
            assert!(error(text).contains("together"), "{text}");
        }
        assert!(error("driver = 'wake-on-lan'\non-command = 'a'").contains("leave out"));
        assert!(error("off-after = '1h'").contains("--power-off-after needs"));
        assert!(error("on-command = \"a '\"\noff-command = 'b'").contains("quotes"));
        assert!(error("driver = 'wake-on-lan'\noff-after = 'later'").contains("'later'"));
        assert!(error("driver = 'wake-on-lan'\noff-after = '0s'").contains("more than nothing"));
    }
}
