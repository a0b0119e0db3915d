//! Experiments.

use super::{Described, tagged, workspace};
use crate::openapi::schemas::experiment::{Experiment, ExperimentListResult};

pub(crate) fn all() -> Vec<Described> {
    let one = || workspace("/experiments/{experimentName}");
    tagged(
        "experiments",
        [
            Described::get(
                "Experiments_ListByWorkspace",
                workspace("/experiments"),
                "Lists the experiments of a workspace",
            )
            .lists::<ExperimentListResult>(),
            Described::put("Experiments_Create", one(), "Creates an experiment")
                .answers::<Experiment>("The experiment.")
                .accepted(),
            Described::delete(
                "Experiments_Delete",
                one(),
                "Deletes an experiment and its jobs",
            ),
            Described::get("Experiments_Get", one(), "Reads an experiment")
                .answers::<Experiment>("The experiment."),
        ],
    )
}
