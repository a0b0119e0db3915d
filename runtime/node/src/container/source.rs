//! From what a job asks for to the place where its image is.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lote_model::container::PlannedContainer;
use lote_model::secret::{SecretText, redacted};

use super::archive;
use super::images::{Held, Images, Located};
use super::reference::Reference;
use super::table::{ImageTable, Mirror, Target};
use super::tools::Access;
use super::{ContainerConfig, ContainerError};
use crate::directories::cannot;

/// Where the image of a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The whole name of the image.
    pub(crate) name: String,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Registry(Reference),
    Mirror(Mirror, Reference),
    Archive(PathBuf, Option<String>),
    Directory(PathBuf, Option<String>),
}

/// What the operator's table makes of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An image, for a container.
    Image(Source),
    /// No container: the job runs on the node itself, and looks for its programs in this directory
    /// first.
    Node(Option<PathBuf>),
}

/// Who reads an image.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: SecretText,
}

impl Source {
    /// Where the image of a job is, unless the operator has it run on the node itself.
    pub(crate) fn find(
        config: &ContainerConfig,
        container: &PlannedContainer,
    ) -> Result<Found, ContainerError> {
        let table = config.image_table.as_deref().map(ImageTable::read);
        let table = table.transpose()?.unwrap_or_default();
        let image = &container.image;
        let reference = Reference::parse(image, container.server_url.as_deref());
        let reference = reference.map_err(|reason| ContainerError::Name {
            image: image.clone(),
            reason,
        })?;
        let name = reference.full();
        let place = match table.find(image, &reference) {
            Some(Target::Host { path }) => return Ok(Found::Node(path.clone())),
            Some(Target::Archive { path, reference }) => {
                Place::Archive(path.clone(), reference.clone())
            }
            Some(Target::Directory { path, reference }) => {
                Place::Directory(path.clone(), reference.clone())
            }
            Some(Target::Registry(mirror)) => {
                let there = reference.at_mirror(&mirror.place, mirror.insecure);
                Place::Mirror(mirror.clone(), there)
            }
            None if table.pulls_others => Place::Registry(reference),
            None => return Err(ContainerError::NotInTable),
        };
        Ok(Found::Image(Self { name, place }))
    }

    /// Whether the credentials of the job are asked for there: nobody but the registry that it
    /// names gets them.
    pub(crate) fn needs_credentials(&self) -> bool {
        matches!(self.place, Place::Registry(_))
    }

    /// The image, fetched if it is not here. `private` is a directory in memory that only root
    /// can look into; `tell` hears how it goes on.
    pub(crate) async fn fetch(
        &self,
        images: &Images,
        credentials: Option<&Credentials>,
        private: &Path,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Held, ContainerError> {
        match &self.place {
            Place::Registry(reference) => {
                let auth = credentials.map(|it| AuthFile::write(private, &reference.registry, it));
                let auth = auth.transpose()?;
                let auth_file = auth.as_ref().map(|auth| auth.0.clone());
                let pulled = pulled(images, reference, auth_file, tell).await;
                pulled.map_err(|error| match credentials {
                    Some(credentials) => without(error, credentials),
                    None => error,
                })
            }
            Place::Mirror(mirror, reference) => {
                pulled(images, reference, mirror.auth_file.clone(), tell).await
            }
            Place::Archive(path, reference) => {
                let failed = || cannot::<_, ContainerError>("read the archive", path);
                let metadata = std::fs::metadata(path).map_err(failed())?;
                let transport = archive::transport(path).map_err(failed())?;
                let key = format!(
                    "archive-{}-{}-{}-{}.{:09}",
                    metadata.dev(),
                    metadata.ino(),
                    metadata.size(),
                    metadata.mtime(),
                    metadata.mtime_nsec()
                );
                let image = Located {
                    key: with_tag(key, reference.as_deref()),
                    source: at(transport, path, reference.as_deref()),
                    access: Access::default(),
                };
                images.get(&image, tell).await
            }
            Place::Directory(path, reference) => {
                if !path.join("oci-layout").is_file() {
                    tell(&format!(
                        "the files of image {} are in {}",
                        self.name,
                        path.display()
                    ));
                    return Ok(Held::directory(path));
                }
                let source = at("oci", path, reference.as_deref());
                let access = Access::default();
                let work = images.work()?;
                let digest = images.tools(&work).digest(&source, &access).await?;
                let image = Located {
                    key: digest.replace(':', "-"),
                    source,
                    access,
                };
                images.get(&image, tell).await
            }
        }
    }
}

/// The registry is asked even for an image that is here: it says whether this job may have it.
async fn pulled(
    images: &Images,
    reference: &Reference,
    auth_file: Option<PathBuf>,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> Result<Held, ContainerError> {
    let access = Access {
        auth_file,
        is_plain: reference.is_plain,
        is_registry: true,
    };
    let work = images.work()?;
    let asked = format!("docker://{}", reference.full());
    tell(&format!("asking for image {asked}"));
    let digest = images.tools(&work).digest(&asked, &access).await?;
    let image = Located {
        key: digest.replace(':', "-"),
        source: format!("docker://{}", reference.with_digest(&digest)),
        access,
    };
    images.get(&image, tell).await
}

fn at(transport: &str, path: &Path, reference: Option<&str>) -> String {
    let tag = reference.map_or_else(String::new, |reference| format!(":{reference}"));
    format!("{transport}:{}{tag}", path.display())
}

/// Two images of one archive are two.
fn with_tag(key: String, reference: Option<&str>) -> String {
    match reference {
        Some(reference) => {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
            format!("{key}-{}", reference.chars().map(plain).collect::<String>())
        }
        None => key,
    }
}

/// A file in memory with the credentials for one registry, removed with this.
struct AuthFile(PathBuf);

impl AuthFile {
    fn write(
        directory: &Path,
        registry: &str,
        credentials: &Credentials,
    ) -> Result<Self, ContainerError> {
        let path = directory.join("auth.json");
        let auth = serde_json::json!({"auths": {registry: {"auth": encoded(credentials)}}});
        let written = || -> std::io::Result<()> {
            let mut options = std::fs::File::options();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&path)?.write_all(auth.to_string().as_bytes())
        };
        written().map_err(cannot::<_, ContainerError>("write", &path))?;
        Ok(Self(path))
    }
}

impl Drop for AuthFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "the credentials of a registry stay in memory");
        }
    }
}

fn encoded(credentials: &Credentials) -> String {
    let Credentials { username, password } = credentials;
    STANDARD.encode(format!("{username}:{}", password.expose()))
}

/// The same error, should a program have repeated a password.
fn without(error: ContainerError, credentials: &Credentials) -> ContainerError {
    let encoded = SecretText::new(encoded(credentials));
    let clean = |text: String| redacted(&text, [&credentials.password, &encoded]);
    match error {
        ContainerError::Failed {
            program,
            status,
            said,
        } => ContainerError::Failed {
            program,
            status,
            said: clean(said),
        },
        ContainerError::TimedOut {
            program,
            limit,
            said,
        } => ContainerError::TimedOut {
            program,
            limit,
            said: clean(said),
        },
        ContainerError::Full { program, said } => ContainerError::Full {
            program,
            said: clean(said),
        },
        other => other,
    }
}
