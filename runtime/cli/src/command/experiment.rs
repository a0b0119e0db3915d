//! `lote experiment`.

use super::{Context, Outcome};
use crate::args::resources::ExperimentCommand;
use crate::{place, show};

/// The collection's name in paths.
pub(super) const EXPERIMENTS: &str = "experiments";

pub(super) fn run(context: &Context<'_>, command: ExperimentCommand) -> Outcome {
    match command {
        ExperimentCommand::Create { name } => {
            let path = place::child(&context.child(&name)?, EXPERIMENTS);
            context.create(
                &format!("experiment '{name}'"),
                &path,
                None,
                show::container_details,
            )
        }
        ExperimentCommand::List => {
            let action = "list experiments";
            let values = context.client.list(
                action,
                &place::collection(&context.settings.workspace, EXPERIMENTS),
            )?;
            context.print_list(action, values, |items, style| {
                show::container_table(items, EXPERIMENTS, style)
            })
        }
        ExperimentCommand::Show { name } => {
            let action = format!("show experiment '{name}'");
            let value = context
                .client
                .get(&action, &place::child(&context.child(&name)?, EXPERIMENTS))?;
            context.print(&action, &value, show::container_details)
        }
        ExperimentCommand::Delete(args) => {
            let path = place::child(&context.child(&args.name)?, EXPERIMENTS);
            context.delete(
                &format!("experiment '{}' with its jobs", args.name),
                &path,
                args.yes,
                args.no_wait,
            )
        }
    }
}
