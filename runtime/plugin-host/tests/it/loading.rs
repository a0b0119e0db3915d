//! What is refused before it runs.

use lote_plugin_host::{MAX_COMPONENT_BYTES, Outcome, Problem, Step};

use crate::components::{bytes, host, load};

fn problem(bytes: &[u8]) -> Problem {
    *host().load("strange.wasm", bytes).unwrap_err().problem
}

fn component(text: &str) -> Problem {
    problem(&wat::parse_str(text).unwrap())
}

#[test]
fn what_is_no_component_is_named_so() {
    for strange in [b"".as_slice(), b"#!/bin/sh\n", b"\0asm"] {
        assert!(matches!(problem(strange), Problem::NotAComponent { .. }));
    }
    assert!(matches!(
        component("(module)"),
        Problem::NotAComponent { .. }
    ));
    assert!(matches!(component("(component)"), Problem::NotAPlugin));
}

/// Other hosts have crashed on files that end in the middle.
#[test]
fn a_truncated_component_is_refused_wherever_it_ends() {
    let whole = bytes("custom");
    for length in (0..whole.len()).step_by(whole.len() / 97) {
        let problem = problem(&whole[..length]);
        let expected = matches!(
            problem,
            // A cut between two sections leaves a component without its end.
            Problem::NotAComponent { .. } | Problem::NotAPlugin
        );
        assert!(expected, "{length}: {problem:?}");
    }
}

#[test]
fn a_damaged_component_never_harms_the_host() {
    let whole = bytes("custom");
    for position in (0..whole.len()).step_by(whole.len() / 23) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x55;
        // Some damage is in texts and does not matter; what matters is that the host
        // answers, and that what it accepts still passes all checks.
        drop(host().load("damaged.wasm", &damaged));
    }
}

#[test]
fn foreign_imports_are_listed() {
    let problem = component(
        r#"(component
            (import "wasi:sockets/tcp@0.2.3" (instance))
            (import "wasi:http/outgoing-handler@0.2.3" (instance))
            (import "wasi:cli/environment@0.2.3" (instance)))"#,
    );
    let Problem::ForeignImports { names } = &problem else {
        panic!("{problem:?}")
    };
    assert_eq!(
        names,
        &["wasi:sockets/tcp@0.2.3", "wasi:http/outgoing-handler@0.2.3"]
    );
    assert!(
        problem.to_string().contains("wasi:sockets/tcp"),
        "{problem}"
    );
}

#[test]
fn another_contract_is_named_with_both_versions() {
    let problem = component(
        r#"(component
            (instance $empty)
            (export "lote:framework/framework@0.2.0" (instance $empty)))"#,
    );
    assert!(
        matches!(problem, Problem::OtherContract { .. }),
        "{problem:?}"
    );
    let text = problem.to_string();
    assert!(text.contains("@0.2.0") && text.contains("@0.1.0"), "{text}");
}

#[test]
fn exports_that_differ_from_the_contract_are_refused() {
    let problem = component(
        r#"(component
            (instance $empty)
            (export "lote:framework/framework@0.1.0" (instance $empty)))"#,
    );
    assert!(matches!(problem, Problem::DoesNotFit { .. }), "{problem:?}");
}

#[test]
fn a_file_beyond_the_limit_is_not_even_parsed() {
    let problem = problem(&vec![0; MAX_COMPONENT_BYTES + 1]);
    assert!(matches!(problem, Problem::TooLarge { .. }), "{problem:?}");
}

#[test]
fn a_plugin_says_who_it_is() {
    let plugin = load("pytorch");
    let info = plugin.info();
    assert_eq!(info.descriptor.name, "pytorch");
    assert_eq!(info.descriptor.settings_member, "pyTorchSettings");
    assert_eq!(info.contract, "0.1.0");
    assert_eq!(info.digest.len(), 64);
    assert!(!info.reads_progress && !info.supervises);
}

#[test]
fn every_check_of_a_load_can_be_looked_at() {
    let examination = host().examine("custom.wasm", &bytes("custom"));
    assert!(examination.plugin.is_ok());
    let steps: Vec<Step> = examination.checks.iter().map(|it| it.step).collect();
    assert_eq!(steps, Step::ALL);
    for checked in &examination.checks {
        assert_eq!(checked.outcome, Outcome::Passed, "{checked:?}");
        assert!(!checked.finding.is_empty(), "{checked:?}");
    }
}

/// The first check that fails is told with what to do, those after it as not reached.
#[test]
fn a_check_that_fails_is_named() {
    let whole = bytes("custom");
    let foreign = wat::parse_str(r#"(component (import "wasi:sockets/tcp@0.2.3" (instance)))"#);
    let later = wat::parse_str(
        r#"(component
            (instance $empty)
            (export "lote:framework/framework@0.9.0" (instance $empty)))"#,
    );
    let hollow = wat::parse_str(
        r#"(component
            (instance $empty)
            (export "lote:framework/framework@0.1.0" (instance $empty)))"#,
    );
    let cases = [
        (vec![0; MAX_COMPONENT_BYTES + 1], Step::Size),
        (whole[..whole.len() - 1].to_vec(), Step::Component),
        (foreign.unwrap(), Step::Imports),
        (later.unwrap(), Step::Contract),
        (hollow.unwrap(), Step::Functions),
    ];
    for (bytes, step) in cases {
        let examination = host().examine("x.wasm", &bytes);
        let problem = examination.plugin.unwrap_err().problem.to_string();
        assert_eq!(examination.checks.len(), Step::ALL.len());
        for checked in examination.checks {
            let (outcome, finding) = match checked.step.cmp(&step) {
                std::cmp::Ordering::Less => (Outcome::Passed, None),
                std::cmp::Ordering::Equal => (Outcome::Failed, Some(&problem)),
                std::cmp::Ordering::Greater => (Outcome::NotReached, None),
            };
            assert_eq!(checked.outcome, outcome, "{checked:?}");
            assert!(
                finding.is_none_or(|text| *text == checked.finding),
                "{checked:?}"
            );
        }
    }
}
