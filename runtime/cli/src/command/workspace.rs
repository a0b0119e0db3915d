//! `lote workspace`.

use std::collections::BTreeMap;

use lote_model::name::ResourceName;
use lote_model::path::WorkspacePath;
use serde_json::json;

use super::{Context, Outcome};
use crate::args::resources::WorkspaceCommand;
use crate::failure::Failure;
use crate::{place, show};

pub(super) fn run(context: &Context<'_>, command: WorkspaceCommand) -> Outcome {
    match command {
        WorkspaceCommand::Create {
            name,
            location,
            tags,
        } => {
            let tags: BTreeMap<_, _> = tags.into_iter().collect();
            let body = json!({"location": location, "tags": tags});
            let path = place::workspace(&named(context, &name)?);
            context.create(
                &format!("workspace '{name}'"),
                &path,
                Some(&body),
                show::container_details,
            )
        }
        WorkspaceCommand::List => {
            let action = "list workspaces";
            let values = context
                .client
                .list(action, &place::workspaces(&context.settings.workspace))?;
            context.print_list(action, values, |items, style| {
                show::container_table(items, "workspaces", style)
            })
        }
        WorkspaceCommand::Show { name } => {
            let action = format!("show workspace '{name}'");
            let value = context
                .client
                .get(&action, &place::workspace(&named(context, &name)?))?;
            context.print(&action, &value, show::container_details)
        }
        WorkspaceCommand::Delete(args) => {
            let path = place::workspace(&named(context, &args.name)?);
            let what = format!("workspace '{}' with everything in it", args.name);
            context.delete(&what, &path, args.yes, args.no_wait)
        }
    }
}

fn named(context: &Context<'_>, name: &str) -> Result<WorkspacePath, Failure> {
    let group = context.settings.workspace.group.clone();
    Ok(WorkspacePath {
        group,
        workspace: ResourceName::new(name)?,
    })
}
