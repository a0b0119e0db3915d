//! Encrypted connections, and what comes to the port instead.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use lote_api::tls::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::daemon::Daemon;

/// A daemon that serves HTTPS, and its certificate.
fn encrypted() -> (Daemon, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let tls = Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let daemon = Daemon::start_configured(move |config| config.tls = Some(tls.clone()));
    (daemon, chain)
}

fn connect(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

fn get(daemon: &Daemon, certificate: &str, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
        .unwrap();
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, connect(daemon));
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn answers_are_encrypted_and_their_urls_say_so() {
    let (daemon, certificate) = encrypted();
    let put = |path: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        )
    };
    for path in [
        "/v1/groups/lab",
        "/v1/groups/lab/workspaces/a",
        "/v1/groups/lab/workspaces/b",
    ] {
        let answer = get(&daemon, &certificate, &put(path));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let list = "GET /v1/workspaces?maxresults=1 HTTP/1.1\r\nHost: localhost:9\r\nConnection: close\r\n\r\n";
    let answer = get(&daemon, &certificate, list);
    assert!(
        answer.contains("\"nextLink\":\"https://localhost:9/v1/workspaces?"),
        "{answer}"
    );
}

#[test]
fn plain_http_is_told_what_to_do() {
    let (daemon, certificate) = encrypted();
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /v1/tokens HTTP/1.1\r\n",
    ] {
        let mut stream = connect(&daemon);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(answer.contains("use https://"), "{answer}");
    }
    // Noise is not answered, and harms nobody.
    let mut stream = connect(&daemon);
    stream.write_all(&[0, 1, 2, 3]).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    let health = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(get(&daemon, &certificate, health).starts_with("HTTP/1.1 200"));
}

#[test]
fn who_says_nothing_keeps_nobody_waiting_and_is_dropped() {
    let (daemon, certificate) = encrypted();
    let silent: Vec<TcpStream> = (0..50).map(|_| connect(&daemon)).collect();
    let mut half = connect(&daemon);
    half.write_all(&[0x16, 3, 1]).unwrap();
    let health = "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(get(&daemon, &certificate, health).starts_with("HTTP/1.1 200"));
    // The handshake has ten seconds.
    let mut rest = Vec::new();
    let ended = half.read_to_end(&mut rest);
    assert!(
        ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    );
    drop(silent);
}
