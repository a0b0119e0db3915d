//! The images of a node: unpacked once, read by every job that asks for one, removed when there
//! is no room for others.
//!
//! `images/roots/{key}` holds an image's files and what it says of itself. It is made elsewhere and
//! appears when it is complete, so that no crash leaves half of one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use lote_model::quantity::format_bytes;
use serde::{Deserialize, Serialize};

use super::layout::ImageConfig;
use super::tools::{Access, Tools};
use super::{ContainerConfig, ContainerError, root};
use crate::directories::{self, cannot};

/// How often a pull that lasts is spoken of.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// How often the removal of half an image is tried.
const REMOVAL_TRIES: u32 = 50;

/// The files of an image, in the directory of its key.
const FILES: &str = "rootfs";
/// What it says of itself; made last.
const DESCRIPTION: &str = "image.json";

/// The images of this node.
#[derive(Debug)]
pub(crate) struct Images {
    data_directory: PathBuf,
    directory: PathBuf,
    config: ContainerConfig,
    /// Who fetches an image, or waits for somebody who does, or sets a job up with it.
    wanted: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// An image that is here, as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) files: PathBuf,
    pub(super) config: ImageConfig,
    /// Under which name it is kept; none for one that is the operator's directory.
    pub(super) key: Option<String>,
    _hold: Option<Arc<tokio::sync::Mutex<()>>>,
}

/// What is kept with an image.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    source: String,
    size_bytes: u64,
    config: ImageConfig,
}

/// An image of which it is known where it is.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) key: String,
    /// As skopeo names it.
    pub(super) source: String,
    pub(super) access: Access,
}

impl Images {
    /// Those of this data directory; what an earlier daemon did not finish is removed.
    pub(crate) fn new(data_directory: &Path, config: &ContainerConfig) -> Self {
        let directory = data_directory.join("images");
        let unfinished = directory.join("unfinished");
        if let Err(error) = directories::remove(&unfinished) {
            tracing::warn!(%error, path = %unfinished.display(), "half an image stays behind");
        }
        Self {
            data_directory: data_directory.to_owned(),
            directory,
            config: config.clone(),
            wanted: Mutex::default(),
        }
    }

    fn roots(&self) -> PathBuf {
        self.directory.join("roots")
    }

    /// A directory for one fetch; it goes with what is returned.
    pub(super) fn work(&self) -> Result<WorkDirectory, ContainerError> {
        static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.directory.join("unfinished").join(number.to_string());
        directories::private(&path).map_err(cannot::<_, ContainerError>("create", &path))?;
        Ok(WorkDirectory(path))
    }

    pub(super) fn tools<'a>(&self, work: &'a WorkDirectory) -> Tools<'a> {
        Tools {
            directory: &work.0,
            time_limit: self.config.pull_time_limit,
        }
    }

    /// The image, fetched if it is not here. Whoever wants the same one waits meanwhile. `tell`
    /// hears how it goes on.
    pub(super) async fn get(
        &self,
        image: &Located,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Held, ContainerError> {
        let hold = self.hold(&image.key);
        let _turn = if let Ok(turn) = hold.try_lock() {
            turn
        } else {
            tell(&format!(
                "another job has image {} in hand; waiting for it",
                image.source
            ));
            hold.lock().await
        };
        let place = self.roots().join(&image.key);
        let held = |description: Description| Held {
            files: place.join(FILES),
            config: description.config,
            key: Some(image.key.clone()),
            _hold: Some(Arc::clone(&hold)),
        };
        if let Some(description) = read(&place) {
            touch(&place);
            tell(&format!(
                "image {} is here already ({})",
                description.source,
                format_bytes(description.size_bytes)
            ));
            return Ok(held(description));
        }
        let fetched = match self.fetch(image, &place, tell).await {
            Err(ContainerError::Full { .. }) if self.make_room(0, &image.key).await > 0 => {
                tell("the disk is full; images that nobody uses were removed, trying again");
                self.fetch(image, &place, tell).await
            }
            fetched => fetched,
        };
        let description = fetched?;
        self.make_room(self.config.cache_bytes, &image.key).await;
        Ok(held(description))
    }

    async fn fetch(
        &self,
        image: &Located,
        place: &Path,
        tell: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Description, ContainerError> {
        let work = Arc::new(self.work()?);
        let tools = self.tools(&work);
        let (layout, bundle) = (work.0.join("layout"), work.0.join("bundle"));
        tell(&format!("pulling image {}", image.source));
        let pull = tools.copy(&image.source, &image.access, &layout);
        watched(pull, "pulling the image", &work.0, tell).await?;
        let pulled = size_of_files(work.0.clone()).await;
        tell(&format!(
            "image pulled ({}), unpacking",
            format_bytes(pulled)
        ));
        let unpack = tools.unpack(&layout, &bundle);
        watched(unpack, "unpacking the image", &bundle, tell).await?;
        let config = ImageConfig::read(&layout).map_err(cannot::<_, ContainerError>(
            "read the description in",
            &layout,
        ))?;
        let files = bundle.join(FILES);
        let description = Description {
            source: image.source.clone(),
            size_bytes: size_of_files(files.clone()).await,
            config,
        };
        tell(&format!(
            "image unpacked ({})",
            format_bytes(description.size_bytes)
        ));
        let (draft, place) = (work.0.join("complete"), place.to_owned());
        let text = serde_json::to_vec(&description).map_err(io::Error::from);
        // It stays until this is done, whoever waits for it.
        let hold = Arc::clone(&work);
        let appear = move || -> io::Result<()> {
            let _hold = hold;
            directories::private(&draft)?;
            fs::rename(&files, draft.join(FILES))?;
            fs::write(draft.join(DESCRIPTION), text?)?;
            if let Some(parent) = place.parent() {
                directories::private(parent)?;
            }
            // What is there has no description: nobody can have used it.
            directories::remove(&place)?;
            fs::rename(&draft, &place)
        };
        let appeared = blocking(appear).await;
        appeared.map_err(cannot::<_, ContainerError>(
            "keep the image below",
            &self.directory,
        ))?;
        Ok(description)
    }

    fn hold(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.retain(|_, hold| Arc::strong_count(hold) > 1);
        Arc::clone(wanted.entry(key.to_owned()).or_default())
    }

    /// Removes images that no job uses, those not used for longest first, until what is left has
    /// at most this size. How many were removed.
    async fn make_room(&self, limit_bytes: u64, keep: &str) -> usize {
        let going = self.put_away(limit_bytes, keep);
        let count = going.len();
        let removed = blocking(move || going.iter().try_for_each(fs::remove_dir_all)).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "an image was not removed as a whole");
        }
        count
    }

    /// Takes images from their places, where nobody finds them any more.
    fn put_away(&self, limit_bytes: u64, keep: &str) -> Vec<PathBuf> {
        // Nobody can begin to use one meanwhile.
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_held = |key: &str| {
            let hold = wanted.get(key);
            hold.is_some_and(|hold| Arc::strong_count(hold) > 1)
        };
        let used = root::used_images(&self.data_directory);
        let mut known = known(&self.roots());
        known.sort_by_key(|image| image.used_at);
        let mut total: u64 = known.iter().map(|image| image.size_bytes).sum();
        let mut going = Vec::new();
        for image in known {
            if total <= limit_bytes {
                break;
            }
            if image.key == keep || is_held(&image.key) || used.contains(&image.key) {
                continue;
            }
            total -= image.size_bytes;
            let place = self.roots().join(&image.key);
            let away = self.directory.join("unfinished").join(&image.key);
            directories::private(&self.directory.join("unfinished")).ok();
            match fs::rename(&place, &away) {
                Ok(()) => going.push(away),
                Err(error) => tracing::warn!(%error, path = %place.display(), "an image stays"),
            }
        }
        going
    }
}

impl Held {
    /// The operator's own directory.
    pub(super) fn directory(files: &Path) -> Self {
        Self {
            files: files.to_owned(),
            config: ImageConfig::default(),
            key: None,
            _hold: None,
        }
    }
}

/// A directory that is removed when nobody needs it any more.
#[derive(Debug)]
pub(super) struct WorkDirectory(PathBuf);

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        let path = self.0.clone();
        // It may hold many files, and a program that was killed may be adding the last one.
        std::thread::spawn(move || {
            for _ in 0..REMOVAL_TRIES {
                if directories::remove(&path).is_ok() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            tracing::warn!(path = %path.display(), "half an image stays until the next start");
        });
    }
}

/// Something that lasts, and how much it has written.
async fn watched<T>(
    work: impl Future<Output = T>,
    what: &str,
    directory: &Path,
    tell: &(dyn Fn(&str) + Send + Sync),
) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(TELL_EVERY) => {
                let bytes = size_of_files(directory.to_owned()).await;
                tell(&format!("{what}: {} so far", format_bytes(bytes)));
            }
        }
    }
}

async fn size_of_files(directory: PathBuf) -> u64 {
    blocking(move || Ok(size(&directory))).await.unwrap_or(0)
}

/// What files below a directory take up. What vanishes meanwhile counts nothing.
fn size(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

/// An image that is here.
#[derive(Debug)]
struct Known {
    key: String,
    size_bytes: u64,
    used_at: SystemTime,
}

fn known(roots: &Path) -> Vec<Known> {
    let entries = fs::read_dir(roots).into_iter().flatten().flatten();
    let image = |entry: fs::DirEntry| {
        let place = entry.path();
        let description = read(&place)?;
        let metadata = fs::metadata(place.join(DESCRIPTION)).ok()?;
        Some(Known {
            key: entry.file_name().into_string().ok()?,
            size_bytes: description.size_bytes,
            used_at: metadata.modified().ok()?,
        })
    };
    entries.filter_map(image).collect()
}

fn read(place: &Path) -> Option<Description> {
    let text = fs::read(place.join(DESCRIPTION)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Says that it is used now.
fn touch(place: &Path) {
    let file = fs::File::options()
        .append(true)
        .open(place.join(DESCRIPTION));
    let touched = file.and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, path = %place.display(), "cannot note that an image is used");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(images: &Images, key: &str, size_bytes: u64, age: u64) {
        let place = images.roots().join(key);
        fs::create_dir_all(place.join(FILES)).unwrap();
        let description = Description {
            source: key.into(),
            size_bytes,
            config: ImageConfig::default(),
        };
        let path = place.join(DESCRIPTION);
        fs::write(&path, serde_json::to_vec(&description).unwrap()).unwrap();
        let file = fs::File::options().append(true).open(path).unwrap();
        let used_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age);
        file.set_modified(used_at).unwrap();
    }

    fn keys(images: &Images) -> Vec<String> {
        let mut keys: Vec<_> = known(&images.roots())
            .into_iter()
            .map(|it| it.key)
            .collect();
        keys.sort();
        keys
    }

    #[tokio::test]
    async fn those_not_used_for_longest_go_first_and_none_that_is_in_use() {
        let data = tempfile::tempdir().unwrap();
        let images = Images::new(data.path(), &ContainerConfig::default());
        for (key, age) in [
            ("oldest", 9),
            ("held", 8),
            ("run", 7),
            ("old", 6),
            ("new", 1),
        ] {
            put(&images, key, 10, age);
        }
        let hold = images.hold("held");
        root::tests::note(data.path(), "j.1", "run");
        assert_eq!(images.make_room(50, "new").await, 0);
        assert_eq!(images.make_room(35, "new").await, 2);
        assert_eq!(keys(&images), ["held", "new", "run"]);
        assert_eq!(images.make_room(0, "new").await, 0, "all are in use");
        drop(hold);
        assert_eq!(images.make_room(0, "").await, 2);
        assert_eq!(keys(&images), ["run"]);
    }

    #[test]
    fn what_was_not_finished_is_gone_after_the_next_start() {
        let data = tempfile::tempdir().unwrap();
        let images = Images::new(data.path(), &ContainerConfig::default());
        let work = images.work().unwrap();
        fs::write(work.0.join("half"), "x").unwrap();
        std::mem::forget(work);
        put(&images, "whole", 1, 1);
        let images = Images::new(data.path(), &ContainerConfig::default());
        assert!(!data.path().join("images/unfinished").exists());
        assert_eq!(keys(&images), ["whole"]);
    }
}
