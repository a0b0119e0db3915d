//! `lote node list|status` and `lote plugin`.

use serde_json::Value;

use super::{Context, Outcome};
use crate::answer::Node;
use crate::args::{NodeQuery, PluginCommand};
use crate::failure::Failure;
use crate::output::Style;
use crate::show;

pub(super) fn run(context: &Context<'_>, query: NodeQuery) -> Outcome {
    match query {
        NodeQuery::List => {
            let action = "list nodes";
            let values = context.client.list(action, "/v1/nodes")?;
            context.print_list(action, values, show::node_table)
        }
        NodeQuery::Status { name: Some(name) } => {
            let action = format!("show node '{name}'");
            let value = context.client.get(&action, &node_path(&name)?)?;
            context.print(&action, &value, show::node_details)
        }
        NodeQuery::Status { name: None } => {
            let action = "show the nodes";
            let values = context.client.list(action, "/v1/nodes")?;
            context.print(action, &Value::Array(values), all)
        }
    }
}

/// A node's name is a host name: what a resource group's may be, too.
fn node_path(name: &str) -> Result<String, Failure> {
    Ok(format!(
        "/v1/nodes/{}",
        lote_model::name::GroupName::new(name)?
    ))
}

#[expect(clippy::ptr_arg, reason = "what is read from an answer is a Vec")]
fn all(nodes: &Vec<Node>, style: Style) -> String {
    if nodes.is_empty() {
        return show::node_table(nodes, style);
    }
    let blocks: Vec<String> = nodes
        .iter()
        .map(|node| show::node_details(node, style))
        .collect();
    blocks.join("\n")
}

pub(super) fn plugins(context: &Context<'_>, command: &PluginCommand) -> Outcome {
    match command {
        PluginCommand::List => {
            let action = "list plugins";
            let values = context.client.list(action, "/v1/plugins")?;
            context.print_list(action, values, show::plugin_table)
        }
    }
}
