//! Framework plugins.

use std::fmt::Write as _;

use crate::answer::{Plugin, PluginList};
use crate::output::{Colour, Details, Style, Table};

/// Digits of a digest that tell any two files of a cluster apart.
const DIGITS: usize = 12;

/// Those that are loaded, and below them those that are not.
pub fn plugin_list(list: &PluginList, style: Style) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "SETTINGS", "DIGEST", "FROM", "SUMMARY"]);
    for plugin in &list.value {
        let members = &plugin.properties;
        table.row([
            plugin.name.as_str().into(),
            members.version.as_str().into(),
            members.settings_member.as_str().into(),
            short(&members.digest).into(),
            members.origin.as_str().into(),
            members.summary.as_str().into(),
        ]);
    }
    let mut text = table.omit_empty_columns().render(style, "no plugins");
    if !list.rejected.is_empty() {
        let _ = writeln!(text, "\n{}", style.paint(Colour::Red, "Not loaded"));
    }
    for rejected in &list.rejected {
        let _ = writeln!(text, "  {}: {}", rejected.origin, rejected.reason);
    }
    text
}

/// One of them.
pub fn plugin_details(plugin: &Plugin, style: Style) -> String {
    let members = &plugin.properties;
    let by_default = if members.is_default {
        "jobs that ask for no version get this one"
    } else {
        "only jobs that ask for this version get it"
    };
    let mut details = Details::default();
    details
        .add("name", plugin.name.as_str())
        .add("version", format!("{} ({by_default})", members.version))
        .add("summary", members.summary.as_str())
        .add("settings", members.settings_member.as_str())
        .add("contract", members.contract.as_str())
        .add("from", members.origin.as_str())
        .add("sha256", members.digest.as_str());
    details.render(style)
}

fn short(digest: &str) -> &str {
    digest.get(..DIGITS).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    fn list() -> PluginList {
        read(&json!({"value": [
            {"name": "custom", "properties": {
                "settingsMember": "customToolkitSettings", "version": "0.1.0", "summary": "Any command",
                "digest": "ab".repeat(32), "contract": "0.1.0", "origin": "built in", "isDefault": true}},
            {"name": "ray", "properties": {
                "settingsMember": "pluginSettings", "version": "0.1.0", "summary": "A head and its workers",
                "digest": "cd".repeat(32), "contract": "0.1.0", "origin": "/opt/plugins/ray@0.1.0.wasm",
                "isDefault": false}}],
            "rejected": [{"origin": "/opt/plugins/x.wasm", "reason": "plugin x is not a WebAssembly component"}]}))
        .unwrap()
    }

    #[test]
    fn plugins_in_a_list_and_alone() {
        insta::assert_snapshot!(plugin_list(&list(), Style::Plain));
        insta::assert_snapshot!(plugin_details(&list().value[1], Style::Plain));
    }
}
