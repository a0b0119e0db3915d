//! The document made of its parts.

use serde_json::Value;
use utoipa::openapi::path::PathsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, InfoBuilder, OpenApiBuilder, PathItem, Paths,
    SecurityRequirement,
};

use super::describe::Described;
use super::twin::twin;
use super::{paths, rules};

const SCHEME: &str = "bearer";

/// The whole document.
pub(crate) fn document() -> Value {
    let operations: Vec<Described> = paths::all().into_iter().flat_map(under_prefixes).collect();
    let open_api = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Lote")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(include_str!("about.md"))),
        )
        .paths(in_paths(&operations))
        .components(Some(components(&operations)))
        .security(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new(SCHEME, [""; 0]),
        ]))
        .tags(Some(paths::TAGS.map(|(name, what)| {
            TagBuilder::new().name(name).description(Some(what)).build()
        })))
        .build();
    let mut document = serde_json::to_value(open_api).unwrap_or_default();
    rules::apply(&mut document);
    document
}

/// An operation, and the same under `/v1` if it stands elsewhere.
fn under_prefixes(described: Described) -> Vec<Described> {
    match twin(&described.path) {
        Some(path) => vec![described.at_twin(path), described],
        None => vec![described],
    }
}

fn in_paths(operations: &[Described]) -> Paths {
    operations
        .iter()
        .fold(PathsBuilder::new(), |paths, described| {
            let item = PathItem::new(described.method.clone(), described.operation());
            paths.path(&described.path, item)
        })
        .build()
}

fn components(operations: &[Described]) -> Components {
    let mut schemas = Vec::new();
    for described in operations {
        described.collect(&mut schemas);
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token that `lote token create` made."))
        .build();
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(SCHEME, SecurityScheme::Http(bearer))
        .build()
}
