//! The mount in user space, beside a local directory: what a job sees.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use lote_tests::ganesha::Server;
use lote_tests::processes::{processor_seconds, signal};
use nix::sys::signal::Signal;

use super::{LARGE, SMALL, rate};
use crate::figure::Figure;

/// The mount's program, unmounted when dropped.
struct Mount(Child);

impl Drop for Mount {
    fn drop(&mut self) {
        signal(&self.0, Signal::SIGTERM).ok();
        drop(self.0.wait());
    }
}

fn mount(server: &Server, mountpoint: &Path) -> Mount {
    let lote = std::env::var("LOTE_BINARY").unwrap_or_else(|_| "lote".to_owned());
    let mut program = Command::new(&lote)
        .args(["nfs-mount", "--server", "127.0.0.1"])
        .args(["--port", &server.port.to_string()])
        .args(["--mount-port", &server.mount_port.to_string()])
        .arg("--export")
        .arg(server.data())
        .arg(mountpoint)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{lote} does not start: {error}"));
    let output = program.stdout.take();
    let mount = Mount(program);
    let mut line = String::new();
    if let Some(output) = output {
        BufReader::new(output).read_line(&mut line).ok();
    }
    assert_eq!(line, "mounted\n", "the mount tells that it is there");
    mount
}

/// One run on the mount and one on the disk beside it.
pub(super) fn measure(server: &Server, limit: f64) -> Vec<Figure> {
    let folder = tempfile::tempdir()
        .unwrap_or_else(|error| panic!("there is no place for a mount: {error}"));
    let mount = mount(server, folder.path());
    let local = server.data().join("local");
    let there = folder.path().join("there");
    for path in [&local, &there] {
        fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let mut figures = Vec::new();
    for (name, path) in [("mount in user space", &there), ("local directory", &local)] {
        let process = mount.0.id();
        let before = processor_seconds(process);
        let speed = write(&path.join("large"));
        let writing = processor_seconds(process) - before;
        let figure = |what: &str, value, unit| {
            Figure::new(format!("storage: {what}, {name}"), value, unit, limit)
        };
        figures.push(
            figure("write of 1 GiB by 1 MiB", speed, "MiB/s")
                .note(format!("with fsync; {writing:.2} s of the mount's program")),
        );
        let before = processor_seconds(process);
        let speed = read(&path.join("large"));
        let reading = processor_seconds(process) - before;
        figures.push(
            figure("read of 1 GiB by 1 MiB", speed, "MiB/s").note(format!(
                "{reading:.2} s of the mount's program; the server, or the local directory, has it in memory"
            )),
        );
        let start = Instant::now();
        small(path);
        figures.push(
            figure("small files created and written", rate(SMALL)(start), "/s")
                .note("one after another, closed; the local ones are not made durable"),
        );
    }
    figures
}

fn write(path: &Path) -> f64 {
    let data = vec![0x5a_u8; 1 << 20];
    let start = Instant::now();
    let mut file = File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let written = (0..LARGE).try_for_each(|_| file.write_all(&data));
    written
        .and_then(|()| file.sync_all())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    drop(file);
    f64::from(LARGE) / start.elapsed().as_secs_f64()
}

fn read(path: &Path) -> f64 {
    let mut data = vec![0; 1 << 20];
    let start = Instant::now();
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut total = 0;
    loop {
        match file.read(&mut data) {
            Ok(0) => break,
            Ok(read) => total += read,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
    assert_eq!(total, (LARGE as usize) << 20);
    f64::from(LARGE) / start.elapsed().as_secs_f64()
}

fn small(folder: &Path) {
    for number in 0..SMALL {
        let path = folder.join(format!("small-{number}"));
        fs::write(&path, [0x5a; 4096])
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
