//! The image of a cluster's nodes (capabilities §3.3.2): recorded and echoed.
//! What runs on one's own machines is what is installed there.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::request_check::{optional_text, text};

/// `virtualMachineConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualMachineConfiguration {
    /// The image.
    #[serde(default)]
    pub image_reference: ImageReference,
}

/// `imageReference`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageReference {
    /// Who publishes it.
    pub publisher: String,
    /// Under which offer.
    pub offer: String,
    /// Which variant.
    pub sku: String,
    /// Which version.
    #[serde(default = "latest")]
    pub version: String,
    /// An image of one's own, based on the one named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_machine_image_id: Option<String>,
}

fn latest() -> String {
    "latest".to_owned()
}

impl Default for ImageReference {
    /// The image that the original service answered when none was named.
    fn default() -> Self {
        Self {
            publisher: "Canonical".into(),
            offer: "UbuntuServer".into(),
            sku: "16.04-LTS".into(),
            version: latest(),
            virtual_machine_image_id: None,
        }
    }
}

impl VirtualMachineConfiguration {
    /// What is wrong, with targets below `base`.
    pub(crate) fn check(&self, base: &str) -> Vec<Problem> {
        let at = |member: &str| format!("{base}/imageReference/{member}");
        let image = &self.image_reference;
        let own = image.virtual_machine_image_id.as_ref();
        [
            text(&at("publisher"), &image.publisher),
            text(&at("offer"), &image.offer),
            text(&at("sku"), &image.sku),
            text(&at("version"), &image.version),
            optional_text(&at("virtualMachineImageId"), own),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
