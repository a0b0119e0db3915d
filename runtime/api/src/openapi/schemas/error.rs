//! Errors: of requests, and of resources.

use utoipa::ToSchema;

use super::resource::NameValuePair;

/// The answer to a request that was refused or failed.
#[derive(ToSchema)]
pub(crate) struct CloudError {
    /// What is wrong.
    #[schema(read_only)]
    error: Option<CloudErrorBody>,
}

/// What is wrong with a request.
#[derive(ToSchema)]
pub(crate) struct CloudErrorBody {
    /// A word for programs; it does not change.
    #[schema(read_only)]
    code: Option<String>,
    /// A sentence for people that says what to do.
    #[schema(read_only)]
    message: Option<String>,
    /// A JSON pointer into the request body, or the name of a parameter.
    #[schema(read_only)]
    target: Option<String>,
    /// All findings, when there are several.
    #[schema(read_only, no_recursion)]
    details: Option<Vec<CloudErrorBody>>,
}

/// Something that went wrong with a resource.
#[derive(ToSchema)]
pub(crate) struct BatchAIError {
    /// A word for programs; it does not change.
    #[schema(read_only)]
    code: Option<String>,
    /// A sentence for people.
    #[schema(read_only)]
    message: Option<String>,
    /// Node, step, command, exit status, last lines of standard error: as far as they are known.
    #[schema(read_only)]
    details: Option<Vec<NameValuePair>>,
}
