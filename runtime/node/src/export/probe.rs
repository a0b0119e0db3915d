//! Asks an NFS server for a directory as a client of version 4 does: the only proof that it is
//! served. One request, from a privileged port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Ports that only root may use, and that have no well-known services.
const PORTS: std::ops::RangeInclusive<u16> = 700..=1023;

/// The largest answer that makes sense.
const ANSWER_BYTES_MAX: u32 = 4096;

/// Marks the last, here the only, fragment of a message.
const LAST_FRAGMENT: u32 = 1 << 31;

/// What the server says of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It can be mounted from here.
    Served,
    /// It is not there, or not for us.
    Absent,
}

/// Asks the server at `address` for `path`.
pub(super) async fn ask(address: SocketAddr, path: &Path) -> io::Result<Answer> {
    let asked = async {
        let mut stream = connect(address).await?;
        let request = request(path);
        let length = u32::try_from(request.len()).map_err(io::Error::other)?;
        let mut message = (length | LAST_FRAGMENT).to_be_bytes().to_vec();
        message.extend(request);
        stream.write_all(&message).await?;
        let header = stream.read_u32().await?;
        let length = header & !LAST_FRAGMENT;
        if length > ANSWER_BYTES_MAX {
            return Err(malformed());
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).await?;
        read(&answer).ok_or_else(malformed)
    };
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no answer of NFS")
}

/// From a privileged port: the server answers no others.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for port in PORTS.rev() {
        let (socket, any): (_, IpAddr) = match address {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
        };
        socket.set_reuseaddr(true)?;
        // Or the port could not be used again for a minute.
        socket.set_zero_linger()?;
        let connected = match socket.bind(SocketAddr::new(any, port)) {
            Ok(()) => socket.connect(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            // Of an earlier question, or somebody else's.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                ) =>
            {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const NFS_PROGRAM: u32 = 100_003;
const NFS_VERSION: u32 = 4;
const COMPOUND: u32 = 1;
const AUTH_SYS: u32 = 1;
const PUT_ROOT_HANDLE: u32 = 24;
const LOOK_UP: u32 = 15;

/// `COMPOUND { PUTROOTFH, LOOKUP … }` (RFC 7530), as root.
fn request(path: &Path) -> Vec<u8> {
    let mut message = Message::default();
    message.words(&[1, CALL, RPC_VERSION, NFS_PROGRAM, NFS_VERSION, COMPOUND]);
    // Who asks: a time stamp, a machine's name, user, group, no further groups.
    let mut who = Message::default();
    who.word(0);
    who.text(b"lote");
    who.words(&[0, 0, 0]);
    message.word(AUTH_SYS);
    message.text(&who.0);
    // No verifier, no tag, minor version 0.
    message.words(&[0, 0, 0, 0]);
    let names: Vec<&[u8]> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.as_encoded_bytes()),
            _ => None,
        })
        .collect();
    message.word(
        u32::try_from(names.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1),
    );
    message.word(PUT_ROOT_HANDLE);
    for name in names {
        message.word(LOOK_UP);
        message.text(name);
    }
    message.0
}

/// XDR (RFC 4506): everything in units of four bytes.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn word(&mut self, word: u32) {
        self.0.extend(word.to_be_bytes());
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.word(*word);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.word(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The status of the whole; `None` for what is no answer to the question.
fn read(answer: &[u8]) -> Option<Answer> {
    let mut words = answer
        .chunks_exact(4)
        .filter_map(|bytes| bytes.try_into().ok().map(u32::from_be_bytes));
    let head: [u32; 3] = [words.next()?, words.next()?, words.next()?];
    match head {
        [1, REPLY, 0] => {}
        // Denied, as a whole.
        [1, REPLY, _] => return Some(Answer::Absent),
        _ => return None,
    }
    // The verifier: its kind and its length.
    let verifier = [words.next()?, words.next()?];
    let padding = verifier[1].div_ceil(4) as usize;
    let mut words = words.skip(padding);
    match words.next()? {
        0 => {}
        _ => return Some(Answer::Absent),
    }
    Some(match words.next()? {
        0 => Answer::Served,
        _ => Answer::Absent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_the_standard_says() {
        let bytes = request(Path::new("/ab/c"));
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
            .collect();
        let text = |text: &[u8; 4]| u32::from_be_bytes(*text);
        let expected = [
            // Call 1 of procedure 1, version 4, program 100003, by RPC 2.
            1,
            0,
            2,
            100_003,
            4,
            1, //
            // AUTH_SYS: 24 bytes.
            1,
            24,
            0,
            4,
            text(b"lote"),
            0,
            0,
            0, //
            // No verifier, no tag, minor version 0, three operations.
            0,
            0,
            0,
            0,
            3, //
            24,
            15,
            2,
            text(b"ab\0\0"),
            15,
            1,
            text(b"c\0\0\0"),
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn an_answer_is_yes_or_no() {
        let of = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            read(&bytes)
        };
        assert_eq!(of(&[1, 1, 0, 0, 0, 0, 0, 0, 3]), Some(Answer::Served));
        // A verifier of five bytes.
        let padded = of(&[1, 1, 0, 6, 5, 9, 9, 0, 0]);
        assert_eq!(padded, Some(Answer::Served));
        // NFS4ERR_NOENT; program unavailable; denied.
        assert_eq!(of(&[1, 1, 0, 0, 0, 0, 2, 0, 1]), Some(Answer::Absent));
        assert_eq!(of(&[1, 1, 0, 0, 0, 1]), Some(Answer::Absent));
        assert_eq!(of(&[1, 1, 1, 1, 1]), Some(Answer::Absent));
        for broken in [&[][..], &[2, 1, 0, 0, 0, 0, 0], &[1, 0, 0], &[1, 1, 0, 0]] {
            assert_eq!(of(broken), None);
        }
    }
}
