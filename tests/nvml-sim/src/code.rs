//! NVML's return codes, by number and by name.

use std::ffi::CStr;

use serde::Deserialize;
use serde::de::{self, Deserializer};

/// Why a call did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const UNINITIALIZED: Self = Self(1);
    pub(crate) const INVALID_ARGUMENT: Self = Self(2);
    pub(crate) const NOT_SUPPORTED: Self = Self(3);
    pub(crate) const NOT_FOUND: Self = Self(6);
    pub(crate) const INSUFFICIENT_SIZE: Self = Self(7);
    pub(crate) const DRIVER_NOT_LOADED: Self = Self(9);
    pub(crate) const TIMEOUT: Self = Self(10);
    pub(crate) const GPU_IS_LOST: Self = Self(15);
    pub(crate) const ARGUMENT_VERSION_MISMATCH: Self = Self(25);
    pub(crate) const UNKNOWN: Self = Self(999);
}

/// Number, name without `NVML_ERROR_`, and the text of `nvmlErrorString` as driver 535 has it.
const CODES: &[(u32, &str, &CStr)] = &[
    (0, "SUCCESS", c"Success"),
    (1, "UNINITIALIZED", c"Uninitialized"),
    (2, "INVALID_ARGUMENT", c"Invalid Argument"),
    (3, "NOT_SUPPORTED", c"Not Supported"),
    (4, "NO_PERMISSION", c"Insufficient Permissions"),
    (5, "ALREADY_INITIALIZED", c"Already Initialized"),
    (6, "NOT_FOUND", c"Not Found"),
    (7, "INSUFFICIENT_SIZE", c"Insufficient Size"),
    (8, "INSUFFICIENT_POWER", c"Insufficient External Power"),
    (9, "DRIVER_NOT_LOADED", c"Driver Not Loaded"),
    (10, "TIMEOUT", c"Timeout"),
    (11, "IRQ_ISSUE", c"Interrupt Request Issue"),
    (12, "LIBRARY_NOT_FOUND", c"NVML Shared Library Not Found"),
    (13, "FUNCTION_NOT_FOUND", c"Function Not Found"),
    (14, "CORRUPTED_INFOROM", c"Corrupted infoROM"),
    (15, "GPU_IS_LOST", c"GPU is lost"),
    (16, "RESET_REQUIRED", c"GPU requires reset"),
    (
        17,
        "OPERATING_SYSTEM",
        c"GPU access blocked by the operating system",
    ),
    (
        18,
        "LIB_RM_VERSION_MISMATCH",
        c"Driver/library version mismatch",
    ),
    (19, "IN_USE", c"In use by another client"),
    (20, "MEMORY", c"Insufficient Memory"),
    (21, "NO_DATA", c"No data"),
    (22, "VGPU_ECC_NOT_SUPPORTED", c"vGPU ECC not supported"),
    (23, "INSUFFICIENT_RESOURCES", c"Insufficient Resources"),
    (24, "FREQ_NOT_SUPPORTED", c"Invalid Frequency"),
    (
        25,
        "ARGUMENT_VERSION_MISMATCH",
        c"Argument version mismatch",
    ),
    (
        26,
        "DEPRECATED",
        c"Requested functionality has been deprecated",
    ),
    (27, "NOT_READY", c"System is not in ready state"),
    (28, "GPU_NOT_FOUND", c"No GPUs were found"),
    (
        29,
        "INVALID_STATE",
        c"The resource is not in the correct state",
    ),
    (999, "UNKNOWN", c"Unknown Error"),
];

/// The text of `nvmlErrorString`.
pub(crate) fn text(number: u32) -> &'static CStr {
    let found = CODES.iter().find(|(code, ..)| *code == number);
    found.map_or(c"Unknown Error", |(.., text)| text)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(u32),
    Name(String),
}

impl<'de> Deserialize<'de> for Code {
    /// Reads a number or a name such as `GPU_IS_LOST`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(0) => Err(de::Error::custom("0 is success and no error")),
            Written::Number(number) => Ok(Self(number)),
            Written::Name(name) => named(&name).ok_or_else(|| {
                de::Error::custom(format!("NVML has no error named NVML_ERROR_{name}"))
            }),
        }
    }
}

fn named(name: &str) -> Option<Code> {
    let errors = CODES.iter().filter(|(number, ..)| *number != 0);
    let mut found = errors.filter(|(_, known, _)| *known == name);
    found.next().map(|(number, ..)| Code(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_header_without_their_beginning() {
        assert_eq!(named("GPU_IS_LOST"), Some(Code::GPU_IS_LOST));
        assert_eq!(named("UNKNOWN"), Some(Code::UNKNOWN));
        assert_eq!(named("SUCCESS"), None);
        assert_eq!(named("gpu_is_lost"), None);
    }

    #[test]
    fn every_code_has_a_text() {
        assert_eq!(text(15), c"GPU is lost");
        assert_eq!(text(4711), c"Unknown Error");
    }
}
