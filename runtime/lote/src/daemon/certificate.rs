//! The daemon's certificate: the operator's, or one made at the first start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use lote_api::tls::{Tls, TlsError};
use lote_cli::node_args::{NodeSettings, TlsSource};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};

/// How long a certificate that is made here lasts: as long as the machine, since
/// clients know it by its fingerprint.
const LIFE: time::Duration = time::Duration::days(3_650);

/// The longest host name that fits into a certificate's own name.
const COMMON_NAME_MAX: usize = 64;

/// There is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot serve with the certificate {path}")]
    Tls { path: PathBuf, source: TlsError },
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Loads the certificate that the options ask for; none for plain HTTP.
/// `address` is how other machines reach this one.
pub(super) fn load(
    settings: &NodeSettings,
    address: &str,
) -> Result<Option<Tls>, CertificateError> {
    let (certificate, key) = match &settings.tls {
        TlsSource::None => return Ok(None),
        TlsSource::Files { certificate, key } => (certificate.clone(), key.clone()),
        TlsSource::SelfMade => made(&settings.data_dir, &names(settings, address))?,
    };
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| CertificateError::File { path, source }
    };
    let chain = std::fs::read(&certificate).map_err(file(&certificate))?;
    let key = lote_vault::file::read(&key).map_err(file(&key))?;
    let tls = Tls::from_pem(&chain, &key).map_err(|source| CertificateError::Tls {
        path: certificate,
        source,
    })?;
    Ok(Some(tls))
}

/// Every name by which clients may know this machine.
fn names(settings: &NodeSettings, address: &str) -> Vec<String> {
    let host_name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    let listen = Some(settings.listen.ip()).filter(|ip| !ip.is_unspecified());
    let mut names: Vec<String> = host_name.into_iter().collect();
    names.push("localhost".into());
    names.push(Ipv4Addr::LOCALHOST.to_string());
    names.push(Ipv6Addr::LOCALHOST.to_string());
    names.extend(listen.map(|ip| ip.to_string()));
    names.push(address.to_owned());
    names.retain(|name| is_name(name));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    names
}

/// An address that others can use, or a host name.
fn is_name(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c))
        }
    }
}

/// The certificate in the data directory and its key; made if they are not both
/// there. The key is written first: a certificate always has its key.
fn made(data_directory: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), CertificateError> {
    let certificate = data_directory.join("tls.crt");
    let key = data_directory.join("tls.key");
    if !(certificate.exists() && key.exists()) {
        let (chain, secret_key) = make(names)?;
        for (path, content) in [(&key, secret_key), (&certificate, chain)] {
            lote_vault::file::write(path, content.as_bytes()).map_err(|source| {
                CertificateError::File {
                    path: path.clone(),
                    source,
                }
            })?;
        }
        tracing::info!(names = names.join(", "), "made a certificate");
    }
    Ok((certificate, key))
}

/// A certificate that is signed with its own key, and that key, in PEM form. It
/// is no authority, so that trusting it trusts nothing else.
fn make(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    let common = names.iter().find(|name| name.len() <= COMMON_NAME_MAX);
    let common = common.map_or("lote", String::as_str);
    params.distinguished_name.push(DnType::CommonName, common);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = time::OffsetDateTime::now_utc();
    // A client's clock may be behind.
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + LIFE;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use lote_cli::node_args::NodeArgs;

    use super::*;

    fn settings(folder: &Path, listen: &str) -> NodeSettings {
        let args = NodeArgs {
            data_dir: Some(folder.to_owned()),
            listen: Some(listen.to_owned()),
            tls: true,
            ..NodeArgs::default()
        };
        args.resolve(None).unwrap()
    }

    #[test]
    fn a_made_certificate_stays_and_its_key_is_secret() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), "127.0.0.1:0");
        let first = load(&settings, "gpu1.lan").unwrap().unwrap();
        let again = load(&settings, "gpu2.lan").unwrap().unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        let key = folder.path().join("tls.key");
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&settings, "gpu1.lan").is_err());
    }

    #[test]
    fn names_are_those_that_clients_may_use() {
        let folder = tempfile::tempdir().unwrap();
        let names = |listen: &str, address: &str| names(&settings(folder.path(), listen), address);
        let some = names("10.1.2.3:1", "gpu1.lan");
        for expected in ["localhost", "127.0.0.1", "::1", "10.1.2.3", "gpu1.lan"] {
            assert!(some.iter().any(|name| name == expected), "{some:?}");
        }
        let others = names("0.0.0.0:1", "0.0.0.0");
        assert!(others.iter().all(|name| name != "0.0.0.0"), "{others:?}");
        let doubled = names("127.0.0.1:1", "LOCALHOST");
        let count = doubled
            .iter()
            .filter(|name| name.eq_ignore_ascii_case("localhost"));
        assert_eq!(count.count(), 1, "{doubled:?}");
    }
}
