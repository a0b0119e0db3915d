//! Jobs, as Batch AI has them.

use super::{Described, tagged, workspace};
use crate::files::output::UNREACHABLE_NODES;
use crate::openapi::parameters;
use crate::openapi::schemas::file::FileListResult;
use crate::openapi::schemas::job::{Job, JobCreateParameters, JobListResult};
use crate::openapi::schemas::login::RemoteLoginInformationListResult;

fn at(rest: &str) -> String {
    workspace(&format!("/experiments/{{experimentName}}/jobs{rest}"))
}

pub(crate) fn all() -> Vec<Described> {
    let mut all = resource();
    all.extend(actions());
    all
}

fn resource() -> Vec<Described> {
    tagged(
        "jobs",
        [
            Described::get(
                "Jobs_ListByExperiment",
                at(""),
                "Lists the jobs of an experiment",
            )
            .lists::<JobListResult>(),
            Described::put("Jobs_Create", at("/{jobName}"), "Submits a job")
                .takes::<JobCreateParameters>()
                .answers::<Job>("The job; it waits for nodes.")
                .accepted(),
            Described::delete(
                "Jobs_Delete",
                at("/{jobName}"),
                "Deletes a job; a live one is ended first",
            ),
            Described::get("Jobs_Get", at("/{jobName}"), "Reads a job").answers::<Job>("The job."),
        ],
    )
}

fn actions() -> Vec<Described> {
    tagged(
        "jobs",
        [
            Described::post(
                "Jobs_ListOutputFiles",
                at("/{jobName}/listOutputFiles"),
                "Lists output files, with links to them",
            )
            .parameter(parameters::output_directory_id())
            .parameter(parameters::directory())
            .parameter(parameters::link_expiry())
            .lists::<FileListResult>()
            .with_header(
                UNREACHABLE_NODES,
                "The nodes whose files are missing because they could not be reached, with commas \
                 between them.",
            ),
            Described::post(
                "Jobs_ListRemoteLoginInformation",
                at("/{jobName}/listRemoteLoginInformation"),
                "Lists where the nodes of a job can be logged in",
            )
            .lists_all::<RemoteLoginInformationListResult>(),
            Described::post(
                "Jobs_Terminate",
                at("/{jobName}/terminate"),
                "Ends a job; for one that has ended there is nothing to do",
            )
            .empty("200", "It had ended already.")
            .accepted(),
        ],
    )
}
