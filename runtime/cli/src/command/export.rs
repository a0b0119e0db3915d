//! `lote export`.

use std::io::{self, Read};
use std::path::Path;

use super::files::{copy_out, copy_to};
use super::{Context, Outcome};
use crate::args::state::ExportArgs;
use crate::exit;
use crate::failure::Failure;

/// Hashes of tokens and sealed secrets are in it.
const MODE: u32 = 0o600;

/// How the last line begins, and how long it is at most.
const END: &[u8] = b"{\"end\":";
const END_LENGTH_MAX: usize = 256;

pub(super) fn run(context: &Context<'_>, args: &ExportArgs) -> Outcome {
    let action = "export the state";
    let stream = context.client.stream_by_post(action, "/v1/export")?;
    let mut stream = Whole {
        inner: stream,
        last: Vec::new(),
    };
    if args.to == Path::new("-") {
        let broken = |source| Failure::Broken {
            action: action.to_owned(),
            url: context.client.url().to_owned(),
            source,
        };
        copy_out(context, &mut stream).map_err(broken)?;
    } else {
        let length = copy_to(&mut stream, &args.to, MODE)?;
        context.say(&format!(
            "wrote {} ({}); secrets in it open with the cluster.key of a daemon's data directory \
             only, so keep that as well",
            args.to.display(),
            lote_model::quantity::format_bytes(length)
        ));
    }
    Ok(exit::SUCCESS)
}

/// An export that must not end before its last line.
struct Whole<R> {
    inner: R,
    last: Vec<u8>,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if length == 0 && !buffer.is_empty() && !self.is_whole() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the daemon stopped before the end; its log says why",
            ));
        }
        self.last.extend_from_slice(&buffer[..length]);
        let surplus = self.last.len().saturating_sub(END_LENGTH_MAX);
        self.last.drain(..surplus);
        Ok(length)
    }
}

impl<R> Whole<R> {
    fn is_whole(&self) -> bool {
        let Some(lines) = self.last.strip_suffix(b"\n") else {
            return false;
        };
        let start = lines.iter().rposition(|byte| *byte == b'\n');
        lines[start.map_or(0, |at| at + 1)..].starts_with(END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<String> {
        let mut all = String::new();
        let mut whole = Whole {
            inner: text.as_bytes(),
            last: Vec::new(),
        };
        whole.read_to_string(&mut all)?;
        Ok(all)
    }

    #[test]
    fn an_export_without_its_last_line_is_none() {
        let line = format!("{{\"key\":\"a\",\"value\":\"{}\"}}\n", "x".repeat(1000));
        let end = "{\"end\":{\"lines\":1,\"revision\":7}}";
        let whole = format!("{line}{end}\n");
        assert_eq!(read(&whole).unwrap(), whole);
        for cut in [&*line, &whole[..whole.len() - 1], &whole[..20], ""] {
            let error = read(cut).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }
}
