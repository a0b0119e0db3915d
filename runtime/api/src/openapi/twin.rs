//! The same operation under the other prefix.

const SUBSCRIPTION: &str = "/subscriptions/{subscriptionId}";
const PROVIDER: &str = "/providers/Microsoft.BatchAI";

/// The path under `/v1` of an operation of the resource manager's prefix; none
/// for one that stands under `/v1`, or under no prefix, already.
pub(crate) fn twin(path: &str) -> Option<String> {
    if path.strip_prefix(PROVIDER) == Some("/operations") {
        return Some("/v1/catalogue".to_owned());
    }
    let rest = path.strip_prefix(SUBSCRIPTION)?;
    if let Some(rest) = rest.strip_prefix(PROVIDER) {
        return Some(below_subscription(rest));
    }
    let (group, inner) = match rest.split_once(PROVIDER) {
        Some((group, inner)) => (group, inner),
        None => (rest, ""),
    };
    let group = group.replacen("/resourceGroups", "/groups", 1);
    Some(format!("/v1{group}{inner}"))
}

fn below_subscription(rest: &str) -> String {
    let Some(inner) = rest.strip_prefix("/locations/{location}") else {
        return format!("/v1{rest}");
    };
    if let Some(id) = inner.strip_prefix("/operationresults") {
        return format!("/v1/operations{id}");
    }
    match inner.strip_prefix("/operationstatuses") {
        Some(id) => format!("/v1/operations{id}/result"),
        None => format!("/v1{inner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalise::canonical;
    use crate::openapi::paths;

    #[test]
    fn both_paths_reach_the_same_route() {
        let mut twins = 0;
        for described in paths::all() {
            let Some(twin) = twin(&described.path) else {
                continue;
            };
            twins += 1;
            // A name in braces is no name of a location.
            let route = |path: &str| canonical(&path.replace(['{', '}'], "")).path;
            assert_eq!(route(&twin), route(&described.path));
        }
        assert!(twins >= 29, "{twins}");
    }

    #[test]
    fn what_stands_under_our_own_prefix_has_no_twin() {
        assert_eq!(twin("/v1/nodes"), None);
        assert_eq!(twin("/healthz"), None);
    }
}
