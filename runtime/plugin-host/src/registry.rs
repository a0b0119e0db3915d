//! The plugins of a daemon.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::{Identity, PluginError, Problem};
use crate::host::{Host, MAX_COMPONENT_BYTES, digest};
use crate::plugin::{Plugin, PluginInfo};

/// What `PluginInfo::origin` says of built-in plugins.
const BUILT_IN: &str = "built in";

/// A component inside the program.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name, for messages.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
}

/// A component that is not in use, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file, or `built in`.
    pub origin: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// The plugins of a daemon, by the settings member that selects them. A plugin in the
/// folder takes the place of a built-in one with the same member.
pub struct Registry {
    host: Host,
    builtins: &'static [Builtin],
    folder: Option<PathBuf>,
    current: RwLock<Arc<Plugins>>,
    /// Held while loading, so that two reloads do not overtake each other.
    loading: Mutex<()>,
}

#[derive(Default)]
struct Plugins {
    by_member: BTreeMap<String, Plugin>,
    failures: Vec<Failure>,
}

impl Registry {
    /// Loads the built-in plugins and the `*.wasm` files of `folder`, which may be
    /// missing. What does not load is in [`failures`](Self::failures).
    pub fn open(host: Host, builtins: &'static [Builtin], folder: Option<PathBuf>) -> Self {
        let registry = Self {
            host,
            builtins,
            folder,
            current: RwLock::default(),
            loading: Mutex::default(),
        };
        registry.reload();
        registry
    }

    /// Looks at the folder again and swaps all plugins at once. Calls that run keep
    /// the plugin they began with. Where a file has become unusable, the plugin that
    /// was loaded from it stays.
    pub fn reload(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.plugins();
        let new = Arc::new(self.load_all(&old));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The plugin that serves jobs with this settings member.
    pub fn by_member(&self, member: &str) -> Option<Plugin> {
        self.plugins().by_member.get(member).cloned()
    }

    /// All plugins in use, in the order of their members.
    pub fn list(&self) -> Vec<PluginInfo> {
        let plugins = self.plugins();
        plugins
            .by_member
            .values()
            .map(|plugin| plugin.info().clone())
            .collect()
    }

    /// The settings members that select a plugin, sorted.
    pub fn members(&self) -> Vec<String> {
        self.plugins().by_member.keys().cloned().collect()
    }

    /// Components that are not in use, and why.
    pub fn failures(&self) -> Vec<Failure> {
        self.plugins().failures.clone()
    }

    fn plugins(&self) -> Arc<Plugins> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn load_all(&self, old: &Plugins) -> Plugins {
        let mut new = Plugins::default();
        let files = component_files(self.folder.as_deref());
        for path in files {
            let origin = path.display().to_string();
            let plugin = read(&path).and_then(|bytes| self.load(old, &origin, &bytes));
            let is_broken = plugin.is_err();
            new.add(&origin, plugin);
            if is_broken && let Some(last_good) = old.loaded_from(&origin) {
                new.add(&origin, Ok(last_good));
            }
        }
        for builtin in self.builtins {
            self.add_builtin(old, &mut new, *builtin);
        }
        new
    }

    fn add_builtin(&self, old: &Plugins, new: &mut Plugins, builtin: Builtin) {
        let plugin = self.load(old, BUILT_IN, builtin.component);
        let replaced = plugin
            .as_ref()
            .is_ok_and(|plugin| new.serves(&plugin.info().descriptor.settings_member));
        if !replaced {
            new.add(builtin.name, plugin);
        }
    }

    /// Loads a component, or keeps it if it is in use already.
    fn load(&self, old: &Plugins, origin: &str, bytes: &[u8]) -> Result<Plugin, PluginError> {
        let digest = digest(bytes);
        let mut loaded = old.by_member.values();
        match loaded.find(|p| p.info().digest == digest && p.info().origin == origin) {
            Some(plugin) => Ok(plugin.clone()),
            None => self.host.load(origin, bytes),
        }
    }
}

impl Plugins {
    fn serves(&self, member: &str) -> bool {
        self.by_member.contains_key(member)
    }

    fn loaded_from(&self, origin: &str) -> Option<Plugin> {
        let mut plugins = self.by_member.values();
        plugins
            .find(|plugin| plugin.info().origin == origin)
            .cloned()
    }

    /// Members and names must be unique: the API finds plugins by both.
    fn only_one(&self, plugin: Plugin) -> Result<Plugin, PluginError> {
        let info = plugin.info();
        let descriptor = &info.descriptor;
        let taken = self.by_member.values().map(Plugin::info).find_map(|other| {
            let what = if other.descriptor.settings_member == descriptor.settings_member {
                &descriptor.settings_member
            } else if other.descriptor.name == descriptor.name {
                &descriptor.name
            } else {
                return None;
            };
            Some(Problem::Taken {
                what: what.clone(),
                other: other.origin.clone(),
            })
        });
        match taken {
            Some(problem) => Err(PluginError::new(info.identity(), problem)),
            None => Ok(plugin),
        }
    }

    fn add(&mut self, origin: &str, plugin: Result<Plugin, PluginError>) {
        match plugin.and_then(|plugin| self.only_one(plugin)) {
            Ok(plugin) => {
                let member = plugin.info().descriptor.settings_member.clone();
                self.by_member.insert(member, plugin);
            }
            Err(error) => {
                let message = error.sentence();
                tracing::error!(origin, "a plugin is not in use: {message}");
                self.failures.push(Failure {
                    origin: origin.to_owned(),
                    message,
                });
            }
        }
    }
}

/// In the order of their names, so that two daemons with the same files agree.
fn component_files(folder: Option<&Path>) -> Vec<PathBuf> {
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .collect();
    files.sort();
    files
}

/// Reads a file, but not one that is too large anyway.
fn read(path: &Path) -> Result<Vec<u8>, PluginError> {
    let problem = match fs::metadata(path).map(|found| usize::try_from(found.len())) {
        Ok(Ok(bytes)) if bytes <= MAX_COMPONENT_BYTES => match fs::read(path) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => Problem::Unreadable {
                reason: error.to_string(),
            },
        },
        Ok(bytes) => Problem::TooLarge {
            bytes: bytes.unwrap_or(usize::MAX),
            max: MAX_COMPONENT_BYTES,
        },
        Err(error) => Problem::Unreadable {
            reason: error.to_string(),
        },
    };
    let plugin = Identity {
        name: path.display().to_string(),
        version: String::new(),
        digest: String::new(),
    };
    Err(PluginError::new(plugin, problem))
}
