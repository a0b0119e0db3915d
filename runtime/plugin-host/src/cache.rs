//! Compiled code on disk: a start of the daemon maps it instead of compiling.
//!
//! A file is named after the component's digest and the engine's compatibility, is
//! written under another name, synced and renamed, and never rewritten. One that
//! does not load is deleted and made again.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use wasmtime::Engine;
use wasmtime::component::Component;

/// Nobody but the daemon may read or write the folder.
const FOLDER_MODE: u32 = 0o700;
/// The same for its files.
const FILE_MODE: u32 = 0o600;

/// Why a folder cannot hold compiled code.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made or looked at.
    #[error("cannot use {} for compiled plugins", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could put code into it.
    #[error("{} holds compiled plugins, but others may write there; remove it, the daemon makes it again", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
}

/// A folder that only this user can write.
#[derive(Debug)]
pub(crate) struct CodeCache {
    folder: PathBuf,
    compatibility: u64,
}

impl CodeCache {
    /// Makes the folder, or makes sure that nobody else writes there.
    pub(crate) fn open(folder: &Path, engine: &Engine) -> Result<Self, CacheError> {
        let path = folder.to_owned();
        match make_private(folder) {
            Ok(true) => {}
            Ok(false) => return Err(CacheError::NotPrivate { path }),
            Err(source) => return Err(CacheError::Io { path, source }),
        }
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            folder: path,
            compatibility: hasher.finish(),
        })
    }

    /// The compiled form of a component, if it is there and loads.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        if !path.exists() {
            return None;
        }
        match map_code(engine, &path) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(
                    "{} does not load and is made again: {error:#}",
                    path.display()
                );
                remove(&path);
                None
            }
        }
    }

    /// Keeps the compiled form of a component; a failure costs time at the next start.
    pub(crate) fn store(&self, digest: &str, component: &Component) {
        let path = self.path(digest);
        let written = component
            .serialize()
            .map_err(|error| io::Error::other(format!("{error:#}")))
            .and_then(|code| write_new(&path, &code));
        if let Err(error) = written {
            tracing::warn!("cannot keep compiled code in {}: {error}", path.display());
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder
            .join(format!("{digest}-{:016x}.cwasm", self.compatibility))
    }
}

/// A folder of compiled code that came with the system, for any processor: files named after the
/// component's digest, which only root can change.
#[derive(Debug)]
pub(crate) struct ProvidedCode {
    folder: PathBuf,
}

impl ProvidedCode {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The compiled form of a component, if it is there, can be trusted, and was made by this
    /// version of the compiler.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.folder.join(provided_name(digest));
        if !(is_roots(&self.folder) && is_roots(&path)) {
            return None;
        }
        map_code(engine, &path)
            .inspect_err(|error| tracing::info!("{} is of no use: {error:#}", path.display()))
            .ok()
    }
}

/// What the compiled form of a component is called among others that came with the system.
pub(crate) fn provided_name(digest: &str) -> String {
    format!("{digest}.cwasm")
}

/// Whether only root can have written it.
fn is_roots(path: &Path) -> bool {
    let found = fs::symlink_metadata(path);
    found.is_ok_and(|found| found.uid() == 0 && !found.is_symlink() && found.mode() & 0o022 == 0)
}

/// Whether the folder is this user's alone; it is made if there is none.
fn make_private(folder: &Path) -> io::Result<bool> {
    let mut builder = fs::DirBuilder::new();
    match builder.mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    let own_user = fs::metadata("/proc/self")?.uid();
    Ok(found.is_dir() && found.uid() == own_user && found.mode() & 0o777 == FOLDER_MODE)
}

fn write_new(path: &Path, code: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    remove(&temporary);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&temporary)?;
    let written = file
        .write_all(code)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        remove(&temporary);
    }
    written
}

/// A file that is not there is as good as removed, and one that cannot be removed
/// shows when it is written again.
fn remove(path: &Path) {
    drop(fs::remove_file(path));
}

#[allow(unsafe_code, reason = "compiled code cannot be checked, only trusted")]
fn map_code(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the folder belongs to this user and nobody else may write there, which
    // `CodeCache::open` has checked; its files were written by this module, complete
    // before they got their names, and are never rewritten while they are mapped. Or only
    // root can write folder and file, which `ProvidedCode::load` has checked; an operator's
    // image has them from this module as well, and nobody rewrites them in place.
    unsafe { Component::deserialize_file(engine, path) }
}
