//! `properties.lote` of a file server: Lote's own extensions.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::export::ExportStorage;
use crate::id::NodeName;
use crate::problem::Problem;
use crate::request_check::{length, text};

/// The longest path of a directory or a device; the kernel takes no more.
pub const STORAGE_PATH_LENGTH_MAX: usize = 4_095;

/// Members that only answers have; clients that resubmit an answer send them.
const READ_ONLY: [&str; 9] = [
    "uid",
    "errors",
    "server",
    "nfsPort",
    "mountPort",
    "versions",
    "mountCommand",
    "sizeLimit",
    "usage",
];

/// Where the files of a file server are to lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoteFileServerProperties {
    /// The node that is to serve it; the leader chooses one of the size when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// The directory on that node; one of its own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Paths of block devices on that node, to use instead of a directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<String>,
    /// Whether a file system that is on one of the disks may be erased.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub erase_disks: bool,
}

impl LoteFileServerProperties {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What its node is to put the files on.
    pub fn storage(&self) -> ExportStorage {
        match &self.directory {
            _ if !self.disks.is_empty() => ExportStorage::Disks {
                paths: self.disks.clone(),
                erase: self.erase_disks,
            },
            Some(directory) => ExportStorage::Directory(directory.clone()),
            None => ExportStorage::Own,
        }
    }

    /// Names of nodes are in lower case; paths have no slash at their end.
    pub(super) fn normalise(&mut self) {
        if let Some(node) = &mut self.node {
            *node = NodeName::new(node.as_str().to_ascii_lowercase());
        }
        for path in self.directory.iter_mut().chain(&mut self.disks) {
            path.truncate(path.trim_end_matches('/').len().max(1));
        }
    }

    pub(super) fn check(&self) -> Vec<Problem> {
        const BASE: &str = "/properties/lote";
        let mut findings = Vec::new();
        if let Some(node) = &self.node
            && NodeName::parse(node.as_str()).is_err()
        {
            let shown: String = node.as_str().chars().take(80).collect();
            let message = format!("'{shown}' is not the name of a node: see `lote node list`");
            findings.push(Problem::invalid(format!("{BASE}/node"), message));
        }
        if let Some(directory) = &self.directory {
            let target = format!("{BASE}/directory");
            findings.extend(check_path(&target, directory, "/"));
            if !self.disks.is_empty() {
                let message =
                    "directory and disks exclude each other: a file server has one or the other";
                findings.push(Problem::invalid(target, message));
            }
        }
        findings.extend(self.check_disks(&format!("{BASE}/disks")));
        if self.erase_disks && self.disks.is_empty() {
            let message = "eraseDisks needs disks: there is nothing to erase without them";
            findings.push(Problem::invalid(format!("{BASE}/eraseDisks"), message));
        }
        findings
    }

    fn check_disks(&self, base: &str) -> Vec<Problem> {
        let mut findings = Vec::from_iter(length(base, self.disks.len(), "disks"));
        let mut seen = BTreeSet::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let target = format!("{base}/{index}");
            if let Some(finding) = check_path(&target, disk, "/dev/") {
                findings.push(finding);
            } else if !seen.insert(disk) {
                let message = format!("the disk '{disk}' is given twice");
                findings.push(Problem::invalid(target, message));
            }
        }
        findings
    }
}

/// An absolute path below `root` that names something there without detours.
fn check_path(target: &str, path: &str, root: &str) -> Option<Problem> {
    let is_direct = |rest: &str| {
        let mut parts = rest.split('/');
        parts.all(|part| !matches!(part, "" | "." | ".."))
    };
    let fits = path.strip_prefix(root).is_some_and(is_direct)
        && path.len() <= STORAGE_PATH_LENGTH_MAX
        && !path.chars().any(char::is_control);
    text(target, path).or_else(|| {
        let message = format!(
            "give an absolute path below {root}, without '.', '..' and empty parts, of at most \
             {STORAGE_PATH_LENGTH_MAX} bytes"
        );
        (!fits).then(|| Problem::invalid(target, message))
    })
}

/// Takes out what only answers say.
pub(super) fn without_answers(properties: &mut Map<String, Value>) {
    if let Some(Value::Object(lote)) = properties.get_mut("lote") {
        lote.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> LoteFileServerProperties {
        let mut lote: LoteFileServerProperties = serde_json::from_value(value).unwrap();
        lote.normalise();
        lote
    }

    fn targets(value: Value) -> Vec<String> {
        let findings = read(value).check().into_iter();
        findings.filter_map(|finding| finding.target).collect()
    }

    #[test]
    fn a_directory_disks_or_neither() {
        assert_eq!(read(json!({})).storage(), ExportStorage::Own);
        let directory = read(json!({"node": "NAS-1", "directory": "/srv/data/"}));
        assert_eq!(directory.check(), []);
        assert_eq!(directory.node, Some(NodeName::new("nas-1")));
        assert_eq!(
            directory.storage(),
            ExportStorage::Directory("/srv/data".into())
        );
        let disks = read(json!({"disks": ["/dev/sdb", "/dev/disk/by-id/x"], "eraseDisks": true}));
        assert_eq!(disks.check(), []);
        assert_eq!(
            disks.storage(),
            ExportStorage::Disks {
                paths: vec!["/dev/sdb".into(), "/dev/disk/by-id/x".into()],
                erase: true
            }
        );
    }

    #[test]
    fn each_slip_has_its_target() {
        let long = format!("/{}", "x".repeat(STORAGE_PATH_LENGTH_MAX));
        for (value, target) in [
            (json!({"node": "a b"}), "node"),
            (json!({"node": ""}), "node"),
            (json!({"directory": ""}), "directory"),
            (json!({"directory": "/"}), "directory"),
            (json!({"directory": "srv"}), "directory"),
            (json!({"directory": "/srv/../etc"}), "directory"),
            (json!({"directory": "/srv/./x"}), "directory"),
            (json!({"directory": "/srv//x"}), "directory"),
            (json!({"directory": "/srv/\n"}), "directory"),
            (json!({"directory": long}), "directory"),
            (
                json!({"directory": "/srv", "disks": ["/dev/sdb"]}),
                "directory",
            ),
            (json!({"disks": ["/srv/sdb"]}), "disks/0"),
            (json!({"disks": ["/dev/../srv"]}), "disks/0"),
            (json!({"disks": ["/dev/sdb", "/dev/sdb/"]}), "disks/1"),
            (json!({"disks": vec!["/dev/sdb"; 1_001]}), "disks"),
            (json!({"eraseDisks": true}), "eraseDisks"),
        ] {
            let found = targets(value.clone());
            let target = format!("/properties/lote/{target}");
            assert_eq!(found.first(), Some(&target), "{value} {found:?}");
        }
    }
}
