//! Connections stay usable, whatever a request's handler did with its body.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::daemon::{Daemon, job_url};

/// The status of the next answer on a connection, its body read.
fn status(answers: &mut impl BufRead) -> String {
    let mut status = String::new();
    answers.read_line(&mut status).unwrap();
    let mut length = 0;
    loop {
        let mut header = String::new();
        answers.read_line(&mut header).unwrap();
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    answers.read_exact(&mut vec![0; length]).unwrap();
    status.trim().to_owned()
}

#[test]
fn a_body_that_no_handler_reads_does_not_cost_the_connection() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon.submit("j");
    for path in [format!("{}/terminate", job_url("j")), "/nowhere".into()] {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // The last chunk comes later than an answer that does not wait for it.
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let early = stream.peek(&mut [0]).unwrap_err();
        assert!(
            matches!(early.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{path}: {early}"
        );
        stream.set_read_timeout(None).unwrap();
        stream
            .write_all(b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        let mut answers = BufReader::new(stream);
        let first = status(&mut answers);
        assert!(
            first == "HTTP/1.1 202 Accepted" || first == "HTTP/1.1 404 Not Found",
            "{first}"
        );
        assert_eq!(status(&mut answers), "HTTP/1.1 200 OK", "{path}");
    }
}
