//! What an image says of itself, in an OCI layout with that one image.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The largest description that is read: an image's own words.
const LENGTH_MAX: u64 = 4 << 20;

/// What counts of an image's configuration. Its command, entry point and user do not: a job has
/// its own command, and is root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageConfig {
    /// Variables, `NAME=VALUE`.
    #[serde(default, alias = "Env")]
    env: Option<Vec<String>>,
    /// Where its commands start.
    #[serde(default, alias = "WorkingDir")]
    working_dir: Option<String>,
}

impl ImageConfig {
    /// Its variables.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let pairs = self.env.iter().flatten();
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        let fits = |text: &str| !text.contains('\0');
        pairs
            .filter(|(name, value)| !name.is_empty() && fits(name) && fits(value))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Where its commands start, if that is anywhere in particular.
    pub(crate) fn working_directory(&self) -> Option<String> {
        let directory = self.working_dir.clone()?;
        let is_fit = directory.starts_with('/') && !directory.trim_matches('/').is_empty();
        (is_fit && !directory.contains('\0')).then_some(directory)
    }

    /// Reads that of the only image in a layout.
    pub(super) fn read(layout: &Path) -> io::Result<Self> {
        let index: Index = json(&layout.join("index.json"))?;
        let [manifest] = index.manifests.as_slice() else {
            return Err(wrong("it does not hold exactly one image"));
        };
        let manifest: Manifest = json(&manifest.path(layout)?)?;
        let image: Image = json(&manifest.config.path(layout)?)?;
        Ok(image.config.unwrap_or_default())
    }
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
}

#[derive(Debug, Deserialize)]
struct Image {
    config: Option<ImageConfig>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
}

impl Descriptor {
    fn path(&self, layout: &Path) -> io::Result<std::path::PathBuf> {
        let (kind, hash) = self
            .digest
            .split_once(':')
            .ok_or_else(|| wrong("a digest of it is none"))?;
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
        if !is_plain(kind) || !is_plain(hash) {
            return Err(wrong("a digest of it is none"));
        }
        Ok(layout.join("blobs").join(kind).join(hash))
    }
}

fn wrong(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<T> {
    if std::fs::metadata(path)?.len() > LENGTH_MAX {
        return Err(wrong("its description is too long"));
    }
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ImageConfig {
        serde_json::from_str::<Image>(text).unwrap().config.unwrap()
    }

    #[test]
    fn variables_and_directory_are_taken_from_an_image() {
        let image = config(
            r#"{"config": {"Env": ["PATH=/opt/bin:/bin", "A=b=c", "none", "=x"],
                "WorkingDir": "/workspace", "User": "nobody", "Cmd": ["sh"]}}"#,
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("PATH", "/opt/bin:/bin"), pair("A", "b=c")];
        assert_eq!(image.variables(), expected);
        assert_eq!(image.working_directory().as_deref(), Some("/workspace"));
        for nowhere in ["", "/", "relative"] {
            let text = format!(r#"{{"config": {{"Env": null, "WorkingDir": "{nowhere}"}}}}"#);
            let image = config(&text);
            assert_eq!(
                (image.variables(), image.working_directory()),
                (vec![], None)
            );
        }
    }

    #[test]
    fn a_digest_leads_nowhere_else() {
        for digest in ["sha256:../../etc/passwd", "sha256", "../x:y"] {
            let digest = digest.to_owned();
            assert!(Descriptor { digest }.path(Path::new("/l")).is_err());
        }
    }
}
