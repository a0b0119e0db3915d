//! `lote-rsh`: starts a command on another node of the job, as `rsh` and `ssh` would.
//!
//! * `arguments` — the command line, with the options of ssh that launchers pass.
//! * `connection` — the daemon's socket, also across a restart of the daemon.
//! * `signals` — what this process is told goes to the command.

mod arguments;
mod connection;
#[allow(dead_code, reason = "the daemons' half of it")]
#[allow(
    unreachable_pub,
    reason = "the library shows the same file to the daemons"
)]
mod protocol;
mod signals;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arguments::Arguments;
use connection::{Connection, Received};
use protocol::{CHUNK_BYTES, FRAME_BYTES_MAX, NOT_STARTED, Start, StartId};

/// How long a daemon that is not there is waited for before anything was started.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// The same once the command runs. The daemon there ends it when nobody has asked for it this
/// long.
const PATIENCE: Duration = Duration::from_mins(5);

/// The pause between tries.
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "lote-rsh: {reason}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn run() -> Result<u8, String> {
    // Before there is another thread, so that all have it.
    let signals = signals::hold_back();
    let arguments = arguments::parse(std::env::args_os().skip(1))?;
    let start = start(&arguments)?;
    let connection = Arc::new(Connection::new(start.encode()));
    let forwarded = Arc::clone(&connection);
    std::thread::spawn(move || {
        while let Some(signal) = signals.next() {
            if !forwarded.signal(signal) {
                // The daemon ends the command when nobody asks for it any more.
                std::process::exit(128 + i32::from(signal));
            }
        }
    });
    if start.has_input {
        let fed = Arc::clone(&connection);
        std::thread::spawn(move || feed(&fed));
    }
    follow(&connection)
}

fn start(arguments: &Arguments) -> Result<Start, String> {
    let environment = std::env::vars_os().map(|(name, value)| {
        let mut pair = name.into_vec();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        pair
    });
    let start = Start {
        id: random_id()?,
        has_input: !arguments.no_input && !is_input_empty(),
        address: arguments.address.clone(),
        command: arguments.command.clone(),
        environment: environment.collect(),
    };
    let size = start.encode().len();
    if size > FRAME_BYTES_MAX {
        return Err(format!(
            "the command and the environment take {size} bytes, more than {FRAME_BYTES_MAX}; pass \
             large values in files"
        ));
    }
    Ok(start)
}

fn random_id() -> Result<StartId, String> {
    let mut id = StartId::default();
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut id));
    read.map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    Ok(id)
}

/// Whether standard input is `/dev/null`, as launchers have it, or closed.
fn is_input_empty() -> bool {
    let input = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from);
    let Ok(found) = input.and_then(|input| input.metadata()) else {
        return true;
    };
    // The memory device with number 3 is the same on every Linux.
    found.file_type().is_char_device() && found.rdev() == (1 << 8 | 3)
}

/// Standard input to its end.
fn feed(connection: &Connection) {
    let mut input = std::io::stdin().lock();
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        match input.read(&mut bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return connection.end_input(),
            Ok(length) => connection.input(bytes.get(..length).unwrap_or_default()),
        }
    }
}

/// To the end of the command; its exit code.
fn follow(connection: &Connection) -> Result<u8, String> {
    let mut started = false;
    let mut lost_since = None;
    loop {
        let received = connection.receive();
        if !matches!(received, Received::Broken(_)) {
            lost_since = None;
        }
        match received {
            Received::Started => started = true,
            // Who reads it may be gone; the command is not told, as with ssh.
            Received::Output(bytes) => drop(write(&mut std::io::stdout().lock(), &bytes)),
            Received::Errors(bytes) => drop(write(&mut std::io::stderr().lock(), &bytes)),
            Received::Exit(code) => return Ok(code),
            Received::Refused(reason) => return Err(reason),
            Received::Broken(reason) => {
                let since = *lost_since.get_or_insert_with(Instant::now);
                let patience = if started { PATIENCE } else { START_PATIENCE };
                if since.elapsed() > patience {
                    return Err(if started {
                        format!("lost sight of the command: {reason}")
                    } else {
                        reason
                    });
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

fn write(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}
