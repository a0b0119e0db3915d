//! Jobs, as far as Batch AI has no word for it.

use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{Described, tagged};
use crate::openapi::parameters::{header, query, text};
use crate::openapi::schemas::events::{
    LoteDeletedEvent, LoteJobEvent, LoteReportEvent, LoteStatusEvent,
};
use crate::openapi::schemas::job::JobCreateParameters;
use crate::openapi::schemas::plan::LotePlan;
use crate::openapi::schemas::sample::LoteJobSamples;

fn at(rest: &str) -> String {
    format!(
        "/v1/groups/{{resourceGroupName}}/workspaces/{{workspaceName}}/experiments/{{experimentName}}/jobs/{{jobName}}{rest}"
    )
}

pub(crate) fn all() -> Vec<Described> {
    tagged(
        "jobs",
        [
            Described::get(
                "Jobs_GetPlan",
                at("/plan"),
                "Reads what a job runs: processes, nodes, variables, files",
            )
            .answers::<LotePlan>("The plan of its latest attempt."),
            Described::post(
                "Jobs_ImaginePlan",
                at("/plan"),
                "Says what a job would run; stores nothing and needs no experiment",
            )
            .takes::<JobCreateParameters>()
            .answers::<LotePlan>("The plan."),
            events(),
            logs(),
            Described::get(
                "Jobs_GetSamples",
                at("/samples"),
                "Reads what a running job does on each of its nodes, from the last hour or so",
            )
            .answers::<LoteJobSamples>("Its nodes and their samples."),
        ],
    )
}

fn events() -> Described {
    let stream = "Events `job`, `status`, `report` and `deleted`, whose data are `LoteJobEvent`, \
        `LoteStatusEvent`, `LoteReportEvent` and `LoteDeletedEvent`. The id of an event is a revision.";
    Described::get(
        "Jobs_GetEvents",
        at("/events"),
        "Tells what happens to a job until it has ended, as server-sent events",
    )
    .parameter(query(
        "from",
        "The id of the last event that was seen; without it the present state comes first.",
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0)),
    ))
    .parameter(header("Last-Event-ID", "The same; it counts more."))
    .sends("200", &["text/event-stream"], stream)
    .mentions::<LoteJobEvent>()
    .mentions::<LoteStatusEvent>()
    .mentions::<LoteReportEvent>()
    .mentions::<LoteDeletedEvent>()
}

fn logs() -> Described {
    let streams = text()
        .enum_values(Some(["stdout", "stderr"]))
        .default(Some(json!("stdout")));
    let follow = ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .default(Some(json!(false)));
    Described::get(
        "Jobs_GetLogs",
        at("/logs"),
        "Reads one output file, on request while it is written",
    )
    .parameter(query("file", "The path of the file.", text()))
    .parameter(query(
        "process",
        "A process of the plan, instead of a file; the first one when neither is given.",
        text(),
    ))
    .parameter(query("stream", "Which output of the process.", streams))
    .parameter(query(
        "directory",
        "The id of an output directory.",
        text().default(Some(json!("stdouterr"))),
    ))
    .parameter(query("follow", "Stay until the job has ended.", follow))
    .sends("200", &["text/plain"], "What is in the file.")
}
