//! Groups, nodes, plugins, and the daemon itself.

use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use super::{Described, tagged};
use crate::openapi::parameters::{self, header, query};
use crate::openapi::schemas::daemon::{LoteHealth, LotePluginListResult, LoteVersion};
use crate::openapi::schemas::group::{LoteGroup, LoteGroupCreateParameters, LoteGroupListResult};
use crate::openapi::schemas::installation_events::{LoteChangeEvent, LoteGoneEvent, LoteWishEvent};
use crate::openapi::schemas::join::{LoteJoinGrant, LoteJoinParameters};
use crate::openapi::schemas::node::{LoteDrainParameters, LoteNode, LoteNodeListResult};
use crate::openapi::schemas::sample::LoteDailyUsageList;

/// The answer of an export.
const EXPORT: &str = "First a line about the export, then `{\"key\", \"value\"}` for every key and `{\"key\", \
    \"deleted\": true}` for what was deleted meanwhile, in order, and last `{\"end\"}` with the number of lines between. \
    Without the last line it is not complete.";

pub(crate) fn all() -> Vec<Described> {
    let mut all = groups();
    all.extend(daemon());
    all
}

fn groups() -> Vec<Described> {
    let all = "/subscriptions/{subscriptionId}/resourceGroups";
    let one = format!("{all}/{{resourceGroupName}}");
    let one = || one.clone();
    let groups = tagged(
        "groups",
        [
            Described::get("Groups_List", all, "Lists the resource groups")
                .lists::<LoteGroupListResult>(),
            Described::get("Groups_Get", one(), "Reads a resource group")
                .answers::<LoteGroup>("The group."),
            Described::put("Groups_Create", one(), "Creates a resource group")
                .may_take::<LoteGroupCreateParameters>()
                .answers::<LoteGroup>("The group."),
            Described::new(
                HttpMethod::Delete,
                "Groups_Delete",
                one(),
                "Deletes a resource group that has no workspaces",
            )
            .empty("200", "It is gone.")
            .empty("204", "There was none."),
        ],
    );
    let with_version = groups.into_iter();
    with_version
        .map(|described| described.parameter(parameters::any_api_version()))
        .collect()
}

fn daemon() -> Vec<Described> {
    tagged(
        "daemon",
        [
            Described::get("Nodes_List", "/v1/nodes", "Lists the nodes")
                .lists::<LoteNodeListResult>(),
            Described::get("Nodes_Get", "/v1/nodes/{nodeName}", "Reads a node")
                .answers::<LoteNode>("The node."),
            Described::new(
                HttpMethod::Delete,
                "Nodes_Remove",
                "/v1/nodes/{nodeName}",
                "Forgets a node that is lost, switched off, or drained and empty",
            )
            .empty("200", "It is forgotten.")
            .empty("204", "There was none."),
            Described::post(
                "Nodes_Drain",
                "/v1/nodes/{nodeName}/drain",
                "Has a node take no new jobs; those that it has go on",
            )
            .may_take::<LoteDrainParameters>()
            .answers::<LoteNode>("The node."),
            Described::post(
                "Nodes_Resume",
                "/v1/nodes/{nodeName}/resume",
                "Has a node take jobs again",
            )
            .answers::<LoteNode>("The node."),
            Described::post(
                "Nodes_Join",
                "/v1/join",
                "Lets a machine join as a node; needs a token that was made for it",
            )
            .takes::<LoteJoinParameters>()
            .answers::<LoteJoinGrant>("The secrets of the cluster."),
            Described::post(
                "State_Export",
                "/v1/export",
                "Reads the whole state as lines of JSON, for `lote import`",
            )
            .sends("200", &["application/jsonl"], EXPORT),
            Described::get("Plugins_List", "/v1/plugins", "Lists the framework plugins")
                .answers::<LotePluginListResult>("The plugins."),
            events(),
            usage(),
            Described::get(
                "Metrics_Get",
                "/metrics",
                "Reads figures of the daemon and its node in Prometheus' text form; of queues and all nodes where it leads",
            )
            .sends("200", &["text/plain"], "The figures."),
            Described::get("Daemon_Version", "/v1/version", "Says what is running")
                .answers::<LoteVersion>("Name and versions."),
            Described::get(
                "Daemon_Description",
                "/v1/openapi.json",
                "Reads this description",
            )
            .answers_any_object("An OpenAPI document."),
            Described::get("Daemon_Health", "/healthz", "Says that the daemon answers")
                .answers::<LoteHealth>("It does.")
                .needs_no_token(),
            Described::get(
                "Daemon_Ready",
                "/readyz",
                "Says that the daemon and its store answer",
            )
            .answers::<LoteHealth>("They do.")
            .needs_no_token(),
        ],
    )
}

fn usage() -> Described {
    let day = || {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
    };
    Described::get(
        "Usage_List",
        "/v1/usage",
        "Tells what workspaces have used, by day (UTC)",
    )
    .parameter(query(
        "from",
        "The first day; 29 days before the last if absent.",
        day(),
    ))
    .parameter(query("to", "The last day; today if absent.", day()))
    .answers::<LoteDailyUsageList>("The days.")
}

fn events() -> Described {
    let stream = "Events `job`, `cluster` and `fileServer` with `LoteWishEvent`; `jobStatus`, `clusterStatus` and \
        `fileServerStatus` with `LoteChangeEvent`; `deleted` with `LoteGoneEvent`; and `reset`, after which the lists \
        must be read again. The id of an event is a revision.";
    Described::get(
        "Events_Get",
        "/v1/events",
        "Tells what happens to all jobs, clusters and file servers, as server-sent events",
    )
    .parameter(query(
        "from",
        "The id of the last event that was seen; without it only what happens from now on is told.",
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0)),
    ))
    .parameter(header("Last-Event-ID", "The same; it counts more."))
    .sends("200", &["text/event-stream"], stream)
    .mentions::<LoteWishEvent>()
    .mentions::<LoteChangeEvent>()
    .mentions::<LoteGoneEvent>()
}
