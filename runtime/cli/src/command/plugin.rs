//! `lote plugin list|show`.

use std::time::{Duration, Instant};

use lote_model::framework::PluginName;
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::args::plugin::{PluginQuery, PluginShowArgs};
use crate::failure::Failure;
use crate::show;

/// Where plugins are listed.
const PATH: &str = "/v1/plugins";

/// Between two looks of `--wait`. A daemon looks at its folder every second.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) fn run(context: &Context<'_>, command: &PluginQuery) -> Outcome {
    match command {
        PluginQuery::List => {
            let action = "list plugins";
            let value = context.client.get(action, PATH)?;
            context.print(action, &value, show::plugin_list)
        }
        PluginQuery::Show(args) => show_one(context, args),
    }
}

fn show_one(context: &Context<'_>, args: &PluginShowArgs) -> Outcome {
    let action = format!("show plugin '{}'", args.name);
    let name: PluginName = args
        .name
        .parse()
        .map_err(|error| Failure::PluginName(args.name.clone(), error))?;
    let until = Instant::now() + Duration::from_secs(args.wait.unwrap_or(0));
    loop {
        let list = context.client.get(&action, PATH)?;
        if let Some(found) = find(&list, &name, args.digest.as_deref()) {
            return context.print(&action, found, show::plugin_details);
        }
        if let Some(reason) = args.digest.as_deref().and_then(|it| rejection(&list, it)) {
            return Err(Failure::PluginRejected(reason));
        }
        if Instant::now() >= until {
            return Err(Failure::NoSuchPlugin(name.to_string()));
        }
        std::thread::sleep(PAUSE);
    }
}

/// A plugin by its name: the version that is asked for, or the one that jobs get.
fn find<'a>(list: &'a Value, name: &PluginName, digest: Option<&str>) -> Option<&'a Value> {
    let mut plugins = list["value"].as_array()?.iter();
    plugins.find(|plugin| {
        let about = &plugin["properties"];
        let is_version = match &name.version {
            Some(version) => about["version"] == json!(version),
            None => about["isDefault"] != json!(false),
        };
        let is_digest = digest.is_none_or(|digest| about["digest"] == json!(digest));
        about["name"] == json!(name.name) && is_version && is_digest
    })
}

/// Why the component is not loaded.
fn rejection(list: &Value, digest: &str) -> Option<String> {
    let mut rejected = list["rejected"].as_array()?.iter();
    let found = rejected.find(|it| it["digest"] == json!(digest))?;
    found["reason"].as_str().map(str::to_owned)
}
