//! What a local directory holds, for sending.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Stamp;
use super::place::{below, stays_inside};
use crate::failure::Failure;

/// A file to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Where it goes on the file server.
    pub remote: String,
    /// Its size and time.
    pub stamp: Stamp,
    /// Its permissions.
    pub mode: u32,
}

/// A link to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalLink {
    /// Where it goes on the file server.
    pub remote: String,
    /// Where it leads.
    pub target: String,
}

/// All that is to be sent.
#[derive(Debug, Default)]
pub struct Found {
    /// Files.
    pub files: Vec<LocalFile>,
    /// Directories, as paths on the file server, those that hold them first.
    pub directories: Vec<String>,
    /// Links.
    pub links: Vec<LocalLink>,
    /// What cannot be sent, and why.
    pub left_out: Vec<(String, Failure)>,
}

impl Found {
    /// Adds a file or a directory with all that is in it. A link is followed if it
    /// is what was asked for.
    pub fn add(&mut self, path: &Path, remote: &str) -> Result<(), Failure> {
        let metadata = fs::metadata(path).map_err(|source| read_failed(path, source))?;
        if metadata.is_dir() {
            self.add_directory(path, remote, ".")
        } else {
            self.add_file(path, remote, &metadata);
            Ok(())
        }
    }

    /// `inside` is the directory's path below the one that was asked for.
    fn add_directory(&mut self, path: &Path, remote: &str, inside: &str) -> Result<(), Failure> {
        // The file server itself is there.
        if remote != "." {
            self.directories.push(remote.to_owned());
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = entries.map_err(|source| read_failed(path, source))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let here = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                self.leave_out(&here, "has a name that is not UTF-8, which cannot be sent");
                continue;
            };
            let there = below(remote, &name);
            match fs::symlink_metadata(&here) {
                Ok(metadata) if metadata.is_dir() => {
                    self.add_directory(&here, &there, &below(inside, &name))?;
                }
                Ok(metadata) if metadata.is_symlink() => self.add_link(&here, there, inside),
                Ok(metadata) => self.add_file(&here, &there, &metadata),
                Err(source) => {
                    let failure = read_failed(&here, source);
                    self.left_out.push((here.display().to_string(), failure));
                }
            }
        }
        Ok(())
    }

    fn add_link(&mut self, path: &Path, remote: String, inside: &str) {
        let target = fs::read_link(path).ok();
        match target.as_ref().and_then(|target| target.to_str()) {
            Some(target) if stays_inside(inside, target) => self.links.push(LocalLink {
                remote,
                target: target.to_owned(),
            }),
            _ => self.leave_out(path, "is a link that leads out of what is sent"),
        }
    }

    fn add_file(&mut self, path: &Path, remote: &str, metadata: &Metadata) {
        if !metadata.is_file() {
            return self.leave_out(path, "is neither a file nor a directory");
        }
        let Some(stamp) = stamp(metadata) else {
            return self.leave_out(path, "has a time that cannot be told");
        };
        self.files.push(LocalFile {
            path: path.to_owned(),
            remote: remote.to_owned(),
            stamp,
            mode: metadata.permissions().mode() & 0o777,
        });
    }

    fn leave_out(&mut self, path: &Path, reason: &'static str) {
        let path = path.display().to_string();
        let failure = Failure::Untransferable {
            path: path.clone(),
            reason,
        };
        self.left_out.push((path, failure));
    }
}

/// Size and time of a file here.
pub fn stamp(metadata: &Metadata) -> Option<Stamp> {
    let modified = Timestamp::try_from(metadata.modified().ok()?).ok()?;
    Some(Stamp {
        size: metadata.len(),
        modified,
    })
}

fn read_failed(path: &Path, source: std::io::Error) -> Failure {
    Failure::File {
        action: "read",
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_is_found_with_what_cannot_be_sent() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("a/empty")).unwrap();
        fs::write(top.join("a/ü.txt"), "x").unwrap();
        fs::write(top.join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
        symlink("a/ü.txt", top.join("latest")).unwrap();
        symlink("../../outside", top.join("a/out")).unwrap();
        symlink("/etc", top.join("absolute")).unwrap();
        let mut found = Found::default();
        found.add(&top, "data").unwrap();
        assert_eq!(found.directories, ["data", "data/a", "data/a/empty"]);
        assert_eq!(found.files.len(), 1);
        assert_eq!(found.files[0].remote, "data/a/ü.txt");
        let link = LocalLink {
            remote: "data/latest".into(),
            target: "a/ü.txt".into(),
        };
        assert_eq!(found.links, [link]);
        assert_eq!(found.left_out.len(), 3);
        assert!(found.add(&folder.path().join("none"), "x").is_err());
    }
}
