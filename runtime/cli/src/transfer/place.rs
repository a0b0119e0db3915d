//! Paths on a file server and below one of them, and whether links stay inside.

/// A path on a file server, brought into one form: no `/` at its ends, `.` for the
/// file server itself.
pub fn remote(text: &str) -> String {
    let parts = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<&str> = parts.collect();
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

/// A name below a path on a file server.
pub fn below(directory: &str, name: &str) -> String {
    match directory {
        "." | "" => name.to_owned(),
        _ => format!("{directory}/{name}"),
    }
}

/// The directory that holds a path, and the last part.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((".", path))
}

/// Whether a path as typed can only be a directory.
pub fn names_a_directory(text: &str) -> bool {
    remote(text) == "." || text.ends_with('/') || text.ends_with("/.")
}

/// Whether a name can be that of a file here: names that a daemon tells are not
/// believed to be harmless.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0'])
}

/// Whether a link in `directory`, a path below the top of a tree, stays in that tree.
pub fn stays_inside(directory: &str, target: &str) -> bool {
    if target.starts_with('/') || target.is_empty() {
        return false;
    }
    let mut depth = remote(directory)
        .split('/')
        .filter(|part| *part != ".")
        .count();
    for part in target
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        depth = match (part, depth) {
            ("..", 0) => return false,
            ("..", _) => depth - 1,
            _ => depth + 1,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (text, form) in [
            ("/", "."),
            ("", "."),
            ("/a//b/", "a/b"),
            ("./a/.", "a"),
            ("a b", "a b"),
        ] {
            assert_eq!(remote(text), form, "{text}");
        }
        assert_eq!(
            (below(".", "a"), below("a/b", "c")),
            ("a".into(), "a/b/c".into())
        );
        assert_eq!((split("a"), split("a/b/c")), ((".", "a"), ("a/b", "c")));
        assert!(names_a_directory("a/") && names_a_directory("/") && !names_a_directory("a/b"));
    }

    #[test]
    fn links_are_followed_on_paper_only() {
        for (directory, target, inside) in [
            (".", "a", true),
            (".", "..", false),
            ("a/b", "../../c", true),
            ("a/b", "../../../c", false),
            ("a", "b/../../c", true),
            ("a", "b/../../../c", false),
            ("a", "/a", false),
            ("a", "", false),
        ] {
            assert_eq!(
                stays_inside(directory, target),
                inside,
                "{directory} {target}"
            );
        }
    }

    #[test]
    fn names_from_afar_lead_nowhere() {
        for bad in ["", ".", "..", "a/b", "/a", "a\0"] {
            assert!(!is_plain_name(bad), "{bad}");
        }
        assert!(is_plain_name("ü b") && is_plain_name("..."));
    }
}
