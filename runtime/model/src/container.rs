//! The container of a job (capabilities §3.6).

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::quantity::parse_bytes;
use crate::request_check::{optional_text, text};

/// `containerSettings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerSettings {
    /// Where the image comes from.
    pub image_source_registry: ImageSourceRegistry,
    /// The size of `/dev/shm` in Docker's syntax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<String>,
}

/// `imageSourceRegistry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSourceRegistry {
    /// The registry; the public one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_url: Option<String>,
    /// The name of the image.
    pub image: String,
    /// Who may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<RegistryCredentials>,
}

/// What is left of the credentials of a registry without their secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryCredentials {
    /// The user.
    pub username: String,
}

impl ContainerSettings {
    /// What is wrong, with targets below `base`.
    pub(crate) fn check(&self, base: &str) -> Vec<Problem> {
        let registry = &self.image_source_registry;
        let at = |member: &str| format!("{base}/imageSourceRegistry/{member}");
        let mut findings: Vec<Problem> = Vec::new();
        findings.extend(text(&at("image"), &registry.image));
        if registry.image.chars().any(char::is_whitespace) && !registry.image.trim().is_empty() {
            let message = "image must be the name of an image, such as tensorflow/tensorflow:1.8.0";
            findings.push(Problem::invalid(at("image"), message));
        }
        let server = registry.server_url.as_ref();
        findings.extend(optional_text(&at("serverUrl"), server));
        if let Some(credentials) = &registry.credentials {
            findings.extend(text(&at("credentials/username"), &credentials.username));
        }
        if self
            .shm_size
            .as_deref()
            .is_some_and(|size| size_bytes(size).is_none())
        {
            let message = "shmSize must be a size as Docker takes it, such as 64m or 8g";
            findings.push(Problem::invalid(format!("{base}/shmSize"), message));
        }
        findings
    }
}

/// The code of a container that was not started.
pub const CONTAINER_ERROR: &str = "FailedStartingContainer";

/// The exit code of a job whose container was not started (capabilities §5.1).
pub const CONTAINER_EXIT_CODE: i32 = -1;

/// The pointer of the registry's password among the sealed secrets of a job.
pub const PASSWORD_POINTER: &str =
    "/properties/containerSettings/imageSourceRegistry/credentials/password";

/// The container of a job as its nodes are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedContainer {
    /// The name of the image, as the user wrote it.
    pub image: String,
    /// The registry, if the user named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_url: Option<String>,
    /// Who reads it, if not everybody may; the password is sealed under [`PASSWORD_POINTER`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The size of `/dev/shm`; the node's choice when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_memory_bytes: Option<u64>,
}

impl From<&ContainerSettings> for PlannedContainer {
    fn from(settings: &ContainerSettings) -> Self {
        let registry = &settings.image_source_registry;
        let credentials = registry.credentials.as_ref();
        Self {
            image: registry.image.trim().to_owned(),
            server_url: registry.server_url.clone(),
            username: credentials.map(|credentials| credentials.username.clone()),
            shared_memory_bytes: settings.shm_size.as_deref().and_then(size_bytes),
        }
    }
}

/// A size that is not nothing, in bytes; Docker takes fractions as well: `1.5g`.
fn size_bytes(text: &str) -> Option<u64> {
    let Some((whole, rest)) = text.split_once('.') else {
        return parse_bytes(text).filter(|&bytes| bytes > 0);
    };
    let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &rest[..rest.len() - unit.len()];
    if digits.is_empty() {
        return None;
    }
    // More digits than these are less than a byte of any size in use.
    let digits = &digits[..digits.len().min(6)];
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let one_unit = u128::from(parse_bytes(&format!("1{unit}"))?);
    let parts = digits.parse::<u128>().ok()? * one_unit / scale;
    let whole = u128::from(parse_bytes(&format!("{whole}{unit}"))?);
    u64::try_from(whole + parts).ok().filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::body;

    fn findings(value: Value) -> Vec<String> {
        match body::typed::<ContainerSettings>(value, "/c") {
            Ok(settings) => settings.check("/c"),
            Err(problem) => vec![problem],
        }
        .into_iter()
        .filter_map(|problem| problem.target)
        .collect()
    }

    fn with(registry: &Value, shm_size: &Value) -> Value {
        json!({"imageSourceRegistry": registry, "shmSize": shm_size})
    }

    #[test]
    fn sizes_are_docker_s() {
        for (good, bytes) in [
            ("64m", 64 << 20),
            ("8g", 8 << 30),
            ("1.5g", 3 << 29),
            ("0.25m", 1 << 18),
            ("1024", 1024),
            ("2 gb", 2 << 30),
            ("1KiB", 1024),
        ] {
            assert_eq!(size_bytes(good), Some(bytes), "{good}");
        }
        for bad in ["", "0", "0.0g", "g", "1.g", ".5g", "big", "-1m", "1..5g"] {
            assert_eq!(size_bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_slip_is_pointed_at() {
        let image = || json!({"image": "ubuntu"});
        assert!(findings(json!({"imageSourceRegistry": image()})).is_empty());
        assert_eq!(findings(with(&image(), &json!("lots"))), ["/c/shmSize"]);
        for (registry, target) in [
            (json!({"image": " "}), "image"),
            (json!({"image": "ubuntu latest"}), "image"),
            (json!({"image": "a", "serverUrl": ""}), "serverUrl"),
            (
                json!({"image": "a", "credentials": {"username": ""}}),
                "credentials/username",
            ),
        ] {
            let found = findings(json!({"imageSourceRegistry": registry}));
            assert_eq!(found, [format!("/c/imageSourceRegistry/{target}")]);
        }
        assert_eq!(findings(json!({})), ["/c"]);
    }
}
