//! Bytes over TCP, for clients that no HTTP library would be.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::daemon::Daemon;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Read and not given out yet.
    rest: Vec<u8>,
}

/// The head of an answer and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// The HTTP status code.
    pub status: u16,
    /// As it came, without the chunks of a chunked body taken apart.
    pub body: String,
}

/// The address of a daemon.
pub fn address(daemon: &Daemon) -> SocketAddr {
    let url = daemon.url();
    let address = url.strip_prefix("http://").expect("it speaks HTTP");
    address.parse().expect("it listens on an address")
}

/// A request head with an empty line at its end; `headers` without.
pub fn head(method: &str, path: &str, headers: &[&str]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: lote\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

impl Connection {
    /// A new one; the daemon must accept it.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the daemon accepts connections");
        stream.set_nodelay(true).expect("an option of TCP");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("an option of sockets");
        let rest = Vec::new();
        Self { stream, rest }
    }

    /// Sends bytes; says whether the daemon still takes them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads up to and with `end`; none if the connection ends before.
    pub fn read_until(&mut self, end: &str) -> Option<String> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let found = self
                .rest
                .windows(end.len())
                .position(|part| part == end.as_bytes());
            if let Some(at) = found {
                let bytes = self.rest.drain(..at + end.len()).collect();
                return String::from_utf8(bytes).ok();
            }
            match self.stream.read(&mut buffer) {
                Ok(read @ 1..) => self.rest.extend_from_slice(&buffer[..read]),
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Reads one answer whose length is said; none if the connection ends.
    pub fn answer(&mut self) -> Option<RawAnswer> {
        let head = self.read_until("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .unwrap_or(0);
        while self.rest.len() < length {
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(read @ 1..) => self.rest.extend_from_slice(&buffer[..read]),
                Ok(_) | Err(_) => return None,
            }
        }
        let body = String::from_utf8(self.rest.drain(..length).collect()).ok()?;
        Some(RawAnswer { status, body })
    }

    /// Reads to the end of the connection, however it ends; says how many bytes
    /// still came.
    pub fn read_to_end(&mut self) -> usize {
        let mut count = self.rest.len();
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(read @ 1..) = self.stream.read(&mut buffer) {
            count += read;
        }
        count
    }

    /// Whether the daemon has ended the connection by now. Does not wait.
    pub fn is_ended(&self) -> bool {
        match self.look() {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether something can be read by now. Does not wait.
    pub fn has_data(&self) -> bool {
        matches!(self.look(), Ok(1..))
    }

    fn look(&self) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let looked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        looked
    }

    /// Gives up waiting for bytes after this long.
    pub fn set_patience(&self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("an option of sockets");
    }
}
