//! `lote run --framework` with each framework: its processes are on both hosts and have the words of
//! the command.

use std::fs;

use super::site::Site;
use crate::load::{CLUSTER, assert_nothing_left, shared_folder};

/// A script for all of them.
const SCRIPT: &str = r#"
import os, sys
print("started on " + os.environ["AZ_BATCH_NODE_ID"] + " with " + "|".join(sys.argv[1:]))
"#;

/// Where the stand-ins for Caffe and CNTK are found.
const STAND_INS: &str = "PATH=/opt/lote-frameworks/caffe/bin:\
                         /opt/lote-frameworks/cntk-brainscript/bin:/usr/bin:/bin";

#[test]
fn lote_run_starts_a_command_with_every_framework() {
    let site = Site::start();
    let daemon = &site.lab.daemons[0];
    let script = shared_folder(&site.lab).join("script.py");
    fs::write(&script, SCRIPT).expect("a script");
    let script = script.display().to_string();
    let run = |options: &[&str], command: &[&str]| {
        let common = ["run", "--nodes", "2", "--cluster", CLUSTER];
        let words = [&common[..], options, &["--"], command].concat();
        let output = daemon.lote(&words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        (output.status.code(), said)
    };

    let command = ["/usr/bin/python3", &script, "a b", "$HOME"];
    for (options, hosts) in [
        (&["--framework", "custom"][..], &["h1"][..]),
        (&["--framework", "custommpi"], &["h1", "h2"]),
        (&["--framework", "pytorch"], &["h1", "h2"]),
        (&["--framework", "horovod"], &["h1", "h2"]),
        (&["--framework", "chainer"], &["h1", "h2"]),
        (&["--framework", "cntk"], &["h1", "h2"]),
        (&["--framework", "caffe"], &["h1", "h2"]),
        (&["--framework", "caffe2"], &["h1", "h2"]),
        (
            &[
                "--framework",
                "tensorflow",
                "--set",
                "parameterServerCount=0",
            ],
            &["h1", "h2"],
        ),
    ] {
        let (code, said) = run(options, &command);
        assert_eq!(code, Some(0), "{options:?}\n{said}");
        for host in ["h1", "h2"] {
            let line = format!("started on {host} with a b|$HOME");
            let expected = usize::from(hosts.contains(&host));
            assert_eq!(said.matches(&line).count(), expected, "{options:?}\n{said}");
        }
    }

    // The programs of the frameworks themselves, which do not find what they are to read.
    for (name, command, words) in [
        (
            "caffe",
            &["caffe", "train", "-solver", "none.prototxt"][..],
            "File not found: none.prototxt",
        ),
        ("cntk", &["cntk", "configFile=none.cntk"], "none.cntk"),
    ] {
        let options = ["--framework", name, "--processes", "2", "--env", STAND_INS];
        let (code, said) = run(&options, command);
        assert!(code.is_some_and(|code| code != 0), "{said}");
        assert!(said.contains(words), "{name}: {said}");
    }
    assert_nothing_left(&site.lab.daemons);
}
