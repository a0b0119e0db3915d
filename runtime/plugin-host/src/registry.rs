//! The plugins of a daemon.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use lote_model::framework::PluginRequest;
use lote_model::problem::explain;

use crate::allow::{AllowList, AllowListError};
use crate::error::{PluginError, Problem};
use crate::folder::{self, Look};
use crate::host::{Host, digest};
use crate::plugin::{Plugin, PluginInfo};
use crate::versions::{NotFound, Plugins};

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
    /// The file, or the name of a built-in plugin.
    pub origin: String,
    /// What is wrong and what to do.
    pub message: String,
    /// SHA-256 of the component, if it could be read.
    pub digest: Option<String>,
}

/// Where a daemon's plugins come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Those in the program.
    pub builtins: &'static [Builtin],
    /// The folder of further ones, which may be missing.
    pub folder: Option<PathBuf>,
    /// The list of those in the folder that may be loaded; all when absent.
    pub allow: Option<PathBuf>,
}

/// The plugins of a daemon. Several versions of one may be there at once; who asks for
/// none gets the highest. A file in the folder takes the place of a built-in plugin of the
/// same version, and of one with the same settings member.
pub struct Registry {
    host: Host,
    sources: Sources,
    allowed: Mutex<Option<AllowList>>,
    current: RwLock<Arc<Plugins>>,
    /// Held while loading, so that two reloads do not overtake each other.
    loading: Mutex<Looks>,
}

/// What was seen of the folder.
#[derive(Default)]
struct Looks {
    /// When the plugins were loaded.
    loaded: Look,
    /// When it was last looked at.
    last: Look,
}

impl Registry {
    /// Loads all plugins. What does not load is in [`failures`](Self::failures).
    ///
    /// # Errors
    /// When there is to be a list of allowed plugins, and it cannot be used.
    pub fn open(host: Host, sources: Sources) -> Result<Self, AllowListError> {
        let allowed = sources.allow.as_deref().map(AllowList::read).transpose()?;
        let registry = Self {
            host,
            sources,
            allowed: Mutex::new(allowed),
            current: RwLock::default(),
            loading: Mutex::default(),
        };
        registry.reload();
        Ok(registry)
    }

    /// Looks at the folder and the list again and swaps all plugins at once. Calls that
    /// run keep the plugin they began with. Where a file has become unusable, the plugin
    /// that was loaded from it stays; so does the list.
    pub fn reload(&self) {
        let mut looks = lock(&self.loading);
        let look = self.look();
        self.load_now(&mut looks, look);
    }

    /// The same, if anything has changed and nothing has since the last call: whoever
    /// writes a file is done with it then. Says whether it did. To be called every second
    /// or so; a look costs a few system calls.
    pub fn reload_if_changed(&self) -> bool {
        let mut looks = lock(&self.loading);
        let look = self.look();
        let is_settled = looks.last == look;
        looks.last.clone_from(&look);
        let is_new = looks.loaded != look;
        if is_settled && is_new {
            self.load_now(&mut looks, look);
        }
        is_settled && is_new
    }

    fn look(&self) -> Look {
        folder::look(
            self.sources.folder.as_deref(),
            self.sources.allow.as_deref(),
        )
    }

    fn load_now(&self, looks: &mut Looks, look: Look) {
        *looks = Looks {
            loaded: look.clone(),
            last: look,
        };
        let old = self.plugins();
        let new = Arc::new(self.load_all(&old));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The plugin that serves jobs with this settings member, the highest version.
    pub fn by_member(&self, member: &str) -> Option<Plugin> {
        let request = PluginRequest::of_member(member);
        self.find(&request).ok()
    }

    /// The plugin that a job asks for.
    pub(crate) fn find(&self, request: &PluginRequest) -> Result<Plugin, NotFound> {
        self.plugins().find(request)
    }

    /// Exactly this version of a plugin.
    pub(crate) fn exactly(&self, name: &str, version: &str) -> Option<Plugin> {
        self.plugins().exactly(name, version)
    }

    /// All plugins in use, in the order of names, the highest version first.
    pub fn list(&self) -> Vec<PluginInfo> {
        let plugins = self.plugins();
        plugins.all().map(|plugin| plugin.info().clone()).collect()
    }

    /// The settings members that select a plugin, sorted.
    pub fn members(&self) -> Vec<String> {
        self.plugins().members()
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
        let allowed = self.allowed_now(&mut new);
        for path in folder::components(self.sources.folder.as_deref()) {
            let origin = path.display().to_string();
            let plugin = folder::read(&path, allowed.as_ref())
                .and_then(|bytes| self.load(old, &origin, &bytes));
            let last_good = match &plugin {
                Err(error) if !matches!(*error.problem, Problem::NotAllowed { .. }) => {
                    old.loaded_from(&origin)
                }
                _ => None,
            };
            new.add(&origin, plugin);
            if let Some(last_good) = last_good {
                new.add(&origin, Ok(last_good));
            }
        }
        for builtin in self.sources.builtins {
            let plugin = self.load(old, BUILT_IN, builtin.component);
            if !plugin.as_ref().is_ok_and(|plugin| new.replaces(plugin)) {
                new.add(builtin.name, plugin);
            }
        }
        new
    }

    /// The list as it is now, or as it last was if it has become unusable.
    fn allowed_now(&self, new: &mut Plugins) -> Option<AllowList> {
        let path = self.sources.allow.as_deref()?;
        let mut allowed = lock(&self.allowed);
        match AllowList::read(path) {
            Ok(list) => *allowed = Some(list),
            Err(error) => new.reject(Failure {
                origin: path.display().to_string(),
                message: format!("{}; the list as it was before is in force", explain(&error)),
                digest: None,
            }),
        }
        allowed.clone()
    }

    /// Loads a component, or keeps it if it is in use already.
    fn load(&self, old: &Plugins, origin: &str, bytes: &[u8]) -> Result<Plugin, PluginError> {
        let digest = digest(bytes);
        let mut loaded = old.all();
        match loaded.find(|p| p.info().digest == digest && p.info().origin == origin) {
            Some(plugin) => Ok(plugin.clone()),
            None => self.host.load(origin, bytes),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
