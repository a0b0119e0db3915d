//! The operator's table of images: where images come from here. A TOML file with a section for
//! each name or group of names, of which the first that fits counts:
//!
//! ```toml
//! [default]
//! pull = false
//!
//! [[image]]
//! name = "tensorflow/tensorflow:1.8.0*"
//! archive = "/srv/images/tensorflow.tar"
//! ```
//!
//! It is read again for every job in a container, so that a new line needs no restart.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::reference::Reference;
use crate::operator_table::{Kind, TableError};

/// The table, for who reads and names it.
const TABLE: Kind = Kind {
    name: "image table",
    says: "what an image is",
};

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file with the image, as `docker save` or `skopeo copy` writes it.
    Archive {
        path: PathBuf,
        reference: Option<String>,
    },
    /// An OCI layout, or the files of the image themselves.
    Directory {
        path: PathBuf,
        reference: Option<String>,
    },
    /// Another registry.
    Registry(Mirror),
    /// No image: the job runs on the node itself.
    Host {
        /// Where its programs are looked for first.
        path: Option<PathBuf>,
    },
}

/// A registry that has the images of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// `host:port`, with a prefix of repositories if it has one.
    pub(crate) place: String,
    pub(crate) insecure: bool,
    pub(crate) auth_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    #[serde(default)]
    default: Default_,
    #[serde(default)]
    image: Vec<Section>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Default_ {
    pull: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Section {
    name: String,
    archive: Option<PathBuf>,
    directory: Option<PathBuf>,
    reference: Option<String>,
    registry: Option<String>,
    insecure: Option<bool>,
    auth_file: Option<PathBuf>,
    host: Option<bool>,
    path: Option<PathBuf>,
}

/// Where images come from.
#[derive(Debug)]
pub(crate) struct ImageTable {
    targets: Vec<(String, Target)>,
    /// Whether images that it does not name are pulled from the registries that they name.
    pub(crate) pulls_others: bool,
}

impl Default for ImageTable {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            pulls_others: true,
        }
    }
}

impl ImageTable {
    /// Reads a table that only root can write and nobody else can read: what stands in it is
    /// opened and shown with root's rights.
    pub(crate) fn read(path: &Path) -> Result<Self, TableError> {
        let text = TABLE.read(path)?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, TableError> {
        let file: File = TABLE.parse(path, text)?;
        let mut targets = Vec::new();
        for section in file.image {
            let name = section.name.clone();
            let target = section.target();
            let target = target.map_err(|message| TABLE.wrong(path, &name, message))?;
            targets.push((name, target));
        }
        Ok(Self {
            targets,
            pulls_others: file.default.pull.unwrap_or(true),
        })
    }

    /// Where an image comes from, by the name that the job has or the whole name it means.
    pub(crate) fn find(&self, image: &str, reference: &Reference) -> Option<&Target> {
        let full = reference.full();
        let fits = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => image.starts_with(start) || full.starts_with(start),
            None => image == pattern || full == pattern,
        };
        let mut targets = self.targets.iter();
        targets
            .find(|(pattern, _)| fits(pattern))
            .map(|(_, target)| target)
    }

    /// Whether for some image the node itself stands.
    pub(crate) fn has_host(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|(_, target)| matches!(target, Target::Host { .. }))
    }

    /// How many sections it has.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }
}

impl Section {
    fn target(self) -> Result<Target, String> {
        let absolute = |path: PathBuf| {
            if path.is_absolute() {
                Ok(path)
            } else {
                Err(format!("'{}' is no absolute path", path.display()))
            }
        };
        if self.name.is_empty() || self.name.trim_end_matches('*').contains('*') {
            return Err("a name is exact, or has one * at its end".to_owned());
        }
        if self.registry.is_none() && (self.insecure.is_some() || self.auth_file.is_some()) {
            return Err("insecure and auth-file belong to registry".to_owned());
        }
        let stored = self.archive.is_some() || self.directory.is_some();
        if !stored && self.reference.is_some() {
            return Err("reference belongs to archive or directory".to_owned());
        }
        if self.host.is_none() && self.path.is_some() {
            return Err("path belongs to host".to_owned());
        }
        match (self.archive, self.directory, self.registry, self.host) {
            (Some(path), None, None, None) => Ok(Target::Archive {
                path: absolute(path)?,
                reference: self.reference,
            }),
            (None, Some(path), None, None) => Ok(Target::Directory {
                path: absolute(path)?,
                reference: self.reference,
            }),
            (None, None, Some(place), None) => {
                // What does not name an image there does not name a registry.
                let is_fit = |c: char| c.is_ascii_alphanumeric() || "._-/:[]".contains(c);
                if place.is_empty() || place.starts_with('-') || !place.chars().all(is_fit) {
                    return Err(format!("'{place}' is no host:port or host:port/prefix"));
                }
                Ok(Target::Registry(Mirror {
                    place,
                    insecure: self.insecure.unwrap_or(false),
                    auth_file: self.auth_file.map(absolute).transpose()?,
                }))
            }
            (None, None, None, Some(true)) => Ok(Target::Host {
                path: self.path.map(searchable).transpose()?,
            }),
            _ => Err(
                "it says exactly one of archive, directory, registry, and host = true".to_owned(),
            ),
        }
    }
}

/// A directory as one of several in `PATH`.
fn searchable(path: PathBuf) -> Result<PathBuf, String> {
    let is_fit = path.to_str().is_some_and(|path| !path.contains(':'));
    if path.is_absolute() && is_fit {
        Ok(path)
    } else {
        let path = path.display();
        Err(format!("'{path}' is no absolute path without colons"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImageTable, TableError> {
        ImageTable::parse(Path::new("/etc/t.toml"), text)
    }

    fn find(table: &ImageTable, image: &str) -> Option<Target> {
        let reference = Reference::parse(image, None).unwrap();
        table.find(image, &reference).cloned()
    }

    #[test]
    fn the_first_section_that_fits_counts() {
        let table = parse(
            "[default]\npull = false\n\
             [[image]]\nname = \"tf:1\"\nhost = true\n\
             [[image]]\nname = \"tf*\"\narchive = \"/srv/tf.tar\"\n\
             [[image]]\nname = \"chainer\"\nhost = true\npath = \"/opt/chainer/bin\"\n\
             [[image]]\nname = \"docker.io/library/b:latest\"\ndirectory = \"/srv/b\"\n\
             [[image]]\nname = \"*\"\nregistry = \"m:5000/hub\"\ninsecure = true\n",
        )
        .unwrap();
        assert!(!table.pulls_others && table.len() == 5);
        assert_eq!(find(&table, "tf:1"), Some(Target::Host { path: None }));
        let path = Some("/opt/chainer/bin".into());
        assert_eq!(find(&table, "chainer"), Some(Target::Host { path }));
        let archive = |target| matches!(target, Some(Target::Archive { .. }));
        assert!(archive(find(&table, "tf:2")));
        let directory = |target| matches!(target, Some(Target::Directory { .. }));
        assert!(directory(find(&table, "b")), "by its whole name");
        let Some(Target::Registry(mirror)) = find(&table, "other/x:1") else {
            panic!("no mirror");
        };
        assert!(mirror.insecure && mirror.place == "m:5000/hub");
    }

    #[test]
    fn an_empty_table_pulls_from_where_names_lead() {
        let table = parse("").unwrap();
        assert!(table.pulls_others);
        assert_eq!(find(&table, "b"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, part) in [
            ("[[image]]\nname = \"a\"\n", "exactly one"),
            ("[[image]]\nname = \"a\"\nhost = false\n", "exactly one"),
            (
                "[[image]]\nname = \"a*b\"\nhost = true\n",
                "one * at its end",
            ),
            ("[[image]]\nname = \"a\"\narchive = \"x.tar\"\n", "absolute"),
            (
                "[[image]]\nname = \"a\"\nregistry = \"-x y\"\n",
                "host:port",
            ),
            (
                "[[image]]\nname = \"a\"\nhost = true\nreference = \"b\"\n",
                "belong",
            ),
            (
                "[[image]]\nname = \"a\"\nhost = true\ninsecure = true\n",
                "belong",
            ),
            (
                "[[image]]\nname = \"a\"\nhost = true\npath = \"bin\"\n",
                "absolute",
            ),
            (
                "[[image]]\nname = \"a\"\nhost = true\npath = \"/a:/b\"\n",
                "without colons",
            ),
            (
                "[[image]]\nname = \"a\"\ndirectory = \"/a\"\npath = \"/b\"\n",
                "path belongs to host",
            ),
            ("\nwhat = 1\n", "line 2"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
