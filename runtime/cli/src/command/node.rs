//! `lote node list|status|drain|resume|remove`.

use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::answer::Node;
use crate::args::{Format, NodeQuery};
use crate::exit;
use crate::failure::Failure;
use crate::http::Done;
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
        NodeQuery::Drain { name, reason } => drain(context, &name, reason.as_deref()),
        NodeQuery::Resume { name } => {
            let action = format!("resume node '{name}'");
            let path = format!("{}/resume", node_path(&name)?);
            change(context, &action, &path, None, |node| {
                format!("node {} takes jobs again", node.name)
            })
        }
        NodeQuery::Remove { name, yes } => remove(context, &name, yes),
    }
}

fn drain(context: &Context<'_>, name: &str, reason: Option<&str>) -> Outcome {
    let action = format!("drain node '{name}'");
    let path = format!("{}/drain", node_path(name)?);
    let properties = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
    let body = json!({"properties": properties});
    change(context, &action, &path, Some(&body), |node| {
        let name = &node.name;
        match node.properties.jobs {
            0 => format!("node {name} gets no new jobs, and has none"),
            1 => format!("node {name} gets no new jobs; 1 job goes on there"),
            jobs => format!("node {name} gets no new jobs; {jobs} jobs go on there"),
        }
    })
}

/// Asks for a change of a node, and says what the node is now.
fn change(
    context: &Context<'_>,
    action: &str,
    path: &str,
    body: Option<&Value>,
    sentence: impl Fn(&Node) -> String,
) -> Outcome {
    let done = context.client.post(action, path, body)?;
    let value = context.client.finish(action, done)?;
    if context.settings.format != Format::Table {
        return context.print(action, &value, show::node_details);
    }
    let node: Node = context.client.understood(action, &value)?;
    context.say(&sentence(&node));
    Ok(exit::SUCCESS)
}

fn remove(context: &Context<'_>, name: &str, yes: bool) -> Outcome {
    let path = node_path(name)?;
    let action = format!("remove node '{name}'");
    context.confirm(&action, yes)?;
    match context.client.delete(&action, &path)? {
        None => context.say(&format!("node {name} was not there")),
        Some(Done::Now(_) | Done::Later(_)) => context.say(&format!("removed node {name}")),
    }
    Ok(exit::SUCCESS)
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
