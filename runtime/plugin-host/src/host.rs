//! Loads components.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use lote_model::plan::Descriptor;
use serde_json::Value;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::cache::{self, CacheError, CodeCache, ProvidedCode};
use crate::check::{self, Step, Steps};
use crate::contract::{Contract, Version};
use crate::error::{Identity, PluginError, Problem};
use crate::inspect::{self, Interfaces};
use crate::plugin::{Calls, Plugin, PluginInfo};
use crate::sandbox::Sandbox;
use crate::{conformance, descriptor};

/// A plugin in Python has 18 MiB, one in JavaScript 12; Rust needs a fifth of one.
pub const MAX_COMPONENT_BYTES: usize = 32 << 20;

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// This machine cannot run WebAssembly.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Engine(String),
    /// The folder for compiled code is unusable.
    #[error("cannot keep compiled plugins")]
    Cache(#[from] CacheError),
}

/// Loads plugins. One per daemon: its plugins share an engine.
pub struct Host {
    sandbox: Arc<Sandbox>,
    cache: Option<CodeCache>,
    provided: Option<ProvidedCode>,
}

impl Host {
    /// A host that keeps compiled code in `cache_folder`, which only this user may
    /// write; its parent must exist. Without a folder every start compiles.
    ///
    /// # Errors
    /// When the engine or the folder cannot be used.
    pub fn new(cache_folder: Option<&Path>) -> Result<Self, HostError> {
        let sandbox = Sandbox::new().map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let cache = cache_folder
            .map(|folder| CodeCache::open(folder, &sandbox.engine))
            .transpose()?;
        Ok(Self {
            sandbox: Arc::new(sandbox),
            cache,
            provided: None,
        })
    }

    /// The same, which looks first at compiled code that came with the system, made by
    /// [`compile_for_any_processor`]. Files there that others than root could change do not
    /// count.
    #[must_use]
    pub fn with_provided(mut self, folder: PathBuf) -> Self {
        self.provided = Some(ProvidedCode::new(folder));
        self
    }

    /// Loads a component. `origin` says where it came from, for people.
    ///
    /// # Errors
    /// The first check that it does not pass.
    pub fn load(&self, origin: &str, bytes: &[u8]) -> Result<Plugin, PluginError> {
        self.load_in_steps(origin, bytes, &mut Steps::default())
    }

    /// The same, telling the steps that it passed.
    pub(crate) fn load_in_steps(
        &self,
        origin: &str,
        bytes: &[u8],
        steps: &mut Steps,
    ) -> Result<Plugin, PluginError> {
        let mut plugin = Identity {
            name: origin.to_owned(),
            version: String::new(),
            digest: digest(bytes),
        };
        self.load_as(&mut plugin, origin, bytes, steps)
            .map_err(|problem| PluginError::new(plugin, problem))
    }

    fn load_as(
        &self,
        plugin: &mut Identity,
        origin: &str,
        bytes: &[u8],
        steps: &mut Steps,
    ) -> Result<Plugin, Problem> {
        let known = (!steps.are_told)
            .then(|| self.cached(&plugin.digest))
            .flatten();
        let is_new = known.is_none();
        let (component, (version, interfaces)) = match known {
            Some(found) => found,
            None => self.compile(bytes, steps)?,
        };
        let contract = version
            .bind(&self.sandbox.engine, &component, interfaces.uses_wasi)
            .map_err(|error| Problem::DoesNotFit {
                offered: version.offered,
                reason: format!("{error:#}"),
            })?;
        steps.passed(Step::Functions, || check::functions(&interfaces));
        let descriptor = self.first_calls(plugin, contract.as_ref(), is_new, steps)?;
        let info = info(descriptor, &plugin.digest, origin, interfaces);
        if is_new && let Some(cache) = &self.cache {
            cache.store(&plugin.digest, &component);
        }
        Ok(Plugin::new(info, Arc::clone(&self.sandbox), contract))
    }

    /// What has passed every check before, and was compiled by this very engine or came with the
    /// system.
    fn cached(&self, digest: &str) -> Option<(Component, (&'static Version, Interfaces))> {
        let engine = &self.sandbox.engine;
        let provided = self.provided.as_ref();
        let own = || self.cache.as_ref()?.load(engine, digest);
        let component = provided
            .and_then(|provided| provided.load(engine, digest))
            .or_else(own)?;
        let ty = component.component_type();
        let names = inspect::Names {
            imports: ty
                .imports(engine)
                .map(|(name, _)| name.to_owned())
                .collect(),
            exports: ty
                .exports(engine)
                .map(|(name, _)| name.to_owned())
                .collect(),
        };
        let judged = inspect::judge(&names).ok()?;
        Some((component, judged))
    }

    fn compile(
        &self,
        bytes: &[u8],
        steps: &mut Steps,
    ) -> Result<(Component, (&'static Version, Interfaces)), Problem> {
        if bytes.len() > MAX_COMPONENT_BYTES {
            return Err(Problem::TooLarge {
                bytes: bytes.len(),
                max: MAX_COMPONENT_BYTES,
            });
        }
        steps.passed(Step::Size, || check::size(bytes.len()));
        let names = inspect::parse(bytes)?;
        steps.passed(Step::Component, || "every byte is well-formed".to_owned());
        inspect::judge_imports(&names)?;
        steps.passed(Step::Imports, || check::imports(&names.imports));
        let judged = inspect::judge_contract(&names)?;
        steps.passed(Step::Contract, || {
            format!("built for lote:framework@{}", judged.1.contract)
        });
        let begin = Instant::now();
        let component = Component::from_binary(&self.sandbox.engine, bytes).map_err(|error| {
            Problem::CompileFailed {
                reason: format!("{error:#}"),
            }
        })?;
        steps.passed(Step::Compile, || check::compiled(begin, &component));
        Ok((component, judged))
    }

    /// Asks a plugin who it is and, if it is new here, gives it its first job.
    fn first_calls(
        &self,
        plugin: &mut Identity,
        contract: &dyn Contract,
        is_new: bool,
        steps: &mut Steps,
    ) -> Result<Descriptor, Problem> {
        let mut calls = Calls {
            sandbox: &self.sandbox,
            contract,
            name: &plugin.name.clone(),
        };
        let described = calls.describe();
        let figures = described.figures();
        let descriptor = described.result?;
        descriptor::check(&descriptor)?;
        steps.passed(Step::Describe, || check::described(&descriptor, &figures));
        let schema = descriptor::schema(&descriptor.settings_schema)?;
        steps.passed(Step::Schema, || check::schema(&schema));
        plugin.name.clone_from(&descriptor.name);
        plugin.version.clone_from(&descriptor.version);
        calls.name = &descriptor.name;
        if is_new {
            first_job(&calls, &schema, steps)?;
        }
        Ok(descriptor)
    }
}

fn first_job(calls: &Calls<'_>, schema: &Value, steps: &mut Steps) -> Result<(), Problem> {
    let verdict = conformance::check(calls, schema)?;
    steps.passed(Step::Example, || check::example(verdict));
    Ok(())
}

fn info(descriptor: Descriptor, digest: &str, origin: &str, interfaces: Interfaces) -> PluginInfo {
    PluginInfo {
        descriptor,
        digest: digest.to_owned(),
        contract: interfaces.contract,
        origin: origin.to_owned(),
        reads_progress: interfaces.reads_progress,
        supervises: interfaces.supervises,
    }
}

/// Compiles a component for whatever processor of this machine's kind, as images of machines have it.
/// The name of the file for [`Host::with_provided`], and its content.
///
/// # Errors
/// When the component does not compile.
pub fn compile_for_any_processor(bytes: &[u8]) -> Result<(String, Vec<u8>), HostError> {
    let code = Sandbox::compile_for_any_processor(bytes)
        .map_err(|error| HostError::Engine(format!("{error:#}")))?;
    Ok((cache::provided_name(&digest(bytes)), code))
}

/// SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing into a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
