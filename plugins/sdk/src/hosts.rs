//! The host file that every plan carries, so that a job can start a launcher of
//! its own over the nodes it has.

use crate::types::{Allocation, File, LaunchPlan, Node, Variable};

/// Its path below the job's local scratch folder.
pub const HOST_FILE: &str = "hostfile";
/// The variable that names it.
pub const HOST_FILE_VARIABLE: &str = "AZ_BATCHAI_MPI_HOST_FILE";

/// A variable of this name and value.
pub fn variable(name: impl Into<String>, value: &impl ToString) -> Variable {
    Variable {
        name: name.into(),
        value: value.to_string(),
    }
}

/// Adds the host file (a line `ADDRESS slots=N` per node, the form of Open MPI) on
/// every node, and the variable with its absolute path.
pub fn add_host_file(plan: &mut LaunchPlan, allocation: &Allocation, slots: impl Fn(&Node) -> u32) {
    let line = |node: &Node| format!("{} slots={}", node.address, slots(node));
    let lines: Vec<String> = allocation.nodes.iter().map(line).collect();
    plan.files.push(File {
        node: None,
        path: HOST_FILE.to_owned(),
        contents: lines.join("\n") + "\n",
        executable: false,
    });
    let path = format!(
        "{}/{HOST_FILE}",
        allocation.local_scratch.trim_end_matches('/')
    );
    plan.variables.push(variable(HOST_FILE_VARIABLE, &path));
}

/// An empty plan, to be filled.
pub fn empty_plan() -> LaunchPlan {
    LaunchPlan {
        variables: vec![],
        files: vec![],
        processes: vec![],
        finish: vec![],
    }
}
