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
        if self.shm_size.as_deref().is_some_and(|size| !is_size(size)) {
            let message = "shmSize must be a size as Docker takes it, such as 64m or 8g";
            findings.push(Problem::invalid(format!("{base}/shmSize"), message));
        }
        findings
    }
}

/// A size that is not nothing; Docker takes fractions as well: `1.5g`.
fn is_size(text: &str) -> bool {
    let whole = text.split_once('.').map_or_else(
        || text.to_owned(),
        |(whole, fraction)| {
            let digits = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            let has_digits = digits.len() < fraction.len();
            // The fraction says nothing about the form; without it the rest must be a size.
            if has_digits {
                format!("{whole}1{digits}")
            } else {
                String::new()
            }
        },
    );
    parse_bytes(&whole).is_some_and(|bytes| bytes > 0)
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
        for good in ["64m", "8g", "1.5g", "1024", "2 gb", "1KiB"] {
            assert!(is_size(good), "{good}");
        }
        for bad in ["", "0", "g", "1.g", "big", "-1m", "1..5g"] {
            assert!(!is_size(bad), "{bad}");
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
