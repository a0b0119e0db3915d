//! What is done with the machine's GPUs.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

/// The options about GPUs; the TOML file has them in a table `[gpu]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct GpuArgs {
    /// Look at a job's GPUs before it starts: their memory must be free
    #[arg(long = "gpu-check")]
    pub check: bool,
    /// The same, and then a command for each GPU, which must end well; it finds the GPU's id in
    /// `CUDA_VISIBLE_DEVICES`
    #[arg(long = "gpu-check-command", value_name = "COMMAND")]
    pub check_command: Option<String>,
    /// What stands in for /sys, in tests
    #[arg(long, value_name = "DIR", hide = true)]
    pub sysfs_root: Option<PathBuf>,
}

/// What is done with the machine's GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSettings {
    /// Whether they are looked at before a job.
    pub check: bool,
    /// What else must end well for each of them.
    pub check_command: Option<String>,
    /// `/sys`, or what stands in for it.
    pub sysfs_root: PathBuf,
}

impl GpuArgs {
    /// These options, then those of the file, then the defaults.
    pub(super) fn resolve(self, file: Self) -> GpuSettings {
        let check_command = self.check_command.or(file.check_command);
        let sysfs_root = self.sysfs_root.or(file.sysfs_root);
        GpuSettings {
            check: self.check || file.check || check_command.is_some(),
            check_command,
            sysfs_root: sysfs_root.unwrap_or_else(|| "/sys".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::node_args::NodeArgs;

    #[test]
    fn a_command_is_a_check() {
        let settings = NodeArgs::default().resolve(Some("/d".into())).unwrap();
        assert!(!settings.gpu.check);
        assert_eq!(settings.gpu.sysfs_root.to_str(), Some("/sys"));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("node.toml");
        std::fs::write(&config, "[gpu]\ncheck-command = 'copy'").unwrap();
        let args = NodeArgs {
            config: Some(config),
            ..NodeArgs::default()
        };
        let settings = args.resolve(Some("/d".into())).unwrap();
        assert!(settings.gpu.check);
        assert_eq!(settings.gpu.check_command.as_deref(), Some("copy"));
    }
}
