//! The catalogue of what can be permitted.

use utoipa::ToSchema;

/// Something that can be permitted.
#[derive(ToSchema)]
#[schema(as = Operation)]
pub(crate) struct CatalogueEntry {
    /// Provider, resource and what is done with it.
    #[schema(read_only)]
    name: Option<String>,
    /// The same for people.
    #[schema(inline)]
    display: Option<CatalogueDisplay>,
    /// Who is to do it.
    #[schema(read_only)]
    origin: Option<String>,
    /// Further facts.
    #[schema(value_type = Option<Object>)]
    properties: Option<()>,
}

/// An entry of the catalogue for people.
#[derive(ToSchema)]
pub(crate) struct CatalogueDisplay {
    /// The provider.
    #[schema(read_only)]
    provider: Option<String>,
    /// What is done.
    #[schema(read_only)]
    operation: Option<String>,
    /// With what it is done.
    #[schema(read_only)]
    resource: Option<String>,
    /// All of it in a sentence.
    #[schema(read_only)]
    description: Option<String>,
}

/// The catalogue.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct OperationListResult {
    /// The entries.
    #[schema(read_only)]
    value: Option<Vec<CatalogueEntry>>,
    /// The whole URL of the next page, if there is one.
    #[schema(read_only)]
    next_link: Option<String>,
}
