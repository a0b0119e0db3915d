//! Logins and usages.

use crate::answer::{Login, Usage};
use crate::output::{Style, Table};

/// Where to log in to some nodes.
pub fn login_table(logins: &[Login], style: Style) -> String {
    let mut table = Table::new(&["ID", "IP", "SSH PORT"]);
    for login in logins {
        table.row([
            login.node_id.as_str().into(),
            login.ip_address.as_str().into(),
            login.port.to_string().into(),
        ]);
    }
    table.render(style, "no nodes")
}

/// How much there is, and how much there can be.
pub fn quota_table(usages: &[Usage], style: Style) -> String {
    let mut table = Table::new(&["VALUE", "USAGE", "LIMIT"]);
    for usage in usages {
        table.row([
            usage.name.localized_value.as_str().into(),
            usage.current_value.to_string().into(),
            usage.limit.to_string().into(),
        ]);
    }
    table.render(style, "no usages")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    #[test]
    fn logins_and_usages() {
        let logins: Vec<Login> = read(&json!([
            {"nodeId": "gpu1", "ipAddress": "10.0.0.7", "port": 2222}, {"nodeId": "b", "ipAddress": "b.lan", "port": 22}]))
        .unwrap();
        insta::assert_snapshot!(login_table(&logins, Style::Plain));
        let usages: Vec<Usage> = read(&json!([
            {"unit": "Count", "currentValue": 3, "limit": 10_000, "name": {"value": "Clusters", "localizedValue": "Clusters"}}]))
        .unwrap();
        insta::assert_snapshot!(quota_table(&usages, Style::Plain));
    }
}
