//! Whether `docs/conformance.md` is true: every line of the checklist has tests
//! that name it, and every test that it names exists.

use std::collections::BTreeSet;
use std::path::Path;

/// How many lines the checklist has.
const LINES: usize = 13;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The modules whose tests begin with the number of a line.
const BY_NUMBER: &str = "tests/tests/it/conformance/";

/// A test as the document names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    line: usize,
    file: String,
    test: String,
}

/// The tests that a document names, and the numbers of its headings.
fn read(document: &str) -> (Vec<usize>, Vec<Named>) {
    let (mut headings, mut named) = (Vec::new(), Vec::new());
    // The file that the bullet began with; none outside a list.
    let mut file = None;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let number: Option<usize> = heading
                .split_once(". ")
                .and_then(|(number, _)| number.parse().ok());
            headings.extend(number);
        }
        if !line.starts_with("  ") {
            file = None;
        }
        for word in line.split('`').skip(1).step_by(2) {
            match &file {
                None if line.starts_with("* ") => file = Some(word.to_owned()),
                None => {}
                Some(file) => named.push(Named {
                    line: headings.last().copied().unwrap_or_default(),
                    file: file.clone(),
                    test: word.to_owned(),
                }),
            }
        }
    }
    (headings, named)
}

fn document() -> (Vec<usize>, Vec<Named>) {
    read(&source("docs/conformance.md"))
}

fn source(file: &str) -> String {
    let path = Path::new(ROOT).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tests of a file: functions marked as such, and those that the macro for
/// the scripts of the real clients makes.
fn tests_of(text: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if let Some((name, client)) = line.split_once(": ")
            && ["python ", "javascript "]
                .iter()
                .any(|start| client.starts_with(start))
        {
            tests.insert(name.to_owned());
        }
        let function = line
            .strip_prefix("fn ")
            .or_else(|| line.strip_prefix("async fn "));
        if let Some((name, _)) = function
            .filter(|_| marked)
            .and_then(|rest| rest.split_once('('))
        {
            tests.insert(name.to_owned());
        }
        // Attributes and comments may stand between the mark and the function.
        marked = line == "#[test]"
            || line == "#[tokio::test]"
            || (marked && (line.starts_with('#') || line.starts_with("//")));
    }
    tests
}

#[test]
fn every_line_has_tests_that_name_it() {
    let (headings, named) = document();
    assert_eq!(headings, (1..=LINES).collect::<Vec<_>>());
    for line in headings {
        let prefix = format!("line_{line:02}_");
        let own = named.iter().filter(|named| named.line == line);
        assert!(
            own.clone().any(|named| named.test.starts_with(&prefix)),
            "no test of line {line} begins with {prefix}"
        );
    }
}

#[test]
fn every_test_that_the_document_names_exists() {
    let (_, named) = document();
    assert!(named.len() > LINES, "{named:?}");
    for Named { line, file, test } in named {
        let found = tests_of(&source(&file));
        assert!(
            found.contains(&test),
            "line {line}: {file} has no test {test}"
        );
        let number = test.strip_prefix("line_").and_then(|rest| rest.get(..2));
        assert!(
            number.is_none_or(|number| number.parse() == Ok(line)),
            "{test} stands under line {line}"
        );
    }
}

#[test]
fn every_numbered_test_is_in_the_document() {
    let (_, named) = document();
    let named: BTreeSet<(&str, &str)> = named
        .iter()
        .map(|named| (named.file.as_str(), named.test.as_str()))
        .collect();
    for module in ["answers", "bodies", "files", "running"] {
        let file = format!("{BY_NUMBER}{module}.rs");
        for test in tests_of(&source(&file)) {
            assert!(
                named.contains(&(file.as_str(), test.as_str())),
                "{file}: {test}"
            );
        }
    }
}

#[test]
fn documents_and_sources_are_read_as_meant() {
    let text = "## 1. One `x`\n\nNot `this`.\n\n* `a.rs`: `one`,\n  `two`\n\n## 2. Two\n* `b.rs`: `three`\n";
    let (headings, named) = read(text);
    let named: Vec<_> = named
        .iter()
        .map(|n| (n.line, n.file.as_str(), n.test.as_str()))
        .collect();
    assert_eq!(headings, [1, 2]);
    assert_eq!(
        named,
        [(1, "a.rs", "one"), (1, "a.rs", "two"), (2, "b.rs", "three")]
    );
    let source =
        "#[test]\n// why\n#[ignore]\nfn yes() {\n}\nfn no() {}\n    by_macro: python \"x.py\";\n";
    let expected = ["by_macro", "yes"].map(str::to_owned);
    assert_eq!(tests_of(source), BTreeSet::from(expected));
}
