//! Download links: ranges, expiry, restarts, forgeries.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use sha2::Digest as _;

use crate::daemon::{Daemon, Reply};
use crate::files::{list, with_directories};

const CONTENT: &[u8] = b"0123456789";

/// A file of ten bytes, and the link to it.
fn linked(daemon: &Daemon) -> (PathBuf, String) {
    let (_, work) = with_directories(daemon);
    let file = work.join("out/a b.txt");
    fs::write(&file, CONTENT).unwrap();
    let page = list(daemon, "outputdirectoryid=stdouterr&linkexpiryinminutes=5");
    (
        file,
        page["value"][0]["downloadUrl"].as_str().unwrap().to_owned(),
    )
}

fn ranged(daemon: &Daemon, url: &str, range: &str) -> Reply {
    daemon.request("GET", url, &[("range", range)], b"")
}

#[test]
fn ranges() {
    let daemon = Daemon::start();
    let (_, url) = linked(&daemon);
    let whole = daemon.get(&url);
    assert_eq!((whole.status, whole.bytes.as_slice()), (200, CONTENT));
    assert_eq!(
        (
            whole.header("content-length"),
            whole.header("accept-ranges")
        ),
        ("10", "bytes")
    );
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    for (range, content, described) in [
        ("bytes=0-", "0123456789", "bytes 0-9/10"),
        ("bytes=4-", "456789", "bytes 4-9/10"),
        ("bytes=2-3", "23", "bytes 2-3/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-30", "0123456789", "bytes 0-9/10"),
    ] {
        let reply = ranged(&daemon, &url, range);
        assert_eq!(
            (reply.status, reply.text(), reply.header("content-range")),
            (206, content, described),
            "{range}"
        );
        assert_eq!(reply.header("content-length"), content.len().to_string());
    }
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0"] {
        let reply = ranged(&daemon, &url, range);
        reply.expect_error(416, "InvalidRange");
        assert_eq!(reply.header("content-range"), "bytes */10");
    }
    for range in ["bytes=5-2", "bytes=0-1,3-4", "rows=0-1", "bytes"] {
        assert_eq!(ranged(&daemon, &url, range).status, 200, "{range}");
    }
    let conditional = daemon.request(
        "GET",
        &url,
        &[("range", "bytes=1-2"), ("if-range", "\"x\"")],
        b"",
    );
    assert_eq!(conditional.status, 200);
    // With the validator that the file was sent with it is a range; and each answer has its digest.
    let etag = whole.header("etag");
    let same = [("range", "bytes=1-2"), ("if-range", etag)];
    let same = daemon.request("GET", &url, &same, b"");
    assert_eq!(
        (same.status, same.text(), same.header("etag")),
        (206, "12", etag)
    );
    for reply in [&whole, &same] {
        let digest = sha2::Sha256::digest(&reply.bytes).into();
        assert_eq!(
            reply.header("content-digest"),
            lote_model::transfer::content_digest(&digest)
        );
    }
}

#[test]
fn heads() {
    let daemon = Daemon::start();
    let (_, url) = linked(&daemon);
    let head = daemon.request("HEAD", &url, &[], b"");
    assert_eq!(
        (head.status, head.header("content-length"), head.bytes.len()),
        (200, "10", 0)
    );
    let head = daemon.request("HEAD", &url, &[("range", "bytes=4-")], b"");
    assert_eq!((head.status, head.header("content-length")), (206, "6"));
}

#[test]
fn a_growing_file_is_read_on_from_where_the_client_is() {
    let daemon = Daemon::start();
    let (file, url) = linked(&daemon);
    let mut writer = File::options().append(true).open(&file).unwrap();
    let mut seen = Vec::new();
    for round in 0..20 {
        let reply = ranged(&daemon, &url, &format!("bytes={}-", seen.len()));
        match reply.status {
            206 => seen.extend(reply.bytes),
            status => assert_eq!(status, 416),
        }
        writeln!(writer, "line {round}").unwrap();
    }
    seen.extend(ranged(&daemon, &url, &format!("bytes={}-", seen.len())).bytes);
    assert_eq!(seen, fs::read(&file).unwrap());
}

#[test]
fn large_files_are_sent_whole() {
    let daemon = Daemon::start();
    let (file, url) = linked(&daemon);
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|index| (index % 251) as u8)
        .collect();
    fs::write(&file, &content).unwrap();
    assert_eq!(daemon.get(&url).bytes, content);
    assert_eq!(
        ranged(&daemon, &url, "bytes=1000000-2999998").bytes,
        content[1_000_000..2_999_999]
    );
    fs::write(&file, "").unwrap();
    let empty = daemon.get(&url);
    assert_eq!((empty.status, empty.header("content-length")), (200, "0"));
    ranged(&daemon, &url, "bytes=0-").expect_error(416, "InvalidRange");
}

#[test]
fn links_outlive_the_daemon_and_the_job_but_not_their_time() {
    let mut daemon = Daemon::start();
    let (file, url) = linked(&daemon);
    daemon.restart();
    daemon.erase("j");
    daemon.advance(4 * 60 + 59);
    assert_eq!(daemon.get(&url).bytes, CONTENT);
    daemon.advance(1);
    daemon.get(&url).expect_error(403, "LinkExpired");
    assert!(file.exists());
}

#[test]
fn a_file_that_is_gone_is_not_found() {
    let daemon = Daemon::start();
    let (file, url) = linked(&daemon);
    fs::remove_file(&file).unwrap();
    daemon.get(&url).expect_error(404, "FileNotFound");
    fs::create_dir(&file).unwrap();
    daemon.get(&url).expect_error(404, "FileNotFound");
    fs::remove_dir(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    daemon.get(&url).expect_error(403, "PathEscapesDirectory");
}

#[test]
fn forged_links_are_refused() {
    let daemon = Daemon::start();
    let (_, url) = linked(&daemon);
    let token = url.rsplit('/').nth(1).unwrap();
    let mut bytes = token.as_bytes().to_vec();
    for at in (0..bytes.len()).step_by(7) {
        let original = bytes[at];
        bytes[at] = if original == b'A' { b'B' } else { b'A' };
        let forged = url.replace(token, std::str::from_utf8(&bytes).unwrap());
        daemon.get(&forged).expect_error(403, "InvalidLink");
        bytes[at] = original;
    }
    for name in ["other.txt", "..%2fa%20b.txt", "%2e%2e"] {
        daemon
            .get(&url.replace("a%20b.txt", name))
            .expect_error(403, "InvalidLink");
    }
    for bad in ["/files/x/y", "/files/%00/y", "/files/.../y"] {
        daemon.get(bad).expect_error(403, "InvalidLink");
    }
    // An id of an operation is signed as well, but for another purpose.
    daemon.furnish();
    let reply = daemon.delete(&crate::daemon::job_url("j"));
    let id = reply
        .header("azure-asyncoperation")
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    daemon
        .get(&format!("/files/{id}/a%20b.txt"))
        .expect_error(403, "InvalidLink");
}
