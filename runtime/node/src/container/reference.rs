//! Names of images, as users write them and as registries know them. Pure.

/// The public registry, which names without one mean.
const PUBLIC: &str = "docker.io";

/// What its user calls it.
const PUBLIC_NAMES: [&str; 4] = [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    "registry.hub.docker.com",
];

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The registry: `host` or `host:port`.
    pub(crate) registry: String,
    /// The repository there.
    pub(crate) repository: String,
    /// `:tag`, or `@sha256:…`.
    version: String,
    /// Whether the registry is spoken to without encryption, because its URL says so.
    pub(crate) is_plain: bool,
}

impl Reference {
    /// From the name that a job has, and the URL of its registry.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a part of a sentence.
    pub(crate) fn parse(image: &str, server_url: Option<&str>) -> Result<Self, String> {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if image.is_empty() || !image.chars().all(is_fit) {
            return Err("it has letters, digits and ._-/:@ only".to_owned());
        }
        let (name, version) = split_version(image);
        let (named, repository) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (Some(first), rest),
            _ => (None, name),
        };
        let is_part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !repository.split('/').all(is_part) {
            return Err("it is NAME, NAME:TAG or REGISTRY/NAME:TAG".to_owned());
        }
        let server = server_url.map(server).transpose()?;
        let is_plain = server
            .as_ref()
            .is_some_and(|(host, is_plain)| *is_plain && named.is_none_or(|named| named == host));
        let registry = match (named, server) {
            (Some(named), _) => named.to_owned(),
            (None, Some((host, _))) => host,
            (None, None) => PUBLIC.to_owned(),
        };
        let is_public = PUBLIC_NAMES.contains(&registry.as_str());
        let repository = match repository {
            short if is_public && !short.contains('/') => format!("library/{short}"),
            long => long.to_owned(),
        };
        let registry = if is_public {
            PUBLIC.to_owned()
        } else {
            registry
        };
        Ok(Self {
            registry,
            repository,
            version,
            is_plain,
        })
    }

    /// The same image at a mirror, `host:port` or `host:port/prefix`.
    pub(crate) fn at_mirror(&self, mirror: &str, is_plain: bool) -> Self {
        let (registry, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
        let prefix = prefix.trim_matches('/');
        let repository = match prefix {
            "" => self.repository.clone(),
            prefix => format!("{prefix}/{}", self.repository),
        };
        Self {
            registry: registry.to_owned(),
            repository,
            version: self.version.clone(),
            is_plain,
        }
    }

    /// The whole name: `registry/repository:tag`.
    pub(crate) fn full(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.version)
    }

    /// The name of exactly the image that has this digest.
    pub(crate) fn with_digest(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.registry, self.repository)
    }
}

/// A name and its version, which is `:latest` if it has none. A digest says more than a tag.
fn split_version(image: &str) -> (&str, String) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(format!("@{digest}"))),
        None => (image, None),
    };
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[last..].find(':') {
        Some(colon) => name.split_at(last + colon),
        None => (name, ":latest"),
    };
    (name, digest.unwrap_or_else(|| tag.to_owned()))
}

/// Whether the first part of a name is a registry, as all clients of registries tell it.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

/// The host of a registry's URL, and whether it is spoken to without encryption.
fn server(url: &str) -> Result<(String, bool), String> {
    let (rest, is_plain) = match url.split_once("://") {
        Some(("http", rest)) => (rest, true),
        Some(("https", rest)) => (rest, false),
        Some(_) => return Err(format!("its registry '{url}' is no https:// URL")),
        None => (url, false),
    };
    let host = rest.split('/').next().unwrap_or_default();
    let is_fit = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    if host.is_empty() || !host.chars().all(is_fit) || host.starts_with('-') {
        return Err(format!("its registry '{url}' is no https:// URL"));
    }
    Ok((host.to_owned(), is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(image: &str, server: Option<&str>) -> String {
        Reference::parse(image, server).unwrap().full()
    }

    #[test]
    fn names_mean_what_they_mean_everywhere() {
        for (image, server, expected) in [
            ("ubuntu", None, "docker.io/library/ubuntu:latest"),
            ("ubuntu:16.04", None, "docker.io/library/ubuntu:16.04"),
            (
                "a/b:c",
                Some("https://index.docker.io/v1/"),
                "docker.io/a/b:c",
            ),
            ("a/b:c", Some("https://r.example/v2/"), "r.example/a/b:c"),
            ("b", Some("r.example:5000"), "r.example:5000/b:latest"),
            ("r.example/b:1", Some("https://r.example"), "r.example/b:1"),
            ("localhost:5000/b", None, "localhost:5000/b:latest"),
            ("a/b:1@sha256:00", None, "docker.io/a/b@sha256:00"),
        ] {
            assert_eq!(full(image, server), expected, "{image}");
        }
        for bad in ["", "a b", "-x", "a/../b", "a//b", "--all", "x$(id)"] {
            assert!(Reference::parse(bad, None).is_err(), "{bad}");
        }
        assert!(Reference::parse("a", Some("ftp://x")).is_err());
    }

    #[test]
    fn encryption_is_given_up_for_the_named_registry_only() {
        let is_plain =
            |image: &str, server: &str| Reference::parse(image, Some(server)).unwrap().is_plain;
        assert!(is_plain("b", "http://r.example:5000"));
        assert!(is_plain("r.example:5000/b", "http://r.example:5000"));
        assert!(!is_plain("other.example/b", "http://r.example:5000"));
        assert!(!is_plain("b", "https://r.example"));
    }

    #[test]
    fn a_mirror_has_the_repositories_of_the_original() {
        let reference = Reference::parse("ubuntu:22.04", None).unwrap();
        let at = |mirror: &str| reference.at_mirror(mirror, false).full();
        assert_eq!(at("m.example"), "m.example/library/ubuntu:22.04");
        assert_eq!(
            at("m.example:1/hub/"),
            "m.example:1/hub/library/ubuntu:22.04"
        );
        let exact = reference
            .at_mirror("m.example", false)
            .with_digest("sha256:0");
        assert_eq!(exact, "m.example/library/ubuntu@sha256:0");
    }
}
