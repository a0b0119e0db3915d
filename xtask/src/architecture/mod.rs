//! The rules of ARCHITECTURE.md, checked.
//!
//! * `package` — the workspace's packages and what they depend on.
//! * `rules` — which crate may depend on what.
//! * `sources` — what the text of a crate must not contain.

mod package;
mod rules;
mod sources;

use crate::error::Error;
use crate::stage::Tally;
use crate::workspace::Workspace;

use package::Package;

/// Checks every rule; each is one test.
pub(crate) fn check(workspace: &Workspace) -> Result<Tally, Error> {
    let packages = package::read(&workspace.metadata);
    let map = workspace.root.join("ARCHITECTURE.md");
    let map = std::fs::read_to_string(&map).map_err(Error::file("read", &map))?;
    let mut tally = Tally::default();
    for (rule, findings) in rules::check(&packages) {
        count(&mut tally, rule, &findings);
    }
    count(
        &mut tally,
        "ARCHITECTURE.md names every crate",
        &unnamed(&packages, &map),
    );
    let findings = sources::check_model(&workspace.root.join("runtime/model/src"))?;
    count(
        &mut tally,
        "the model has no I/O, clock, randomness or async",
        &findings,
    );
    Ok(tally)
}

fn count(tally: &mut Tally, rule: &str, findings: &[String]) {
    if findings.is_empty() {
        tally.passed += 1;
    } else {
        tally.fail(format!("{rule}: {}", findings.join("; ")));
    }
}

/// The crates of `runtime/` and `plugins/` whose folder the map does not name.
fn unnamed(packages: &[Package], map: &str) -> Vec<String> {
    packages
        .iter()
        .map(|package| package.folder.as_str())
        .filter(|folder| !map.contains(&format!("`{folder}`")))
        .map(|folder| format!("`{folder}` is missing"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_the_map_forgets_is_found() {
        let packages = [Package {
            name: "lote-store".into(),
            folder: "runtime/store".into(),
            dependencies: vec![],
        }];
        assert!(unnamed(&packages, "* `runtime/store`: the memory").is_empty());
        assert_eq!(unnamed(&packages, "* `runtime/stores`").len(), 1);
    }
}
