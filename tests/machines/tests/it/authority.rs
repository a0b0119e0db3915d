//! The certificates of the store and of the API, made as docs/operating.md says.

use std::path::PathBuf;
use std::process::Command;

use crate::image::run;

/// A directory with `ca.pem`, and certificates that it signed.
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes a new one.
    pub(crate) fn create(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        let authority = Self { folder };
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
             -subj /CN=authority -keyout ca.key -out ca.pem",
        );
        authority
    }

    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes `NAME.pem` and `NAME.key`.
    pub(crate) fn sign(&self, name: &str, extension: &str) {
        let file = format!("basicConstraints=critical,CA:FALSE\n{extension}\n");
        std::fs::write(self.file(&format!("{name}.ext")), file).expect("a file");
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} \
             -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
             -extfile {name}.ext -out {name}.pem"
        ));
    }

    fn openssl(&self, arguments: &str) {
        run(Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder));
    }
}
