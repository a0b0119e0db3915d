//! What a daemon says of its GPUs.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::client::Client;
use crate::{PATIENCE, wait_for};

/// A daemon with one node, asked for it.
#[derive(Debug)]
pub struct GpuNode {
    client: Client,
}

impl GpuNode {
    /// Asks through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The `properties` of the node.
    pub fn properties(&self) -> Value {
        let answer = self.client.get("/v1/nodes");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["value"][0]["properties"].clone()
    }

    /// Its GPUs.
    pub fn gpus(&self) -> Vec<Value> {
        array(&self.properties()["gpus"])
    }

    /// Waits until the node has something; gives it.
    pub fn wait_until<T>(&self, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> T {
        wait_for(what, PATIENCE, || condition(&self.properties()))
    }

    /// Waits until a GPU has a condition; gives it.
    pub fn wait_for_condition(&self, gpu: usize, code: &str) -> Value {
        let what = format!("{code} of GPU {gpu}");
        self.wait_until(&what, |node| condition(&node["gpus"][gpu], code))
    }

    /// Waits until a GPU has nothing more to say.
    pub fn wait_until_well(&self, gpu: usize) {
        let what = format!("GPU {gpu} to be well");
        self.wait_until(&what, |node| {
            codes(&node["gpus"][gpu]).is_empty().then_some(())
        });
    }

    /// That nothing is said of any GPU but these, nor of the node, and that it stays so for some
    /// rounds of the daemon.
    pub fn assert_nothing_else(&self, gpus: &[usize]) {
        for _ in 0..3 {
            let node = self.properties();
            assert_eq!(codes(&node), BTreeSet::new(), "{node:#}");
            for (number, gpu) in array(&node["gpus"]).iter().enumerate() {
                if !gpus.contains(&number) {
                    assert_eq!(codes(gpu), BTreeSet::new(), "GPU {number}: {node:#}");
                }
            }
            std::thread::sleep(Duration::from_millis(700));
        }
    }
}

/// The codes of the conditions of a node or GPU.
pub fn codes(of: &Value) -> BTreeSet<String> {
    let conditions = array(&of["conditions"]);
    let codes = conditions.iter().filter_map(|it| it["code"].as_str());
    codes.map(str::to_owned).collect()
}

/// A condition by its code.
pub fn condition(of: &Value, code: &str) -> Option<Value> {
    let conditions = array(&of["conditions"]);
    conditions.into_iter().find(|it| it["code"] == code)
}

/// A list; empty if there is none.
pub fn array(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}
