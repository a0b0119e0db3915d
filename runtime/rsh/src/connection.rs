//! The daemon's socket. When the daemon is restarted, the connection is made again and the start
//! is asked for once more; the daemon knows it by its id.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::protocol::{HEAD_BYTES, INPUT_WINDOW_BYTES, Kind, SOCKET_NAME, frame, head};

/// The way to the daemon, whether it is there or not.
pub(crate) struct Connection {
    /// The start as it is asked for.
    start: Vec<u8>,
    state: Mutex<State>,
    /// Wakes who waits for room to send input.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stream: Option<UnixStream>,
    /// How many bytes of input may be sent.
    credit: u64,
    input_ended: bool,
}

/// What came from the daemon.
pub(crate) enum Received {
    /// The command runs.
    Started,
    /// What it wrote to standard output.
    Output(Vec<u8>),
    /// What it wrote to standard error.
    Errors(Vec<u8>),
    /// It has ended.
    Exit(u8),
    /// It will not run.
    Refused(String),
    /// Nothing for now; the next try may do.
    Broken(String),
}

impl Connection {
    pub(crate) fn new(start: Vec<u8>) -> Self {
        Self {
            start,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Passes a signal on. `false` if there is no daemon to pass it to.
    pub(crate) fn signal(&self, signal: u8) -> bool {
        let mut state = self.state();
        state.send(&frame(Kind::Signal, &[signal]));
        state.stream.is_some()
    }

    /// Sends input as far as the other side has room for it.
    pub(crate) fn input(&self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        let waiting = |state: &mut State| state.stream.is_none() || state.credit < length;
        let state = self.changed.wait_while(self.state(), waiting);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.credit -= length;
        state.send(&frame(Kind::Input, bytes));
    }

    /// There is no more input.
    pub(crate) fn end_input(&self) {
        let mut state = self.state();
        state.input_ended = true;
        state.send(&frame(Kind::InputEnd, &[]));
    }

    /// Waits for the next thing from the daemon; connects if need be.
    pub(crate) fn receive(&self) -> Received {
        match self.try_receive() {
            Ok(received) => received,
            Err(error) => {
                self.state().stream = None;
                let reason = match error.kind() {
                    io::ErrorKind::InvalidData => return Received::Refused(error.to_string()),
                    io::ErrorKind::UnexpectedEof => "the node's daemon is being restarted".into(),
                    io::ErrorKind::NotFound => {
                        "there is no socket of the node's daemon beside this program; it works \
                         inside a job on several nodes only"
                            .into()
                    }
                    _ => format!("cannot reach the node's daemon: {error}"),
                };
                Received::Broken(reason)
            }
        }
    }

    fn try_receive(&self) -> io::Result<Received> {
        let mut stream = self.stream()?;
        loop {
            let mut first = [0; HEAD_BYTES];
            stream.read_exact(&mut first)?;
            let (kind, length) = head(first)?;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload)?;
            let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
            return Ok(match kind {
                Kind::Started => Received::Started,
                Kind::Output => Received::Output(payload),
                Kind::Errors => Received::Errors(payload),
                Kind::Exit => Received::Exit(payload.first().copied().unwrap_or_default()),
                Kind::Refused => Received::Refused(text(&payload)),
                Kind::Broken => {
                    self.state().stream = None;
                    Received::Broken(text(&payload))
                }
                Kind::Credit => {
                    if let Some(more) = payload.first_chunk() {
                        self.state().credit += u64::from(u32::from_le_bytes(*more));
                        self.changed.notify_all();
                    }
                    continue;
                }
                // Said in the other direction only.
                _ => continue,
            });
        }
    }

    /// The stream to read from: that which is there, or a new one on which the start was asked for.
    fn stream(&self) -> io::Result<UnixStream> {
        let mut state = self.state();
        if let Some(stream) = &state.stream {
            return stream.try_clone();
        }
        let mut stream = connect()?;
        let reader = stream.try_clone()?;
        stream.write_all(&frame(Kind::Start, &self.start))?;
        if state.input_ended {
            stream.write_all(&frame(Kind::InputEnd, &[]))?;
        }
        state.credit = u64::from(INPUT_WINDOW_BYTES);
        state.stream = Some(stream);
        self.changed.notify_all();
        Ok(reader)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What cannot be sent is found out by who reads.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(bytes);
        }
    }
}

/// The socket lies beside this program. Its path may be longer than an address can be.
fn connect() -> io::Result<UnixStream> {
    let path = directory()?.join(SOCKET_NAME);
    // What an address holds, less the byte at its end.
    if path.as_os_str().as_bytes().len() < 108 {
        return UnixStream::connect(path);
    }
    std::env::set_current_dir(directory()?)?;
    UnixStream::connect(SOCKET_NAME)
}

/// Where this program lies.
fn directory() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    program
        .parent()
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}
