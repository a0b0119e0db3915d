//! One form for the paths of both prefixes.
//!
//! Fixed segments are compared without case and become lower case; names keep
//! the user's spelling. A path of the resource manager becomes the path of the
//! same resource under `/v1`.

/// A path in the form that the routes know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Canonical {
    /// Begins with `/v1/` for every resource.
    pub(crate) path: String,
    /// Where the path came from.
    pub(crate) origin: Origin,
}

/// Under which prefix a request came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Below `/subscriptions/{subscription}`.
    ResourceManager {
        /// As sent.
        subscription: String,
        /// Whether the path is Batch AI's own, so that its API versions apply.
        provider: bool,
    },
    /// Batch AI's own path outside all subscriptions.
    Provider,
    /// Anything else.
    Lote,
}

const PROVIDER: &str = "microsoft.batchai";

/// Brings a request's path into the form of the routes.
pub(crate) fn canonical(path: &str) -> Canonical {
    // Base URLs that end with a slash make clients send two of them.
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let is = |at: usize, word: &str| {
        segments
            .get(at)
            .is_some_and(|part| part.eq_ignore_ascii_case(word))
    };
    if is(0, "subscriptions") && segments.len() > 1 {
        return below_subscription(segments[1], &segments[2..]);
    }
    if is(0, "providers") && is(1, PROVIDER) && is(2, "operations") && segments.len() == 3 {
        return Canonical {
            path: "/v1/catalogue".into(),
            origin: Origin::Provider,
        };
    }
    let path = match segments.split_first() {
        Some((first, rest)) if first.eq_ignore_ascii_case("v1") => {
            format!("/v1{}", alternating(rest))
        }
        // The token of a link is between the two; none of it may change.
        Some((first, _)) if first.eq_ignore_ascii_case("files") => path.to_owned(),
        _ => alternating(&segments),
    };
    Canonical {
        path,
        origin: Origin::Lote,
    }
}

fn below_subscription(subscription: &str, rest: &[&str]) -> Canonical {
    let is = |at: usize, word: &str| {
        rest.get(at)
            .is_some_and(|part| part.eq_ignore_ascii_case(word))
    };
    let (path, provider) = match rest {
        [_] if is(0, "resourcegroups") => ("/v1/groups".into(), false),
        [_, group] if is(0, "resourcegroups") => (format!("/v1/groups/{group}"), false),
        [_, group, _, _, inner @ ..]
            if is(0, "resourcegroups") && is(2, "providers") && is(3, PROVIDER) =>
        {
            (format!("/v1/groups/{group}{}", alternating(inner)), true)
        }
        [_, _, _] if is(0, "providers") && is(1, PROVIDER) && is(2, "workspaces") => {
            ("/v1/workspaces".into(), true)
        }
        [_, _, _, location, inner @ ..]
            if is(0, "providers") && is(1, PROVIDER) && is(2, "locations") =>
        {
            (location_path(location, inner), true)
        }
        // A neighbour of Batch AI, if anything.
        _ => (
            format!("/subscriptions/{subscription}{}", alternating(rest)),
            false,
        ),
    };
    let subscription = subscription.to_owned();
    Canonical {
        path,
        origin: Origin::ResourceManager {
            subscription,
            provider,
        },
    }
}

/// A path that no route has.
const UNKNOWN: &str = "/unknown";

/// What stands below `…/locations/{location}`. Any region will do, if it can be
/// the name of one.
fn location_path(location: &str, inner: &[&str]) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    match inner {
        _ if location.is_empty() || !location.chars().all(fits) => UNKNOWN.into(),
        [kind, id] if kind.eq_ignore_ascii_case("operationresults") => {
            format!("/v1/operations/{id}")
        }
        [kind, id] if kind.eq_ignore_ascii_case("operationstatuses") => {
            format!("/v1/operations/{id}/result")
        }
        [kind] if kind.eq_ignore_ascii_case("usages") => "/v1/usages".into(),
        _ => UNKNOWN.into(),
    }
}

/// Collections and names take turns; collections and actions become lower case.
fn alternating(segments: &[&str]) -> String {
    let mut path = String::new();
    for (index, segment) in segments.iter().enumerate() {
        path.push('/');
        if index % 2 == 0 {
            path.push_str(&segment.to_ascii_lowercase());
        } else {
            path.push_str(segment);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_prefixes_reach_the_same_routes() {
        for (sent, expected) in [
            (
                "/V1/Groups/Lab/Workspaces/Ws",
                "/v1/groups/Lab/workspaces/Ws",
            ),
            ("/subscriptions/S/resourcegroups/Lab", "/v1/groups/Lab"),
            ("//subscriptions/S/resourceGroups", "/v1/groups"),
            (
                "/SUBSCRIPTIONS/s/RESOURCEGROUPS/Lab/PROVIDERS/MICROSOFT.BATCHAI/WORKSPACES/W/EXPERIMENTS/E/JOBS/J/LISTOUTPUTFILES",
                "/v1/groups/Lab/workspaces/W/experiments/E/jobs/J/listoutputfiles",
            ),
            (
                "/subscriptions/s/providers/Microsoft.BatchAI/workspaces",
                "/v1/workspaces",
            ),
            (
                "/subscriptions/s/providers/Microsoft.BatchAI/locations/local/operationResults/AbC",
                "/v1/operations/AbC",
            ),
            (
                "/subscriptions/s/providers/Microsoft.BatchAI/locations/local/operationStatuses/AbC",
                "/v1/operations/AbC/result",
            ),
            ("/files/TOKEN/Name.txt", "/files/TOKEN/Name.txt"),
            ("/Healthz", "/healthz"),
            (
                "/subscriptions/S/resourceGroups/g/providers/Microsoft.Other/workSpaces",
                "/subscriptions/S/resourcegroups/g/providers/Microsoft.Other/workspaces",
            ),
            (
                "/subscriptions/S/providers/Microsoft.BatchAI/Register",
                "/subscriptions/S/providers/Microsoft.BatchAI/register",
            ),
            ("/Subscriptions/S", "/subscriptions/S"),
            (
                "/subscriptions/s/providers/Microsoft.BatchAI/locations/a%20b/usages",
                "/unknown",
            ),
            ("/providers/microsoft.batchAI/Operations", "/v1/catalogue"),
            ("/", "/"),
        ] {
            assert_eq!(canonical(sent).path, expected, "{sent}");
        }
    }

    #[test]
    fn an_empty_name_does_not_shift_the_path() {
        // A client whose variable is empty must not delete the container instead.
        assert_eq!(
            canonical("/v1/groups/g/workspaces/w/experiments/").path,
            "/v1/groups/g/workspaces/w/experiments/"
        );
        assert_eq!(
            canonical("/v1/groups//workspaces/w").path,
            "/v1/groups//workspaces/w"
        );
    }

    #[test]
    fn only_the_providers_own_paths_have_its_versions() {
        let provider = |path: &str| match canonical(path).origin {
            Origin::ResourceManager { provider, .. } => provider,
            Origin::Lote | Origin::Provider => panic!("{path}"),
        };
        assert!(provider(
            "/subscriptions/s/providers/Microsoft.BatchAI/workspaces"
        ));
        assert!(!provider("/subscriptions/s/resourceGroups/g"));
    }

    proptest::proptest! {
        #[test]
        fn no_path_panics_and_every_form_is_final(path in "/[a-zA-Z0-9/%.]{0,60}") {
            let once = canonical(&path).path;
            proptest::prop_assert!(once.starts_with('/'));
            proptest::prop_assert_eq!(&canonical(&once).path, &once);
        }
    }
}
