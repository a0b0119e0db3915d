//! The NFS servers that can be run in user space, side by side: the same directory of the same disk, the same client.
//!
//! * `passthrough` — the other candidate, the crate `nfs3_server` over a directory; in a process of its own, for its account.
//! * `client` — connections that share the work.
//! * `mounted` — the mount in user space, beside a local directory.

mod client;
mod mounted;
mod passthrough;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use lote_tests::ganesha::{self, Server};
use lote_tests::processes::processor_seconds;

pub(crate) use passthrough::{SUBCOMMAND, serve};

use crate::figure::Figure;
use crate::machine::{Machine, fork_limit};
use crate::statistics::median;
use client::Client;
use passthrough::Passthrough;

/// How often each server is measured, in turn.
const ROUNDS: usize = 3;

/// The size of the large file, in MiB.
const LARGE: u32 = 1024;

/// Small files of 4 KiB.
const SMALL: usize = 2_000;

/// Entries of the large directory.
const ENTRIES: usize = 10_000;

/// Why it cannot be measured here.
pub(crate) fn missing() -> Option<String> {
    ganesha::missing()
}

/// What was measured of a server, by name.
type Values = BTreeMap<&'static str, Vec<f64>>;

/// Both servers in turn, then the mount.
pub(crate) fn measure(_machine: &Machine) -> Vec<Figure> {
    let Some(ganesha) = Server::start("storage") else {
        return vec![];
    };
    let data = ganesha.data();
    fill(&data);
    let other = Passthrough::start(&data);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap_or_else(|error| panic!("a client needs a runtime: {error}"));
    let path = data.to_string_lossy().into_owned();
    let servers = [
        (
            "Ganesha",
            ganesha.process(),
            ganesha.port,
            ganesha.mount_port,
            path,
        ),
        (
            "nfs3_server",
            other.process(),
            other.port,
            other.port,
            "/".to_owned(),
        ),
    ];
    let mut values: BTreeMap<&str, Values> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (name, process, port, mount_port, export) in &servers {
            let measured = runtime.block_on(round(*process, (*port, *mount_port), export));
            for (what, value) in measured {
                values
                    .entry(name)
                    .or_default()
                    .entry(what)
                    .or_default()
                    .push(value);
            }
        }
    }
    let limit = fork_limit();
    let mut figures = Vec::new();
    for what in NAMES {
        for (name, ..) in &servers {
            let runs = values.get(name).and_then(|all| all.get(what.0));
            let runs = runs.map(Vec::as_slice).unwrap_or_default();
            let spread = runs
                .iter()
                .map(|run| format!("{run:.2}"))
                .collect::<Vec<_>>();
            figures.push(
                Figure::new(
                    format!("storage: {}, {name}", what.0),
                    median(runs),
                    what.1,
                    limit,
                )
                .note(format!("runs: {}", spread.join(" "))),
            );
        }
    }
    drop(other);
    figures.extend(mounted::measure(&ganesha, limit));
    figures
}

const WRITE: &str = "write of 1 GiB by 1 MiB";
const WRITE_TIME: &str = "processor of the server per GiB written";
const READ: &str = "read of 1 GiB by 1 MiB";
const READ_TIME: &str = "processor of the server per GiB read";
const CREATE: &str = "small files created and written";
const LOOK: &str = "small files looked up, with attributes";
const LIST: &str = "entries listed of 10,000";
const REMOVE: &str = "small files removed";

/// What is measured, and in what.
const NAMES: [(&str, &str); 8] = [
    (WRITE, "MiB/s"),
    (WRITE_TIME, "s"),
    (READ, "MiB/s"),
    (READ_TIME, "s"),
    (CREATE, "/s"),
    (LOOK, "/s"),
    (LIST, "/s"),
    (REMOVE, "/s"),
];

/// A large directory, in the export.
fn fill(data: &Path) {
    let many = data.join("many");
    let made = fs::create_dir(&many)
        .and_then(|()| fs::set_permissions(&many, fs::Permissions::from_mode(0o777)));
    let made = made.and_then(|()| {
        (0..ENTRIES).try_for_each(|number| {
            fs::File::create(many.join(format!("entry-{number:05}"))).map(drop)
        })
    });
    made.unwrap_or_else(|error| panic!("{} cannot be filled: {error}", data.display()));
}

async fn round(process: u32, ports: (u16, u16), export: &str) -> Vec<(&'static str, f64)> {
    let client = Client::connect(ports, export).await;
    let mut values = Vec::new();
    let large = client.create("large").await;
    let per_gib = 1024.0 / f64::from(LARGE);

    let (start, before) = (Instant::now(), processor_seconds(process));
    client.write(&large, LARGE).await;
    let seconds = start.elapsed().as_secs_f64();
    values.push((WRITE, f64::from(LARGE) / seconds));
    values.push((WRITE_TIME, (processor_seconds(process) - before) * per_gib));

    let (start, before) = (Instant::now(), processor_seconds(process));
    client.read(&large, LARGE).await;
    let seconds = start.elapsed().as_secs_f64();
    values.push((READ, f64::from(LARGE) / seconds));
    values.push((READ_TIME, (processor_seconds(process) - before) * per_gib));
    client.remove("large").await;

    let small = rate(SMALL);
    let start = Instant::now();
    client.create_small(SMALL).await;
    values.push((CREATE, small(start)));
    let start = Instant::now();
    client.look_up_small(SMALL).await;
    values.push((LOOK, small(start)));
    let start = Instant::now();
    let listed = client.list("many").await;
    // With "." and "..", if the server names them.
    assert!(
        (ENTRIES..=ENTRIES + 2).contains(&listed),
        "{listed} entries"
    );
    values.push((LIST, rate(listed)(start)));
    let start = Instant::now();
    client.remove_small(SMALL).await;
    values.push((REMOVE, small(start)));
    values
}

/// Operations per second since a time.
fn rate(count: usize) -> impl Fn(Instant) -> f64 {
    let count = u32::try_from(count).map_or(0.0, f64::from);
    move |start| count / start.elapsed().as_secs_f64()
}
