//! The image itself: it belongs to everybody who boots it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::image::Image;

/// What private keys begin with, of any kind.
const PRIVATE: &str = "PRIVATE KEY-----";

pub(crate) fn the_image_holds_no_secret() {
    let unpacked = Image::find().unpacked_root();
    let root = unpacked.path();
    let mut findings = Vec::new();
    let mut looked_at = 0;
    walk(root, &mut |path| {
        looked_at += 1;
        let inside = path.strip_prefix(root).expect("it is below");
        if is_suspect(inside) || holds_key(path) {
            findings.push(inside.display().to_string());
        }
    });
    assert_eq!(findings, Vec::<String>::new());
    assert!(looked_at > 5_000, "{looked_at} files are no Debian");
    let machine = fs::read_to_string(root.join("etc/machine-id")).expect("a file");
    assert_eq!(machine, "", "every machine makes its own");
    let shadow = fs::read_to_string(root.join("etc/shadow")).expect("a file");
    for line in shadow.lines() {
        let password = line.split(':').nth(1).expect("a password");
        assert!(["*", "!", "!*", "!!"].contains(&password), "{line}");
    }
    for name in ["etc/gshadow", "etc/group"] {
        let groups = fs::read_to_string(root.join(name)).expect("a file");
        let open = |line: &&str| {
            let password = line.split(':').nth(1).unwrap_or_default();
            !["*", "!", "!*", "x", ""].contains(&password)
        };
        assert_eq!(groups.lines().find(open), None, "{name}");
    }
    for name in ["var/lib/lote", "var/lib/etcd"] {
        let entries = fs::read_dir(root.join(name)).map_or(0, Iterator::count);
        assert_eq!(entries, 0, "{name} is empty");
    }
}

/// Whether a file has no place in an image, by its name.
fn is_suspect(inside: &Path) -> bool {
    let name = inside.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("ssh_host_")
        || [
            "authorized_keys",
            ".netrc",
            "random-seed",
            "lote.token",
            "cluster.key",
            "ssl-cert-snakeoil.key",
        ]
        .contains(&name.as_ref())
}

/// Whether it is a text with a private key in it. Programs have the words in them that keys begin
/// with.
fn holds_key(path: &Path) -> bool {
    let is_small = fs::metadata(path).is_ok_and(|found| found.len() < 1 << 20);
    let bytes = if is_small {
        fs::read(path).unwrap_or_default()
    } else {
        Vec::new()
    };
    let text = String::from_utf8(bytes).unwrap_or_default();
    let mut lines = text.lines();
    lines.any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(PRIVATE))
}

fn walk(folder: &Path, look: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => walk(&path, look),
            Ok(found) if found.is_file() => look(&path),
            _ => {}
        }
    }
}
