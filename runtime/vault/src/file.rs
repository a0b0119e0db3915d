//! Files of secrets: only their owner may read them, and a crash leaves no half of one. That last
//! holds for others too that are replaced here.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use chacha20poly1305::aead::Generate;
use zeroize::Zeroizing;

/// Writes a file that only its owner may read, durably.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, 0o600)
}

/// Writes a file with this mode in the place of what is there, durably. Complete under another
/// name first: a crash leaves the old one or the new one, and no half.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    // What depends on the file is durable, so the name must be as well.
    File::open(folder_of(path))?.sync_all()
}

/// A bare file name is in the current directory.
fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Reads a file of secrets, unless others than its owner may read it.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    // Of the open file, so that nobody can exchange it in between.
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        let message = format!(
            "others than its owner may read or change it (mode {:03o}); run `chmod 600` on it",
            mode & 0o777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut content = Zeroizing::new(Vec::new());
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Reads a key of 32 bytes, or makes one that nobody can guess. Half a key is an
/// error and no new key.
pub fn key(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    match find_key(path)? {
        Some(key) => Ok(key),
        None => make_key(path),
    }
}

/// Reads a key of 32 bytes; none if there is no such file.
pub fn find_key(path: &Path) -> io::Result<Option<Zeroizing<[u8; 32]>>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut key = Zeroizing::new([0; 32]);
    file.read_exact(&mut *key)?;
    Ok(Some(key))
}

fn make_key(path: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let key = Zeroizing::new(<[u8; 32]>::try_generate().map_err(io::Error::other)?);
    write(path, &*key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_and_is_nobody_elses_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        assert_eq!(find_key(&path).unwrap(), None);
        let first = key(&path).unwrap();
        assert_eq!(find_key(&path).unwrap().as_ref(), Some(&first));
        assert_ne!(*first, [0; 32]);
        assert_eq!(key(&path).unwrap(), first);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(key(&folder.path().join("b.key")).unwrap(), first);
    }

    #[test]
    fn half_a_key_is_an_error_and_not_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        std::fs::write(&path, [1; 5]).unwrap();
        assert!(key(&path).is_err() && find_key(&path).is_err());
    }

    #[test]
    fn a_secret_that_others_can_read_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        write(&path, b"secret").unwrap();
        assert_eq!(*read(&path).unwrap(), b"secret");
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn the_folder_of_a_bare_name_is_the_current_one() {
        assert_eq!(folder_of(Path::new("a")), Path::new("."));
        assert_eq!(folder_of(Path::new("b/a")), Path::new("b"));
    }
}
