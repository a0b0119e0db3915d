//! What stands in paths and queries.

use lote_model::name::{GROUP_NAME_LENGTH_MAX, NAME_LENGTH_MAX};
use serde_json::json;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use crate::front::API_VERSIONS;

/// Letters, digits, `-` and `_`. The contract writes `\w`, which is the same in
/// the language of the standard, but takes in all alphabets in others.
const NAME: &str = "^[-A-Za-z0-9_]+$";

/// The same with dots, but not dots alone.
const DOTTED: &str = r"^[-A-Za-z0-9_.]*[-A-Za-z0-9_][-A-Za-z0-9_.]*$";

/// The parameters of a path template, from its names in braces.
pub(crate) fn in_path(template: &str) -> impl Iterator<Item = Parameter> {
    template
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let (what, schema) = segment(name);
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(what))
                .schema(Some(schema))
                .build()
        })
}

fn segment(name: &str) -> (&'static str, ObjectBuilder) {
    let what = match name {
        "subscriptionId" => "Any name; it becomes part of ids and output paths.",
        "resourceGroupName" => "A resource group. Case does not matter.",
        "workspaceName" => "A workspace. Case does not matter.",
        "clusterName" => "A cluster. Case does not matter.",
        "experimentName" => "An experiment. Case does not matter.",
        "jobName" => "A job. Case does not matter.",
        "fileServerName" => "A file server. Case does not matter.",
        "nodeName" => "A node. Case does not matter.",
        "location" => "A region; Lote has one, any name will do.",
        "operationId" => "The id from the answer that accepted the operation.",
        "tokenId" => "The public part of a token.",
        "token" => "What the link permits, signed.",
        "upload" => "The client's name for an upload: 8 to 64 letters, digits and `-`.",
        _ => "A name.",
    };
    let text = text();
    let schema = match name {
        "subscriptionId" | "resourceGroupName" => text
            .pattern(Some(DOTTED))
            .min_length(Some(1))
            .max_length(Some(GROUP_NAME_LENGTH_MAX)),
        "location" => text.pattern(Some(r"^[-A-Za-z0-9_.]+$")),
        "workspaceName" | "clusterName" | "experimentName" | "jobName" | "fileServerName" => text
            .pattern(Some(NAME))
            .min_length(Some(1))
            .max_length(Some(NAME_LENGTH_MAX)),
        "upload" => text.pattern(Some("^[-A-Za-z0-9]{8,64}$")),
        _ => text.min_length(Some(1)),
    };
    (what, schema)
}

pub(crate) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn number(minimum: i32, maximum: i32, default: i32) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(minimum))
        .maximum(Some(maximum))
        .default(Some(json!(default)))
}

/// A parameter of the query.
pub(crate) fn query(name: &str, what: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(what))
        .schema(Some(schema))
        .build()
}

/// A header of the request.
pub(crate) fn header(name: &str, what: &str) -> Parameter {
    let mut parameter = query(name, what, text());
    parameter.parameter_in = ParameterIn::Header;
    parameter
}

fn required(mut parameter: Parameter) -> Parameter {
    parameter.required = Required::True;
    parameter
}

pub(crate) fn api_version() -> Parameter {
    let versions = text().enum_values(Some(API_VERSIONS));
    let what = "The version of the Batch AI API.";
    required(query("api-version", what, versions))
}

/// That of a neighbour of Batch AI, whose versions are its own.
pub(crate) fn any_api_version() -> Parameter {
    let what = "A version of the resource manager; any will do.";
    required(query("api-version", what, text().min_length(Some(1))))
}

pub(crate) fn max_results() -> Parameter {
    let what = "The most values in one page.";
    query("maxresults", what, number(1, 1_000, 1_000))
}

pub(crate) fn output_directory_id() -> Parameter {
    let what = "`stdouterr`, or the id of an output directory of the job.";
    required(query("outputdirectoryid", what, text()))
}

pub(crate) fn directory() -> Parameter {
    let what = "A directory below it.";
    query("directory", what, text().default(Some(json!("."))))
}

pub(crate) fn link_expiry() -> Parameter {
    let what = "After how many minutes the links expire.";
    query("linkexpiryinminutes", what, number(5, 600, 60))
}

pub(crate) fn erase_data() -> Parameter {
    let what = "Whether the files are erased too; they stay on their node otherwise.";
    let flag = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .default(Some(json!(false)));
    query("erasedata", what, flag)
}
