//! Workspaces and experiments.

use super::{state_colour, time};
use crate::answer::Container;
use crate::output::{Cell, Details, Style, Table, day_and_time};

/// Many of them; `kind` is their plural.
pub fn container_table(containers: &[Container], kind: &str, style: Style) -> String {
    let mut table = Table::new(&["NAME", "STATE", "CREATED", "TAGS"]);
    for container in containers {
        let state = container.properties.provisioning_state.as_str();
        table.row([
            container.name.as_str().into(),
            Cell::coloured(state, state_colour(state)),
            time(container.properties.creation_time).into(),
            tags(container).into(),
        ]);
    }
    table.render(style, &format!("no {kind}"))
}

/// One of them.
pub fn container_details(container: &Container, style: Style) -> String {
    let mut details = Details::default();
    details
        .add("name", container.name.as_str())
        .add("state", container.properties.provisioning_state.as_str())
        .add_some("location", container.location.as_deref())
        .add_some(
            "created",
            container.properties.creation_time.map(day_and_time),
        )
        .add_some(
            "tags",
            (!container.tags.is_empty()).then(|| tags(container)),
        )
        .add("id", container.id.as_str());
    details.render(style)
}

fn tags(container: &Container) -> String {
    let pairs: Vec<String> = container
        .tags
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    #[test]
    fn workspaces() {
        let workspaces: Vec<Container> = read(&json!([
            {"id": "/v1/groups/lab/workspaces/vision", "name": "vision", "location": "local", "tags": {"team": "a"},
             "properties": {"creationTime": "2026-08-04T10:15:30Z", "provisioningState": "succeeded"}},
            {"id": "/v1/groups/lab/workspaces/old", "name": "old", "tags": null,
             "properties": {"provisioningState": "deleting"}}]))
        .unwrap();
        insta::assert_snapshot!(container_table(&workspaces, "workspaces", Style::Plain));
        insta::assert_snapshot!(container_details(&workspaces[0], Style::Plain));
    }
}
