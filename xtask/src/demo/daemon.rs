//! The daemon of the demo.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::command;
use crate::demo::folder::Folder;
use crate::error::Error;
use crate::install;

/// How long the daemon may take to answer for the first time. It takes well
/// below a second; a loaded machine may be slower.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A running daemon; stopped when dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    lote: PathBuf,
    address: SocketAddr,
    /// What it prints.
    pub(super) log: PathBuf,
    child: RefCell<Child>,
}

impl Daemon {
    /// Starts `lote node` in a folder and waits until it is ready.
    pub(super) fn start(lote: &Path, folder: &Folder) -> Result<Self, Error> {
        super::announce("starting the daemon");
        let address = free_address()?;
        let log = folder.path.join("daemon.log");
        let mut node = Command::new(lote);
        node.args(["node", "--listen", &address.to_string(), "--data-dir"])
            .arg(folder.path.join("data"));
        if !install::is_root() {
            println!("not root: jobs run without isolation (--isolation none)");
            node.args(["--isolation", "none"]);
        }
        println!("{}", command::line(&node));
        let output = File::create(&log).map_err(Error::file("create", &log))?;
        let errors = output.try_clone().map_err(Error::file("open", &log))?;
        let child = node
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::Start {
                command: command::line(&node),
                source,
            })?;
        let daemon = Self {
            lote: lote.to_owned(),
            address,
            log,
            child: RefCell::new(child),
        };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// A client's command line for this daemon.
    pub(super) fn client(&self, arguments: &[&str]) -> Command {
        let mut client = Command::new(&self.lote);
        client
            .args(arguments)
            .env("LOTE_URL", format!("http://{}", self.address))
            // What the user set for other daemons does not concern this one.
            .env_remove("LOTE_TOKEN")
            .env_remove("LOTE_GROUP")
            .env_remove("LOTE_WORKSPACE")
            .env_remove("LOTE_OUTPUT");
        client
    }

    /// Ends a job that may still run: jobs outlive the daemon.
    pub(super) fn end_job(&self, job: &str) {
        // It may have ended already, or never have existed.
        command::succeeds(&mut self.client(&["job", "terminate", job, "--yes"]));
    }

    /// Stops the daemon and waits for its end.
    pub(super) fn stop(self) -> Result<(), Error> {
        super::announce("stopping the daemon");
        match self.terminate() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Other(format!(
                "the daemon did not end within {} s of SIGTERM and was killed",
                STOP_LIMIT.as_secs()
            ))),
            Err(source) => Err(Error::Start {
                command: "the end of the daemon".into(),
                source,
            }),
        }
    }

    /// SIGTERM, time to end, then SIGKILL; whether it ended by itself.
    fn terminate(&self) -> std::io::Result<bool> {
        let mut child = self.child.borrow_mut();
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        // The standard library knows only SIGKILL.
        let pid = child.id().to_string();
        command::succeeds(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]));
        Ok(command::wait_within(&mut child, STOP_LIMIT)?.is_some())
    }

    fn wait_until_ready(&self) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        while !is_ready(self.address) {
            let ended = self.child.borrow_mut().try_wait();
            let why = match ended {
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                Ok(Some(status)) => format!("the daemon ended at once ({status})"),
                _ => format!("the daemon was not ready after {} s", START_LIMIT.as_secs()),
            };
            let log = command::read_lossy(&self.log)?;
            let said = command::last_characters(&log);
            return Err(Error::Other(format!("{why}; its log:\n{said}")));
        }
        println!("ready at http://{}", self.address);
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whatever led here is being reported already.
        let _ = self.terminate();
    }
}

/// An address that nobody listens on at the moment.
fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Error::file("listen on", "127.0.0.1"))
}

/// Whether `/readyz` answers 200.
fn is_ready(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let request =
            format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        // One write: in several, an answer to the first could close the connection before the others.
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_status_200_is_ready() {
        for (status, ready) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                // Whole: closing with bytes unread would reset the connection and lose the answer.
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            });
            assert_eq!(is_ready(address), ready, "{status}");
            server.join().unwrap();
        }
    }

    #[test]
    fn nobody_listening_is_not_ready() {
        assert!(!is_ready(free_address().unwrap()));
    }
}
