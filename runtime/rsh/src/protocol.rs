//! What `lote-rsh` and the daemons say to each other: frames of a kind, a length and that many
//! bytes.
//!
//! ```text
//! lote-rsh ──▶ daemon     Start, then Input … InputEnd, Signal …
//! daemon ──▶ daemon       Asked (whose job it is), then the same; Hangup when lote-rsh is gone
//! daemon ──▶ lote-rsh     Started, then Output, Errors, Credit …, and at last Exit;
//!                         or Refused; or Broken, after which the same Start may be said again
//! ```
//!
//! Numbers are little endian. This file knows nothing but the standard library, because the
//! program is built with it alone.

/// The first byte of a [`Start`]; daemons of another version refuse it.
const VERSION: u8 = 1;

/// A kind and a length.
pub const HEAD_BYTES: usize = 5;

/// The most bytes in a frame that carries input or output.
pub const CHUNK_BYTES: usize = 32 << 10;

/// The most bytes in any frame. A command and an environment that are larger could not be
/// executed in most places.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// How many bytes of input may be on their way.
pub const INPUT_WINDOW_BYTES: u32 = 256 << 10;

/// The name of the daemon's socket, beside the program.
pub const SOCKET_NAME: &str = "socket";

/// The exit code for what could not be started, as `ssh` has it.
pub const NOT_STARTED: u8 = 255;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Start`].
    Start,
    /// Bytes for standard input.
    Input,
    /// Standard input is at its end.
    InputEnd,
    /// One byte: the number of a signal for the process.
    Signal,
    /// `lote-rsh` is gone; the process is to end.
    Hangup,
    /// Between daemons, before [`Start`](Kind::Start): an [`Asked`].
    Asked,
    /// The process runs, or ran.
    Started,
    /// Bytes of standard output.
    Output,
    /// Bytes of standard error.
    Errors,
    /// Four bytes: so many more bytes of input may be sent.
    Credit,
    /// One byte: the exit code.
    Exit,
    /// A sentence: why there is no process, and will be none.
    Refused,
    /// A sentence: what is lost for now.
    Broken,
}

const KINDS: [Kind; 13] = [
    Kind::Start,
    Kind::Input,
    Kind::InputEnd,
    Kind::Signal,
    Kind::Hangup,
    Kind::Asked,
    Kind::Started,
    Kind::Output,
    Kind::Errors,
    Kind::Credit,
    Kind::Exit,
    Kind::Refused,
    Kind::Broken,
];

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("what was sent is no message of lote-rsh of this version")
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

/// A frame with these contents; empty if they are too large.
pub fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let Some(length) = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= FRAME_BYTES_MAX)
    else {
        return Vec::new();
    };
    let code = KINDS.iter().position(|known| *known == kind);
    let mut bytes = Vec::with_capacity(HEAD_BYTES + payload.len());
    bytes.push(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    );
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What the head of a frame says: its kind and how many bytes follow.
pub fn head(bytes: [u8; HEAD_BYTES]) -> Result<(Kind, usize), Malformed> {
    let [code, length @ ..] = bytes;
    let kind = *KINDS.get(usize::from(code)).ok_or(Malformed)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| Malformed)?;
    let limit = match kind {
        Kind::Start => FRAME_BYTES_MAX,
        _ => CHUNK_BYTES,
    };
    (length <= limit).then_some((kind, length)).ok_or(Malformed)
}

/// Names one remote start: chosen at random by `lote-rsh`, so that a start that is asked for again
/// after a broken connection is known to be the same.
pub type StartId = [u8; 16];

/// What is to be started, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Which start it is.
    pub id: StartId,
    /// Whether standard input follows; without, the process reads `/dev/null`.
    pub has_input: bool,
    /// The address or the name of the node.
    pub address: Vec<u8>,
    /// A line for the shell there.
    pub command: Vec<u8>,
    /// The caller's environment, `NAME=value` each.
    pub environment: Vec<Vec<u8>>,
}

impl Start {
    /// As the contents of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::from(self.has_input)];
        bytes.extend_from_slice(&self.id);
        let texts = [&self.address, &self.command];
        for text in texts.into_iter().chain(&self.environment) {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text);
        }
        bytes
    }

    /// Reads the contents of a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let ([VERSION, has_input], rest) = bytes.split_first_chunk().ok_or(Malformed)? else {
            return Err(Malformed);
        };
        let (id, mut rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let address = take(&mut rest)?;
        let command = take(&mut rest)?;
        let mut environment = Vec::new();
        while !rest.is_empty() {
            environment.push(take(&mut rest)?);
        }
        Ok(Self {
            id: *id,
            has_input: *has_input != 0,
            address,
            command,
            environment,
        })
    }
}

/// Whose start it is, as the asking daemon says; the asked one looks for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The job.
    pub job: String,
    /// Which start of the job.
    pub attempt: u32,
}

impl Asked {
    /// As the contents of a frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.attempt.to_le_bytes().to_vec();
        bytes.extend_from_slice(self.job.as_bytes());
        bytes
    }

    /// Reads the contents of a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (attempt, job) = bytes.split_first_chunk().ok_or(Malformed)?;
        let job = std::str::from_utf8(job).map_err(|_| Malformed)?;
        Ok(Self {
            job: job.to_owned(),
            attempt: u32::from_le_bytes(*attempt),
        })
    }
}

/// The next text of a list of lengths and texts.
fn take(rest: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let (length, after) = rest.split_first_chunk().ok_or(Malformed)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Malformed)?;
    let (text, after) = after.split_at_checked(length).ok_or(Malformed)?;
    *rest = after;
    Ok(text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            id: [7; 16],
            has_input: true,
            address: b"10.0.0.1".to_vec(),
            command: b"echo 'a b'".to_vec(),
            environment: vec![b"A=1".to_vec(), b"B=\xff".to_vec()],
        }
    }

    #[test]
    fn a_start_is_read_as_it_was_written() {
        assert_eq!(Start::decode(&start().encode()), Ok(start()));
        let asked = Asked {
            job: "u1".into(),
            attempt: 3,
        };
        assert_eq!(Asked::decode(&asked.encode()), Ok(asked));
    }

    #[test]
    fn a_start_that_is_cut_or_of_another_version_is_none() {
        let bytes = start().encode();
        for cut in 0..bytes.len() {
            let read = Start::decode(&bytes[..cut]);
            // Cut between two variables it is another start, but never nonsense.
            assert!(read.is_err() || read.is_ok_and(|read| read.id == [7; 16]));
        }
        let mut other = bytes;
        other[0] = VERSION + 1;
        assert_eq!(Start::decode(&other), Err(Malformed));
    }

    #[test]
    fn heads_are_bounded() {
        for kind in KINDS {
            let bytes = frame(kind, b"xy");
            let (first, rest) = bytes.split_first_chunk().unwrap();
            assert_eq!(head(*first), Ok((kind, 2)));
            assert_eq!(rest, b"xy");
        }
        let long = u32::try_from(CHUNK_BYTES + 1).unwrap().to_le_bytes();
        let of = |code: u8| [code, long[0], long[1], long[2], long[3]];
        assert!(head(of(0)).is_ok());
        assert_eq!(head(of(1)), Err(Malformed));
        assert_eq!(head([200, 0, 0, 0, 0]), Err(Malformed));
    }
}
