//! Answers as text for people. Pure functions: resource in, text out.

mod cluster;
mod container;
mod figures;
mod file_server;
mod job;
mod node;
mod plan;
mod plugin;
mod sample;
mod token;

pub use cluster::{cluster_details, cluster_table};
pub use container::{container_details, container_table};
pub use figures::{login_table, quota_table};
pub use file_server::{file_server_details, file_server_table, server_files};
pub use job::{error_block, file_table, job_details, job_table};
pub use node::{node_details, node_table};
pub use plan::{PlanAnswer, plan};
pub use plugin::{plugin_details, plugin_list};
pub use sample::{daily_usage_table, job_samples};
pub use token::{how_to_join, new_token, token_table};

use jiff::Timestamp;

use crate::output::{Colour, day_and_time};

/// Names in a row; of many only the first ones and their number.
pub fn names(all: &[String]) -> String {
    const SHOWN: usize = 8;
    match all.get(SHOWN..) {
        None | Some([]) => all.join(", "),
        Some(rest) => format!("{} and {} more", all[..SHOWN].join(", "), rest.len()),
    }
}

/// A time, or nothing.
fn time(time: Option<Timestamp>) -> String {
    time.map(day_and_time).unwrap_or_default()
}

/// The colour of a provisioning or node state.
fn state_colour(state: &str) -> Option<Colour> {
    match state {
        "failed" | "unusable" | "lost" | "unhealthy" => Some(Colour::Red),
        "deleting" | "creating" | "resizing" | "draining" | "drained" | "starting" => {
            Some(Colour::Yellow)
        }
        "succeeded" | "steady" | "ready" => Some(Colour::Green),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_names_are_cut() {
        let many: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
        assert_eq!(names(&many[..2]), "n0, n1");
        assert_eq!(names(&many[..8]), "n0, n1, n2, n3, n4, n5, n6, n7");
        assert_eq!(names(&many), "n0, n1, n2, n3, n4, n5, n6, n7 and 2 more");
    }
}
