//! Bodies of PUT and PATCH for clusters.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lote_model::cluster_request::{ClusterRequest, ClusterUpdate};
use lote_model::problem::Problem;
use serde_json::json;

fuzz_target!(|body: &[u8]| {
    match ClusterRequest::parse(body) {
        Ok(cluster) => {
            let answered = json!({ "properties": cluster.properties }).to_string();
            // What is never answered, such as a secret, may be missed; nothing may change.
            if let Ok(again) = ClusterRequest::parse(answered.as_bytes()) {
                assert_eq!(again.properties, cluster.properties);
            }
        }
        Err(problem) => assert_has_reason(&problem),
    }
    if let Err(problem) = ClusterUpdate::parse(body) {
        assert_has_reason(&problem);
    }
});

fn assert_has_reason(problem: &Problem) {
    assert!(!problem.code.is_empty() && !problem.message.is_empty());
}
