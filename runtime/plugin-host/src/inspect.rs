//! Looks at a component before anything of it is compiled.

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::contract::{self, FRAMEWORK, OFFERED, PACKAGE, PROGRESS, SUPERVISION};
use crate::error::Problem;
use crate::sandbox::is_wasi_offered;

/// What a component's imports and exports tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interfaces {
    /// The contract version it was built for.
    pub(crate) contract: String,
    /// Whether it wants WASI.
    pub(crate) uses_wasi: bool,
    /// Whether it exports `progress`.
    pub(crate) reads_progress: bool,
    /// Whether it exports `supervision`.
    pub(crate) supervises: bool,
}

/// Parses every byte, then judges imports and exports.
///
/// Parsing comes first and is complete: a compiler is not the place to find out
/// that a file ends in the middle.
pub(crate) fn check_bytes(bytes: &[u8]) -> Result<Interfaces, Problem> {
    let not_a_component = |reason: String| Problem::NotAComponent { reason };
    if !Parser::is_component(bytes) {
        return Err(not_a_component(
            "the file does not begin like one".to_owned(),
        ));
    }
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(bytes)
        .map_err(|error| not_a_component(error.to_string()))?;
    let (imports, exports) = names(bytes).map_err(|error| not_a_component(error.to_string()))?;
    judge(&imports, &exports)
}

/// Names of the imports and exports of the outermost component.
fn names(bytes: &[u8]) -> wasmparser::Result<(Vec<String>, Vec<String>)> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version {
                encoding: Encoding::Module | Encoding::Component,
                ..
            } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

/// Whether a component with these names may be loaded.
pub(crate) fn judge(imports: &[String], exports: &[String]) -> Result<Interfaces, Problem> {
    let foreign: Vec<String> = imports
        .iter()
        .filter(|import| !import.starts_with(PACKAGE) && !is_wasi_offered(import))
        .cloned()
        .collect();
    if !foreign.is_empty() {
        return Err(Problem::ForeignImports { names: foreign });
    }
    let exported = |interface: &str| {
        let mut names = exports.iter().map(|name| contract::split_version(name));
        names
            .find(|(name, _)| *name == interface)
            .map(|(_, version)| version.to_owned())
    };
    let version = exported(FRAMEWORK).ok_or(Problem::NotAPlugin)?;
    check_versions(imports.iter().chain(exports))?;
    Ok(Interfaces {
        contract: version,
        uses_wasi: imports.iter().any(|import| is_wasi_offered(import)),
        reads_progress: exported(PROGRESS).is_some(),
        supervises: exported(SUPERVISION).is_some(),
    })
}

fn check_versions<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<(), Problem> {
    let other = names.find(|name| {
        name.starts_with(PACKAGE) && !contract::is_compatible(contract::split_version(name).1)
    });
    match other {
        Some(name) => Err(Problem::OtherContract {
            built_for: name.clone(),
            offered: OFFERED,
        }),
        None => Ok(()),
    }
}
