//! Which files of a job are streams of its processes, and whose.

use std::collections::BTreeSet;

/// To which of the terminal's streams a file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A file that a process's stream goes to, after its name (capabilities §7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFile {
    /// Which stream.
    pub target: Target,
    /// Whose: `0` of `stdout-0.txt`; empty for `stdout.txt`.
    pub label: String,
}

impl StreamFile {
    /// Reads a file's name. None for other files of the directory.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".txt")?;
        let (target, rest) = match (stem.strip_prefix("stdout"), stem.strip_prefix("stderr")) {
            (Some(rest), _) => (Target::Out, rest),
            (None, Some(rest)) => (Target::Err, rest),
            (None, None) => return None,
        };
        let label = match rest.strip_prefix('-') {
            Some(label) => label,
            None if rest.is_empty() => "",
            None => return None,
        };
        Some(Self {
            target,
            label: label.to_owned(),
        })
    }

    /// Any file a user named: its stream if it is one, else standard output.
    pub fn named(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self {
            target: Target::Out,
            label: String::new(),
        })
    }

    fn is_preparation(&self) -> bool {
        self.label == "job_prep"
    }
}

/// Whether lines of these files need a label. The preparation of a single node
/// ends before its process begins, so the two are never mixed.
pub fn need_labels<'a>(names: impl IntoIterator<Item = &'a str>) -> bool {
    let labels: BTreeSet<String> = names
        .into_iter()
        .filter_map(StreamFile::parse)
        .filter(|file| !file.is_preparation())
        .map(|file| file.label)
        .collect();
    labels.len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_names_are_streams() {
        let file = |target, label: &str| {
            Some(StreamFile {
                target,
                label: label.into(),
            })
        };
        assert_eq!(StreamFile::parse("stdout.txt"), file(Target::Out, ""));
        assert_eq!(StreamFile::parse("stderr-0.txt"), file(Target::Err, "0"));
        assert_eq!(
            StreamFile::parse("stdout-wk-1.txt"),
            file(Target::Out, "wk-1")
        );
        for other in ["execution.log", "stdoutx.txt", "stdout-0.log", "model.txt"] {
            assert_eq!(StreamFile::parse(other), None, "{other}");
        }
    }

    #[test]
    fn one_process_needs_no_label() {
        assert!(!need_labels([
            "stdout.txt",
            "stderr.txt",
            "stdout-job_prep.txt",
            "execution.log"
        ]));
        assert!(!need_labels(["stdout-0.txt", "stderr-0.txt"]));
        assert!(need_labels(["stdout-0.txt", "stdout-1.txt"]));
    }
}
