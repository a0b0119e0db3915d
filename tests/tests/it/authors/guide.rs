//! `docs/writing-a-plugin.md`: what it tells to type is typed here.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

use lote_tests::client::Client;
use lote_tests::{PATIENCE, wait_for};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::workshop::Workshop;

/// What a fenced block of the guide is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Typed, in order.
    Commands,
    /// Typed in a terminal of its own, and left running.
    Daemon,
}

/// The blocks of commands, in order.
fn blocks(text: &str) -> Vec<(Kind, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let typed = match fence {
            "sh" => Some(Kind::Commands),
            "sh daemon" => Some(Kind::Daemon),
            _ => None,
        };
        let is_shown = ["console", "json"].contains(&fence);
        assert!(
            typed.is_some() || is_shown,
            "a block of the kind '{fence}' is neither typed nor shown"
        );
        blocks.extend(typed.map(|kind| (kind, block.join("\n"))));
    }
    blocks
}

/// Ends with everything that it started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).expect("a process id");
        killpg(Pid::from_raw(group), Signal::SIGTERM).ok();
        drop(self.0.wait());
    }
}

#[test]
fn every_command_of_the_guide_works() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/writing-a-plugin.md");
    let blocks = blocks(&std::fs::read_to_string(guide).unwrap());
    let workshop = Workshop::new();
    let mut daemons = Vec::new();
    // One shell, as the reader has; it says which block it is at.
    let mut script = String::new();
    for (number, (kind, block)) in blocks.iter().enumerate() {
        match kind {
            Kind::Daemon => {
                assert!(script.is_empty(), "the daemon comes first");
                let mut command = workshop.bash(&format!("exec {block}"));
                let log = std::fs::File::create(workshop.path("log")).unwrap();
                command.process_group(0).stdin(Stdio::null());
                command.stdout(Stdio::null()).stderr(log);
                daemons.push(Running(command.spawn().unwrap()));
            }
            Kind::Commands => {
                writeln!(script, "echo '=== block {number}'\nset -x\n{block}").unwrap();
                script.push_str("{ set +x; } 2>/dev/null\n");
            }
        }
    }
    assert_eq!(daemons.len(), 1);
    assert!(blocks.len() > 8, "{}", blocks.len());
    let client = Client::new(format!("http://127.0.0.1:{}", workshop.port));
    wait_for("the daemon", PATIENCE, || {
        let answer = client.try_send("GET", "/readyz", None);
        answer.filter(|answer| answer.status == 200)
    });

    let said = workshop.run(&script);
    for word in [
        "example    ok",
        "1  node-1 (10.0.0.5)",
        "process 0 of 2",
        "process 1 of 2",
        "two-nodes",
    ] {
        assert!(said.contains(word), "'{word}' is not in:\n{said}");
    }
    let chosen = |job: &str| {
        let path = format!("/v1/groups/default/workspaces/default/experiments/default/jobs/{job}");
        let properties = client.job(&path);
        assert_eq!(properties["executionState"], "succeeded", "{properties}");
        assert_eq!(
            properties["toolType"],
            properties["lote"]["framework"]["name"]
        );
        let framework = &properties["lote"]["framework"];
        format!(
            "{}@{}",
            framework["name"].as_str().unwrap(),
            framework["version"].as_str().unwrap()
        )
    };
    assert_eq!(chosen("first"), "hello@0.1.0");
    assert_eq!(chosen("hello-rust"), "hello-rust@0.1.0");
    assert_eq!(chosen("hello-js"), "hello-js@0.1.0");
    assert_eq!(chosen("new"), "hello-js@0.2.0");
    assert_eq!(chosen("old"), "hello-js@0.1.0");
    // What was installed last and taken away is gone soon, without a restart.
    wait_for("the removed version to go", PATIENCE, || {
        let list = client.get("/v1/plugins").text;
        (!list.contains("\"0.2.0\"")).then_some(())
    });
}
