//! The devices that a job can open, and the controller of v1 that keeps it to them.

use std::path::Path;

use cgroups_rs::fs::devices::{DevicePermissions, DeviceType, DevicesController};
use cgroups_rs::fs::error::Error;
use serde::{Deserialize, Serialize};

/// What a device file leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
}

/// A device, or all with one major number, that can be read, written and given a device file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its major number.
    pub major: u32,
    /// Its minor number; `None` is any.
    pub minor: Option<u32>,
}

/// To make a device file is no more than to open it, and takes a capability that jobs lack; the
/// one who makes `/dev` for a job needs it.
const READ_WRITE_MAKE: &[DevicePermissions] = &[
    DevicePermissions::Read,
    DevicePermissions::Write,
    DevicePermissions::MkNod,
];

/// How the controller is told "any".
const ANY: i64 = -1;

/// Keeps a cgroup of v1 to these devices; `None` leaves it what its parent has.
pub(super) fn set(rules: Option<&[DeviceRule]>, directory: &Path) -> Result<(), Error> {
    let Some(rules) = rules else { return Ok(()) };
    let controller = DevicesController::new(directory.into(), directory.into());
    controller.deny_device(DeviceType::All, ANY, ANY, READ_WRITE_MAKE)?;
    for rule in rules {
        let kind = match rule.kind {
            DeviceKind::Character => DeviceType::Char,
            DeviceKind::Block => DeviceType::Block,
        };
        let minor = rule.minor.map_or(ANY, i64::from);
        controller.allow_device(kind, rule.major.into(), minor, READ_WRITE_MAKE)?;
    }
    Ok(())
}
