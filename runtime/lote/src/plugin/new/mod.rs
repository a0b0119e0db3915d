//! `lote plugin new`: a project that builds at once. Its files are in the program, the
//! contract and the SDK of this very version among them, so that nothing has to be found
//! anywhere else.

mod files;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use lote_cli::args::plugin::{Language, PluginNewArgs};
use serde_json::json;

use super::{Error, Terminal, verdict};

/// What stands for the plugin's name in the files.
const NAME: &str = "{{name}}";
/// What stands for the name of its Rust library.
const LIBRARY: &str = "{{library}}";

/// A file of a project.
struct Template {
    path: &'static str,
    text: &'static str,
}

/// Writes the project into a new folder.
pub(super) fn run(terminal: &Terminal, args: &PluginNewArgs) -> Result<ExitCode, Error> {
    if !is_name(&args.name) {
        return Err(Error::Name(args.name.clone()));
    }
    let folder = Path::new(&args.name);
    if folder.exists() {
        return Err(Error::Exists(folder.to_owned()));
    }
    let files = files_of(args.language);
    for file in &files {
        write(&folder.join(file.path), &filled(file.text, &args.name))?;
    }
    let paths: Vec<&str> = files.iter().map(|file| file.path).collect();
    let value = json!({"folder": folder, "files": paths});
    terminal.print(&value, || {
        format!(
            "wrote {} files into {}/; its README.md says how to go on\n",
            paths.len(),
            folder.display()
        )
    });
    Ok(verdict(true))
}

fn files_of(language: Language) -> Vec<Template> {
    let (own, sdk): (&[Template], &[Template]) = match language {
        Language::Rust => (files::RUST, files::SDK),
        Language::Python => (files::PYTHON, &[]),
        Language::Javascript => (files::JAVASCRIPT, &[]),
    };
    own.iter()
        .chain(sdk)
        .chain(files::COMMON)
        .map(|file| Template {
            path: file.path,
            text: file.text,
        })
        .collect()
}

/// A plugin's name that can be a package's as well.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits)
}

/// The SDK finds the contract beside itself in a project, and at its place in the tree here.
fn filled(text: &str, name: &str) -> String {
    text.replace(NAME, name)
        .replace(LIBRARY, &name.replace('-', "_"))
        .replace("path: \"../../wit/0.1\"", "path: \"wit\"")
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error::File {
        action: "write",
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_plugins_and_packages() {
        for name in ["ray", "my-ray2"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "Ray", "2ray", "-ray", "a/b", "..", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn nothing_is_left_to_be_filled_in() {
        for language in [Language::Rust, Language::Python, Language::Javascript] {
            for file in files_of(language) {
                let text = filled(file.text, "my-ray");
                assert!(!text.contains("{{"), "{}", file.path);
                assert!(!text.contains("../../wit"), "{}", file.path);
            }
        }
    }

    #[test]
    fn the_sdk_is_in_a_project_whole() {
        let files = files_of(Language::Rust);
        let paths: Vec<&str> = files.iter().map(|file| file.path).collect();
        for path in [
            "sdk/src/lib.rs",
            "sdk/src/bindings.rs",
            "sdk/wit/framework.wit",
        ] {
            assert!(paths.contains(&path), "{path}: {paths:?}");
        }
        let mut once = paths.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), paths.len(), "{paths:?}");
    }
}
