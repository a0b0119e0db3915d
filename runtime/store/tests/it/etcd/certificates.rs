//! An authority and what it signed.

use std::path::Path;

use lote_store::{EtcdIdentity, EtcdTls};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

struct Signed {
    certificate: String,
    key: String,
}

/// All in PEM form.
pub(crate) struct Certificates {
    authority: String,
    server: Signed,
    client: Signed,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params.distinguished_name.push(DnType::CommonName, "test");
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let sign = |names: &[&str], purpose| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            // Etcd's own gateway connects to the server with the server's certificate.
            params.extended_key_usages = vec![purpose, ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().unwrap();
            Signed {
                certificate: params.signed_by(&key, &authority).unwrap().pem(),
                key: key.serialize_pem(),
            }
        };
        Self {
            server: sign(&["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth),
            client: sign(&[], ExtendedKeyUsagePurpose::ClientAuth),
            authority: authority.pem(),
        }
    }

    pub(crate) fn write_to(&self, folder: &Path) {
        for (name, content) in [
            ("ca.pem", &self.authority),
            ("server.pem", &self.server.certificate),
            ("server.key", &self.server.key),
        ] {
            std::fs::write(folder.join(name), content).unwrap();
        }
    }

    pub(crate) fn for_client(&self) -> EtcdTls {
        EtcdTls {
            authority: self.authority.clone().into_bytes(),
            identity: Some(EtcdIdentity {
                certificate: self.client.certificate.clone().into_bytes(),
                key: self.client.key.clone().into_bytes(),
            }),
        }
    }
}
