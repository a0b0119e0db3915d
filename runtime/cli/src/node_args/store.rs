//! Where the cluster's state is kept.

use std::path::PathBuf;

use super::{NodeArgs, NodeSettingsError, StoreKind};

/// `--store`, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// Nothing is said: what the data directory has joined, or else a file in it.
    Found {
        /// Certificates for etcd in place of those that came with joining.
        tls: Option<EtcdTlsFiles>,
    },
    /// A file in the data directory.
    Embedded,
    /// An etcd.
    Etcd(EtcdSettings),
}

/// The `--etcd…` options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    /// The URLs of the members.
    pub endpoints: Vec<String>,
    /// The certificates, if connections are encrypted.
    pub tls: Option<EtcdTlsFiles>,
    /// What all keys start with, if it was given.
    pub prefix: Option<String>,
}

/// Files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTlsFiles {
    /// The authority that signed the members' certificates.
    pub authority: PathBuf,
    /// This daemon's certificate and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Takes the options that belong to the store out of the line and the file; the line wins.
pub(super) fn resolve(
    line: &NodeArgs,
    file: &NodeArgs,
) -> Result<StoreSettings, NodeSettingsError> {
    let path =
        |of: fn(&NodeArgs) -> &Option<PathBuf>| of(line).clone().or_else(|| of(file).clone());
    let (authority, certificate, key) = (
        path(|args| &args.etcd_ca),
        path(|args| &args.etcd_cert),
        path(|args| &args.etcd_key),
    );
    let endpoints = if line.etcd.is_empty() {
        &file.etcd
    } else {
        &line.etcd
    };
    let prefix = line.etcd_prefix.as_ref().or(file.etcd_prefix.as_ref());
    let is_named = !endpoints.is_empty() || prefix.is_some();
    let tls = tls(authority, certificate, key)?;
    match line.store.or(file.store) {
        None if is_named => Err(NodeSettingsError::EtcdUnused),
        None => Ok(StoreSettings::Found { tls }),
        Some(StoreKind::Embedded) if is_named || tls.is_some() => {
            Err(NodeSettingsError::EtcdUnused)
        }
        Some(StoreKind::Embedded) => Ok(StoreSettings::Embedded),
        Some(StoreKind::Etcd) if endpoints.is_empty() => Err(NodeSettingsError::EtcdMissing),
        Some(StoreKind::Etcd) => Ok(StoreSettings::Etcd(EtcdSettings {
            endpoints: endpoints.clone(),
            tls,
            prefix: prefix.cloned(),
        })),
    }
}

fn tls(
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<EtcdTlsFiles>, NodeSettingsError> {
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err(NodeSettingsError::EtcdTls),
    };
    match (authority, identity) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(NodeSettingsError::EtcdTls),
        (Some(authority), identity) => Ok(Some(EtcdTlsFiles {
            authority,
            identity,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, line: &NodeArgs) -> Result<StoreSettings, NodeSettingsError> {
        resolve(line, &toml::from_str(text).unwrap())
    }

    #[test]
    fn a_file_can_say_it_all_and_the_line_wins() {
        let text = "store = 'etcd'\netcd = ['https://a', 'https://b']\netcd-ca = 'ca'\n\
                    etcd-cert = 'cert'\netcd-key = 'key'";
        let line = NodeArgs {
            etcd: vec!["https://c".to_owned()],
            etcd_prefix: Some("/x/".to_owned()),
            ..NodeArgs::default()
        };
        let StoreSettings::Etcd(etcd) = settings(text, &line).unwrap() else {
            panic!("not etcd")
        };
        assert_eq!(etcd.endpoints, ["https://c"]);
        assert_eq!(etcd.prefix.as_deref(), Some("/x/"));
        let tls = etcd.tls.unwrap();
        assert_eq!(tls.identity, Some(("cert".into(), "key".into())));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let of = |text: &str| settings(text, &NodeArgs::default());
        assert_eq!(of("").unwrap(), StoreSettings::Found { tls: None });
        assert_eq!(of("store = 'embedded'").unwrap(), StoreSettings::Embedded);
        // For a cluster that hands out none.
        let own = of("etcd-ca = 'ca'\netcd-cert = 'c'\netcd-key = 'k'").unwrap();
        assert!(matches!(own, StoreSettings::Found { tls: Some(_) }));
        assert!(matches!(
            of("store = 'etcd'"),
            Err(NodeSettingsError::EtcdMissing)
        ));
        for text in [
            "etcd = ['http://a']",
            "store = 'embedded'\netcd-ca = 'ca'",
            "etcd-prefix = '/x/'",
        ] {
            assert!(
                matches!(of(text), Err(NodeSettingsError::EtcdUnused)),
                "{text}"
            );
        }
        for options in [
            "etcd-cert = 'c'\netcd-key = 'k'",
            "etcd-ca = 'ca'\netcd-key = 'k'",
            "etcd-ca = 'ca'\netcd-cert = 'c'",
        ] {
            let text = format!("store = 'etcd'\netcd = ['https://a']\n{options}");
            assert!(
                matches!(of(&text), Err(NodeSettingsError::EtcdTls)),
                "{text}"
            );
        }
    }
}
