//! Looks at a component before anything of it is compiled.

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::contract::{self, FRAMEWORK, PACKAGE, PROGRESS, SUPERVISION, Version};
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

/// Names of a component's imports and exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Parses every byte.
///
/// Parsing comes before compiling and is complete: a compiler is not the place to find
/// out that a file ends in the middle.
pub(crate) fn parse(bytes: &[u8]) -> Result<Names, Problem> {
    let not_a_component = |reason: String| Problem::NotAComponent { reason };
    if !Parser::is_component(bytes) {
        return Err(not_a_component(
            "the file does not begin like one".to_owned(),
        ));
    }
    Validator::new_with_features(WasmFeatures::default())
        .validate_all(bytes)
        .map_err(|error| not_a_component(error.to_string()))?;
    names(bytes).map_err(|error| not_a_component(error.to_string()))
}

/// Names of the imports and exports of the outermost component.
fn names(bytes: &[u8]) -> wasmparser::Result<Names> {
    let Names {
        mut imports,
        mut exports,
    } = Names::default();
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
    Ok(Names { imports, exports })
}

/// Whether a component imports only what plugins may use.
pub(crate) fn judge_imports(names: &Names) -> Result<(), Problem> {
    let foreign: Vec<String> = names
        .imports
        .iter()
        .filter(|import| !import.starts_with(PACKAGE) && !is_wasi_offered(import))
        .cloned()
        .collect();
    if foreign.is_empty() {
        Ok(())
    } else {
        Err(Problem::ForeignImports { names: foreign })
    }
}

/// Which contract a component was built for, and what it has of it. All its interfaces
/// of the contract must be of one version.
pub(crate) fn judge_contract(names: &Names) -> Result<(&'static Version, Interfaces), Problem> {
    let exported = |interface: &str| {
        let mut exports = names.exports.iter();
        exports
            .find(|name| contract::split_version(name).0 == interface)
            .cloned()
    };
    let framework = exported(FRAMEWORK).ok_or(Problem::NotAPlugin)?;
    let other_contract = |built_for: &str| Problem::OtherContract {
        built_for: built_for.to_owned(),
        offered: contract::offered(),
    };
    let (_, built_for) = contract::split_version(&framework);
    let version = Version::of(built_for).ok_or_else(|| other_contract(&framework))?;
    let mut of_the_contract = names.imports.iter().chain(&names.exports);
    let other = of_the_contract
        .find(|name| name.starts_with(PACKAGE) && !version.covers(contract::split_version(name).1));
    if let Some(name) = other {
        return Err(other_contract(name));
    }
    let interfaces = Interfaces {
        contract: built_for.to_owned(),
        uses_wasi: names.imports.iter().any(|import| is_wasi_offered(import)),
        reads_progress: exported(PROGRESS).is_some(),
        supervises: exported(SUPERVISION).is_some(),
    };
    Ok((version, interfaces))
}

/// Both judgements, imports first.
pub(crate) fn judge(names: &Names) -> Result<(&'static Version, Interfaces), Problem> {
    judge_imports(names)?;
    judge_contract(names)
}
