//! File servers: one node that shares its disks with the nodes of clusters.

mod lote;

use core::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::body;
use crate::cluster::UserAccountSettings;
use crate::id::{FileServerUid, NodeName, UnixId};
use crate::job::{ErrorRecord, ResourceReference};
use crate::path::ChildPath;
use crate::problem::Problem;
use crate::secret_members::{self, OF_FILE_SERVERS};
use crate::state::ProvisioningState;

pub use lote::{LoteFileServerProperties, STORAGE_PATH_LENGTH_MAX};

/// The most source ranges that may reach the node by SSH (capabilities §8.4).
pub const SOURCE_RANGES_MAX: usize = 400;

/// Any source.
const ANYWHERE: &str = "*";

/// The `properties` of a file server that a user sets, defaults filled in
/// (capabilities §3.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileServerProperties {
    /// The size label of its node; compared without case.
    pub vm_size: String,
    /// Who may log in, and from where.
    pub ssh_configuration: SshConfiguration,
    /// The disks that it shares.
    pub data_disks: DataDisks,
    /// A subnet; recorded and echoed, the network is the site's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<ResourceReference>,
    /// What Batch AI has no word for.
    #[serde(default, skip_serializing_if = "LoteFileServerProperties::is_default")]
    pub lote: LoteFileServerProperties,
}

/// `sshConfiguration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SshConfiguration {
    /// Source ranges that may reach SSH: addresses, CIDR ranges, or `*`.
    #[serde(
        rename = "publicIPsToAllow",
        default = "anywhere",
        deserialize_with = "null_as_anywhere"
    )]
    pub public_ips_to_allow: Vec<String>,
    /// The administrator's account. Passwords are dropped on reading.
    pub user_account_settings: UserAccountSettings,
}

/// `dataDisks`. More than one disk means striping (RAID level 0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataDisks {
    /// The size of each disk in GB.
    #[serde(rename = "diskSizeInGB")]
    pub disk_size_in_gb: i32,
    /// How many disks.
    pub disk_count: i32,
    /// The kind of storage behind them.
    pub storage_account_type: StorageAccountType,
    /// How they are cached.
    #[serde(default, deserialize_with = "body::null_as_default")]
    pub caching_type: CachingType,
}

/// `storageAccountType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageAccountType {
    /// Ordinary disks.
    #[serde(rename = "Standard_LRS")]
    Standard,
    /// Fast disks.
    #[serde(rename = "Premium_LRS")]
    Premium,
}

/// `cachingType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachingType {
    /// Not at all.
    #[default]
    None,
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

fn anywhere() -> Vec<String> {
    vec![ANYWHERE.to_owned()]
}

fn null_as_anywhere<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(anywhere))
}

/// Members that the service sets; clients that resubmit an answer send them.
const READ_ONLY: [&str; 4] = [
    "creationTime",
    "provisioningState",
    "provisioningStateTransitionTime",
    "mountSettings",
];

impl FileServerProperties {
    /// Reads the body of a create request.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let mut members = body::properties(request_body, &READ_ONLY)?;
        lote::without_answers(&mut members);
        // The password is neither kept nor compared: Lote makes no accounts on nodes.
        let taken = secret_members::take(&mut members, &OF_FILE_SERVERS);
        let typed = body::typed(body::without_nulls(members), "/properties");
        let mut properties: Self = taken.or_findings(typed)?;
        properties.lote.normalise();
        let mut findings = taken.findings;
        findings.extend(properties.check());
        Problem::gather(findings).map_or(Ok(properties), Err)
    }

    /// Whether this asks for the same as `other`; sizes are compared without case.
    pub fn is_same_request(&self, other: &Self) -> bool {
        let respelled = Self {
            vm_size: self.vm_size.clone(),
            ..other.clone()
        };
        self.vm_size.eq_ignore_ascii_case(&other.vm_size) && *self == respelled
    }

    /// How much its files may take together, in bytes. A GB of a disk is 2^30 bytes, as in the
    /// original service: of the two readings the one that gives no less than was asked for.
    pub fn size_limit_bytes(&self) -> u64 {
        let gigabytes = |number: i32| u64::try_from(number).unwrap_or_default();
        let disks = &self.data_disks;
        gigabytes(disks.disk_size_in_gb)
            .saturating_mul(gigabytes(disks.disk_count))
            .saturating_mul(1 << 30)
    }

    fn check(&self) -> Vec<Problem> {
        let mut findings = Vec::new();
        let mut demand = |holds: bool, target: &str, message: &str| {
            if !holds {
                findings.push(Problem::invalid(format!("/properties/{target}"), message));
            }
        };
        let account = &self.ssh_configuration.user_account_settings;
        demand(
            !self.vm_size.trim().is_empty(),
            "vmSize",
            "vmSize must name a size, such as 'cpu'",
        );
        demand(
            !account.admin_user_name.trim().is_empty(),
            "sshConfiguration/userAccountSettings/adminUserName",
            "adminUserName must not be empty",
        );
        demand(
            self.data_disks.disk_size_in_gb >= 1,
            "dataDisks/diskSizeInGB",
            "diskSizeInGB must be at least 1",
        );
        demand(
            self.data_disks.disk_count >= 1,
            "dataDisks/diskCount",
            "diskCount must be at least 1",
        );
        findings.extend(check_sources(&self.ssh_configuration.public_ips_to_allow));
        findings.extend(self.lote.check());
        findings
    }
}

fn check_sources(sources: &[String]) -> Vec<Problem> {
    const TARGET: &str = "/properties/sshConfiguration/publicIPsToAllow";
    if sources.len() > SOURCE_RANGES_MAX {
        let message = format!("publicIPsToAllow has at most {SOURCE_RANGES_MAX} ranges");
        return vec![Problem::invalid(TARGET, message)];
    }
    let wrong = sources
        .iter()
        .enumerate()
        .filter(|(_, text)| text.as_str() != ANYWHERE && !is_address_range(text));
    let complaint = |(at, text): (usize, &String)| {
        let shown: String = text.chars().take(50).collect();
        let message = format!(
            "'{shown}' is no source of connections: give an address, a range such as 10.0.0.0/8, or '*'"
        );
        Problem::invalid(format!("{TARGET}/{at}"), message)
    };
    wrong.map(complaint).collect()
}

/// Whether `text` is an IP address, or a CIDR range with a prefix that fits it.
fn is_address_range(text: &str) -> bool {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let prefix_max: u8 = if address.is_ipv4() { 32 } else { 128 };
    let digits = |prefix: &str| prefix.bytes().all(|c| c.is_ascii_digit());
    prefix.is_none_or(|prefix| {
        digits(prefix) && prefix.parse::<u8>().is_ok_and(|bits| bits <= prefix_max)
    })
}

/// A file server as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileServerRecord {
    /// Workspace and name, as spelled at creation.
    pub path: ChildPath,
    /// Unique over all file servers that ever bore the name.
    pub uid: FileServerUid,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The user and group of its workspace, to which its directory belongs; none in records of
    /// versions that could not serve any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_id: Option<UnixId>,
    /// What the user wants.
    pub properties: FileServerProperties,
    /// Set once the user asked to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at: Option<Timestamp>,
    /// Whether its files are erased when it is deleted; they are kept otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase_data: bool,
}

/// What the leader has made of a file server. One without a status is being
/// created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileServerStatus {
    /// The file server this is about; a status of an older one of the same name
    /// is void.
    pub uid: FileServerUid,
    /// How far it is.
    pub state: ProvisioningState,
    /// Since when.
    pub state_since: Timestamp,
    /// The node that has its files, chosen once and for all; none until one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Why it failed, what keeps it from being ready, or from being deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorRecord>,
    /// Where it is mounted from, once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_settings: Option<MountSettings>,
}

/// `mountSettings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountSettings {
    /// The directory that its node exports.
    pub mount_point: String,
    /// The address for people who log in.
    #[serde(rename = "fileServerPublicIP")]
    pub file_server_public_ip: String,
    /// The address for the nodes that mount it.
    #[serde(rename = "fileServerInternalIP")]
    pub file_server_internal_ip: String,
}

#[cfg(test)]
mod tests;
