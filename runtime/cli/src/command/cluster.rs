//! `lote cluster`.

use lote_model::duration::Seconds;
use serde_json::{Map, Value, json};

use super::job_input::read_file;
use super::{Context, Outcome};
use crate::args::resources::{ClusterCommand, ClusterSettingsArgs, CreateClusterArgs};
use crate::{place, show};

/// The collection's name in paths.
const CLUSTERS: &str = "clusters";

pub(super) fn run(context: &Context<'_>, command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Create(args) => create(context, &args),
        ClusterCommand::List => {
            let action = "list clusters";
            let values = context.client.list(
                action,
                &place::collection(&context.settings.workspace, CLUSTERS),
            )?;
            context.print_list(action, values, show::cluster_table)
        }
        ClusterCommand::Show { name } => {
            let action = format!("show cluster '{name}'");
            let value = context
                .client
                .get(&action, &place::child(&context.child(&name)?, CLUSTERS))?;
            context.print(&action, &value, show::cluster_details)
        }
        ClusterCommand::Nodes { name } => {
            let path = place::child(&context.child(&name)?, CLUSTERS);
            super::remote_login::run(context, &format!("cluster '{name}'"), &path)
        }
        ClusterCommand::Delete(args) => {
            let path = place::child(&context.child(&args.name)?, CLUSTERS);
            context.delete(
                &format!("cluster '{}'", args.name),
                &path,
                args.yes,
                args.no_wait,
            )
        }
        ClusterCommand::Set {
            name,
            settings,
            no_budget,
        } => set(context, &name, &settings, no_budget),
        ClusterCommand::Resize { name, target } => scale(context, &name, &manual(target)),
        ClusterCommand::AutoScale { name, min, max } => scale(context, &name, &automatic(min, max)),
    }
}

fn create(context: &Context<'_>, args: &CreateClusterArgs) -> Outcome {
    let members = match &args.file {
        Some(file) => read_file(file)?,
        None => Map::new(),
    };
    let user = context.surroundings.variable("USER").unwrap_or("lote");
    let body = body(members, args, user);
    let path = place::child(&context.child(&args.name)?, CLUSTERS);
    context.create(
        &format!("cluster '{}'", args.name),
        &path,
        Some(&body),
        show::cluster_details,
    )
}

/// The file's body with the options written over it. The API insists on an
/// administrator's name; the user's own is given when nobody named one.
fn body(mut members: Map<String, Value>, args: &CreateClusterArgs, user: &str) -> Value {
    members.retain(|name, _| name == "properties");
    let mut body = Value::Object(members);
    let properties = &mut body["properties"];
    if let Some(size) = &args.size {
        properties["vmSize"] = size.as_str().into();
    }
    match (args.target, args.min, args.max) {
        (Some(target), _, _) => properties["scaleSettings"] = manual(target),
        (None, Some(min), Some(max)) => properties["scaleSettings"] = automatic(min, max),
        _ => {}
    }
    if args.low_priority {
        properties["vmPriority"] = "lowpriority".into();
    }
    for (name, value) in extensions(&args.settings) {
        properties["lote"][name] = value;
    }
    if args.user.is_some() || properties["userAccountSettings"].is_null() {
        let user = args.user.as_deref().unwrap_or(user);
        properties["userAccountSettings"]["adminUserName"] = user.into();
    }
    body
}

/// The members of `lote` that options name.
fn extensions(args: &ClusterSettingsArgs) -> Map<String, Value> {
    let mut members = Map::new();
    if let Some(delay) = args.idle_delay {
        members.insert("idleDelay".into(), json!(Seconds(delay.as_secs())));
    }
    if let Some(price) = args.price {
        members.insert("pricePerNodeHour".into(), json!(price));
    }
    if let Some(amount) = args.budget {
        let budget = json!({"amount": amount, "period": args.budget_period});
        members.insert("budget".into(), budget);
    }
    members
}

fn manual(target: u32) -> Value {
    json!({"manual": {"targetNodeCount": target}})
}

fn automatic(min: u32, max: u32) -> Value {
    json!({"autoScale": {"minimumNodeCount": min, "maximumNodeCount": max}})
}

fn scale(context: &Context<'_>, name: &str, settings: &Value) -> Outcome {
    let body = json!({"properties": {"scaleSettings": settings}});
    update(context, &format!("scale cluster '{name}'"), name, &body)
}

fn set(context: &Context<'_>, name: &str, args: &ClusterSettingsArgs, no_budget: bool) -> Outcome {
    let mut members = extensions(args);
    if no_budget {
        members.insert("budget".into(), Value::Null);
    }
    let body = json!({"properties": {"lote": members}});
    update(context, &format!("change cluster '{name}'"), name, &body)
}

fn update(context: &Context<'_>, action: &str, name: &str, body: &Value) -> Outcome {
    let value =
        context
            .client
            .patch(action, &place::child(&context.child(name)?, CLUSTERS), body)?;
    context.print(action, &value, show::cluster_details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lote_model::cluster::ScaleSettings;
    use lote_model::cluster_request::ClusterRequest;
    use lote_model::money::Money;
    use lote_model::spending::BudgetPeriod;

    fn args(
        size: Option<&str>,
        target: Option<u32>,
        bounds: Option<(u32, u32)>,
    ) -> CreateClusterArgs {
        CreateClusterArgs {
            name: "c".into(),
            file: None,
            size: size.map(str::to_owned),
            target,
            min: bounds.map(|bounds| bounds.0),
            max: bounds.map(|bounds| bounds.1),
            user: None,
            low_priority: false,
            settings: ClusterSettingsArgs::default(),
        }
    }

    #[test]
    fn the_daemon_accepts_a_price_and_a_budget() {
        let mut args = args(Some("cpu"), None, None);
        args.low_priority = true;
        args.settings = ClusterSettingsArgs {
            idle_delay: Some(std::time::Duration::from_mins(5)),
            price: Money::parse("2.5"),
            budget: Money::parse("100"),
            budget_period: "month".into(),
        };
        let body = body(Map::new(), &args, "me");
        let properties = ClusterRequest::parse(&serde_json::to_vec(&body).unwrap())
            .unwrap()
            .properties;
        assert!(properties.is_low_priority());
        assert_eq!(properties.lote.idle_delay, Some(Seconds(300)));
        assert_eq!(properties.lote.price_per_node_hour, Money::parse("2.5"));
        let budget = properties.lote.budget.unwrap();
        assert_eq!(
            (budget.amount, budget.period),
            (Money::parse("100").unwrap(), BudgetPeriod::Month)
        );
    }

    #[test]
    fn the_daemon_accepts_what_options_make() {
        let body = body(Map::new(), &args(Some("cpu"), None, Some((0, 3))), "me");
        let properties = ClusterRequest::parse(&serde_json::to_vec(&body).unwrap())
            .unwrap()
            .properties;
        assert_eq!(properties.user_account_settings.admin_user_name, "me");
        assert!(
            matches!(properties.scale_settings, ScaleSettings::AutoScale(auto) if auto.maximum_node_count == 3)
        );
    }

    #[test]
    fn options_win_over_the_file() {
        let file = json!({"id": "x", "properties": {"vmSize": "a", "userAccountSettings": {"adminUserName": "ops"},
            "scaleSettings": {"autoScale": {"minimumNodeCount": 0, "maximumNodeCount": 3}}}});
        let Value::Object(members) = file else {
            panic!("no object")
        };
        let body = body(members, &args(None, Some(2), None), "me");
        assert_eq!(
            body,
            json!({"properties": {"vmSize": "a", "userAccountSettings": {"adminUserName": "ops"},
                "scaleSettings": {"manual": {"targetNodeCount": 2}}}})
        );
    }
}
