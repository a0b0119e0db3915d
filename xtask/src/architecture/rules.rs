//! Which crate may depend on what.

use crate::architecture::package::{Dependency, Package};

/// The crates of the workspace, each with those it may depend on. A crate that
/// is not listed is a finding: whoever adds one decides here where it stands.
const EDGES: &[(&str, &[&str])] = &[
    ("lote-model", &[]),
    ("lote-store", &[]),
    ("lote-control", &["lote-model", "lote-store"]),
    ("lote-plugin-host", &["lote-model"]),
    ("lote-vault", &["lote-model"]),
    (
        "lote-node",
        &["lote-model", "lote-rsh", "lote-store", "lote-vault"],
    ),
    ("lote-rsh", &[]),
    ("lote-api", &["lote-model", "lote-store", "lote-vault"]),
    ("lote-cli", &["lote-model"]),
    ("lote-nfs-mount", &[]),
    (
        "lote",
        &[
            "lote-api",
            "lote-cli",
            "lote-control",
            "lote-model",
            "lote-nfs-mount",
            "lote-node",
            // `lote plugin test` runs the cases of plugins' authors.
            "lote-plugin-cases",
            "lote-plugin-host",
            "lote-store",
            "lote-vault",
        ],
    ),
    ("lote-plugin-cases", &[]),
    ("lote-plugin-sdk", &["lote-plugin-cases"]),
    ("lote-mpi", &["lote-plugin-sdk"]),
    ("lote-plugin-caffe", &["lote-mpi", "lote-plugin-sdk"]),
    ("lote-plugin-caffe2", &["lote-plugin-sdk"]),
    ("lote-plugin-chainer", &["lote-mpi", "lote-plugin-sdk"]),
    ("lote-plugin-cntk", &["lote-mpi", "lote-plugin-sdk"]),
    ("lote-plugin-custom", &["lote-plugin-sdk"]),
    ("lote-plugin-custom-mpi", &["lote-mpi", "lote-plugin-sdk"]),
    ("lote-plugin-horovod", &["lote-mpi", "lote-plugin-sdk"]),
    ("lote-plugin-pytorch", &["lote-mpi", "lote-plugin-sdk"]),
    ("lote-plugin-tensorflow", &["lote-plugin-sdk"]),
    ("lote-plugin-hostile", &["lote-plugin-sdk"]),
    ("lote-plugin-draft", &[]),
    ("lote-tests", &[]),
    ("lote-test-hosts", &["lote-tests"]),
    ("lote-test-machines", &["lote-tests"]),
    ("lote-nvml-sim", &[]),
    ("xtask", &[]),
];

/// What tests may use beyond that.
const TEST_EDGES: &[(&str, &[&str])] = &[
    // The driver that its tests load.
    ("lote-node", &["lote-nvml-sim"]),
    // The server that its tests mount.
    ("lote-nfs-mount", &["lote-tests"]),
    // The same cases run natively and as components, with equal results.
    (
        "lote-plugin-host",
        &[
            "lote-plugin-sdk",
            "lote-plugin-caffe",
            "lote-plugin-caffe2",
            "lote-plugin-chainer",
            "lote-plugin-cntk",
            "lote-plugin-custom",
            "lote-plugin-custom-mpi",
            "lote-plugin-horovod",
            "lote-plugin-pytorch",
            "lote-plugin-tensorflow",
        ],
    ),
];

/// Crates that only one of ours may name.
const OWNED: &[(&str, &[&str])] = &[
    ("lote-plugin-host", &["wasmtime", "wasmtime-wasi"]),
    ("lote-node", &["nvml-wrapper", "cgroups-rs", "libcgroups"]),
    ("lote-api", &["axum"]),
    ("lote-nfs-mount", &["fuser", "nfs3_client", "nfs3_types"]),
    ("lote-store", &["redb", "etcd-client", "tonic"]),
    ("lote-vault", &["chacha20poly1305"]),
    ("lote-plugin-sdk", &["wit-bindgen"]),
    // The types of the C interface that it has.
    ("lote-nvml-sim", &["nvml-wrapper-sys"]),
];

/// What tests may use of those.
const OWNED_BUT_TESTED: &[(&str, &[&str])] = &[
    // It is loaded there as the daemon loads it.
    ("lote-nvml-sim", &["nvml-wrapper"]),
    // A client of the file servers that it exports.
    ("lote-node", &["nfs3_client"]),
];

/// What programs that measure or are tested with may use of those.
const OWNED_BUT_MEASURED: &[(&str, &[&str])] = &[
    // The client that both NFS servers are compared with.
    ("lote-tests", &["nfs3_client"]),
    // Built against a draft of the contract that the SDK does not have.
    ("lote-plugin-draft", &["wit-bindgen"]),
];

/// Features that only some of ours may ask for, with those: system calls that
/// change what a whole machine or a process tree sees.
const OWNED_FEATURES: &[(&str, &[&str])] = &[
    // The client of NFS takes its own mount away.
    ("mount", &["lote-node", "lote-nfs-mount"]),
    ("sched", &["lote-node"]),
];

/// What the model may use. A list of the allowed and not of the forbidden: no
/// list of all crates with a clock or a random source can be complete.
const MODEL_MAY_USE: &[&str] = &[
    "base64",
    "jiff",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "thiserror",
    "zeroize",
];

/// Every rule with what breaks it.
pub(super) fn check(packages: &[Package]) -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("crates depend only downwards", edges(packages)),
        ("a foreign crate has one owner", owners(packages)),
        (
            "only the node changes mounts and namespaces",
            features(packages),
        ),
        ("the model uses only what cannot act", model(packages)),
    ]
}

fn edges(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let Some(allowed) = entry(EDGES, &package.name) else {
            findings.push(format!("{} has no place in the rules", package.name));
            continue;
        };
        let for_tests = entry(TEST_EDGES, &package.name).unwrap_or_default();
        let may = |dependency: &Dependency| {
            let name = dependency.name.as_str();
            // A crate's own tests may switch on its features by naming itself.
            let in_tests = for_tests.contains(&name) || name == package.name;
            allowed.contains(&name) || (dependency.for_tests && in_tests)
        };
        let wrong = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.of_the_workspace && !may(dependency));
        findings.extend(wrong.map(|dependency| uses(package, &dependency.name)));
    }
    findings
}

fn owners(packages: &[Package]) -> Vec<String> {
    findings(packages, |package, dependency| {
        let name = dependency.name.as_str();
        let tested = entry(OWNED_BUT_TESTED, &package.name).unwrap_or_default();
        let measured = entry(OWNED_BUT_MEASURED, &package.name).unwrap_or_default();
        let is_of_another = OWNED
            .iter()
            .any(|(owner, owned)| *owner != package.name && owned.contains(&name));
        let in_tests = dependency.for_tests && tested.contains(&name);
        let is_allowed = in_tests || measured.contains(&name);
        (is_of_another && !is_allowed).then(|| uses(package, name))
    })
}

fn features(packages: &[Package]) -> Vec<String> {
    findings(packages, |package, dependency| {
        let foreign = dependency.features.iter().find(|feature| {
            entry(OWNED_FEATURES, feature)
                .is_some_and(|owners| !owners.contains(&package.name.as_str()))
        })?;
        Some(uses(
            package,
            &format!("{} with `{foreign}`", dependency.name),
        ))
    })
}

fn model(packages: &[Package]) -> Vec<String> {
    findings(packages, |package, dependency| {
        let concerns_us = package.name == "lote-model" && !dependency.for_tests;
        (concerns_us && !MODEL_MAY_USE.contains(&dependency.name.as_str()))
            .then(|| uses(package, &dependency.name))
    })
}

/// Looks at every dependency of every package.
fn findings(
    packages: &[Package],
    look: impl Fn(&Package, &Dependency) -> Option<String>,
) -> Vec<String> {
    packages
        .iter()
        .flat_map(|package| {
            let dependencies = package.dependencies.iter();
            dependencies.filter_map(|dependency| look(package, dependency))
        })
        .collect()
}

fn uses(package: &Package, what: &str) -> String {
    format!("{} uses {what}", package.name)
}

fn entry<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    let (_, list) = table.iter().find(|(entry, _)| *entry == name)?;
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: Vec<Dependency>) -> Package {
        Package {
            name: name.into(),
            folder: name.into(),
            dependencies,
        }
    }

    fn dependency(name: &str) -> Dependency {
        Dependency {
            name: name.into(),
            of_the_workspace: name.starts_with("lote"),
            for_tests: false,
            features: vec![],
        }
    }

    fn for_tests(name: &str) -> Dependency {
        Dependency {
            for_tests: true,
            ..dependency(name)
        }
    }

    fn all_findings(package: Package) -> Vec<String> {
        check(&[package])
            .into_iter()
            .flat_map(|(_, findings)| findings)
            .collect()
    }

    #[test]
    fn what_the_design_allows_passes() {
        let allowed = [
            package(
                "lote-api",
                vec![dependency("lote-store"), dependency("axum")],
            ),
            package(
                "lote-store",
                vec![dependency("redb"), for_tests("lote-store")],
            ),
            package("lote-plugin-host", vec![for_tests("lote-plugin-pytorch")]),
            package("lote-nvml-sim", vec![for_tests("nvml-wrapper")]),
            package(
                "lote-model",
                vec![dependency("serde"), for_tests("proptest")],
            ),
        ];
        for package in allowed {
            assert_eq!(all_findings(package), Vec::<String>::new());
        }
    }

    #[test]
    fn what_the_design_forbids_is_found() {
        let mut nix = dependency("nix");
        nix.features = vec!["mount".into()];
        let forbidden = [
            package("lote-api", vec![dependency("lote-node")]),
            package("lote-control", vec![for_tests("lote-node")]),
            package("lote-plugin-host", vec![dependency("lote-plugin-pytorch")]),
            package("lote-store", vec![dependency("lote-store")]),
            package("lote-cli", vec![dependency("wasmtime")]),
            package("lote-node", vec![dependency("axum")]),
            package("lote-tests", vec![for_tests("redb")]),
            package("lote-nvml-sim", vec![dependency("nvml-wrapper")]),
            package("lote-tests", vec![for_tests("nvml-wrapper")]),
            package("lote-api", vec![nix]),
            package("lote-api", vec![dependency("fuser")]),
            package("lote-node", vec![dependency("lote-nfs-mount")]),
            package("lote-model", vec![dependency("tokio")]),
            package("lote-newcomer", vec![]),
        ];
        for package in forbidden {
            let name = package.name.clone();
            assert_eq!(all_findings(package).len(), 1, "{name}");
        }
    }
}
