//! What systemd says that the daemon may do.

use std::path::Path;
use std::process::Command;

use crate::image::{Image, run};

/// The page that gives a reason for what remains.
const PAGE: &str = "../../docs/deploying.md";

pub(crate) fn the_documentation_says_what_the_daemon_may() {
    let root = Image::find().unpacked_root();
    let mut analyze = Command::new("chroot");
    analyze
        .arg(root.path())
        .args(["systemd-analyze", "security"]);
    analyze.args(["--offline=true", "--no-pager", "lote.service"]);
    let said = run(&mut analyze);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(page).expect("the page");

    let overall = said.lines().find_map(|line| line.strip_prefix("→ "));
    let overall = overall.expect("a verdict").trim_end_matches([' ', '🙁']);
    assert!(page.contains(overall), "{overall}");
    let remain: Vec<&str> = said.lines().filter_map(remaining).collect();
    assert!(remain.len() > 20, "{said}");
    let unexplained = remain.iter().filter(|setting| !page.contains(**setting));
    assert_eq!(unexplained.collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// The setting of a line that says what could be taken away.
fn remaining(line: &str) -> Option<&str> {
    line.strip_prefix("✗ ")?.split('=').next()
}
