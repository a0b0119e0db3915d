//! Files of file servers: in and out, by one daemon and by another.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use lote_model::export::{
    Export, ExportPhase, ExportPoint, ExportReport, ExportState, ExportStorage, NfsServer,
    SizeLimit, StorageUsage,
};
use lote_model::file_server::{FileServerRecord, FileServerStatus};
use lote_model::id::{FileServerUid, NodeName, UnixId};
use lote_model::key;
use lote_model::path::ChildPath;
use lote_model::state::ProvisioningState;
use lote_model::transfer::{CHUNK_BYTES, Digest, Layout, content_digest, hex};
use lote_model::workspace::WorkspaceRecord;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::access::Guarded;
use crate::daemon::{Daemon, NODE, Reply, name, wait_until, workspace_path};
use crate::peers::Pair;

const SERVER: &str = "/v1/groups/lab/workspaces/ws/fileServers/nfs";

fn path() -> ChildPath {
    workspace_path().child(name("nfs"))
}

fn sum(bytes: &[u8]) -> Digest {
    sha2::Sha256::digest(bytes).into()
}

fn uid(daemon: &Daemon) -> FileServerUid {
    let record: FileServerRecord = daemon.read(&key::file_server(&path())).unwrap();
    record.uid
}

/// Creates the file server `nfs`, which `node` serves from `folder`; what the leader and the
/// node would write.
fn serve(daemon: &Daemon, node: &str, folder: &Path) {
    let body = json!({"properties": {
        "vmSize": "cpu",
        "sshConfiguration": {"userAccountSettings": {"adminUserName": "ops"}},
        "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"},
    }});
    assert_eq!(daemon.put(SERVER, &body).status, 202);
    let status = FileServerStatus {
        uid: uid(daemon),
        state: ProvisioningState::Succeeded,
        state_since: daemon.now(),
        errors: vec![],
        mount_settings: None,
        node: Some(NodeName::new(node)),
    };
    daemon.write(&key::file_server_status(&path()), &status);
    export(daemon, node, folder);
}

/// What `node` exports.
fn export(daemon: &Daemon, node: &str, folder: &Path) {
    let (node, uid) = (NodeName::new(node), uid(daemon));
    let workspace: WorkspaceRecord = daemon.read(&key::workspace(&workspace_path())).unwrap();
    let export = Export {
        file_server: path(),
        uid: uid.clone(),
        owner: workspace.unix_id,
        storage: ExportStorage::Own,
        size_limit_bytes: 1 << 30,
        clients: vec![],
        phase: ExportPhase::Serve,
    };
    daemon.write(&key::export(&node, &uid), &export);
    let point = ExportPoint {
        server: NfsServer::Ganesha,
        path: folder.to_str().unwrap().into(),
        nfs_port: 2049,
        mount_port: None,
        versions: vec!["4.2".into()],
        size_limit: SizeLimit {
            in_force: false,
            note: "not in tests".into(),
        },
    };
    report(daemon, &node, &uid, ExportState::Serving(point));
}

fn report(daemon: &Daemon, node: &NodeName, uid: &FileServerUid, state: ExportState) {
    let report = ExportReport {
        uid: uid.clone(),
        state,
        usage: None,
        reported_at: daemon.now(),
    };
    daemon.write(&key::exported(node, uid), &report);
}

/// A daemon that serves `nfs` itself, and where.
fn serving() -> (Daemon, PathBuf) {
    let daemon = Daemon::start();
    daemon.furnish();
    let folder = daemon.folder.path().join("export");
    fs::create_dir(&folder).unwrap();
    serve(&daemon, NODE, &folder);
    (daemon, folder)
}

fn escaped(text: &str) -> String {
    let escaped = text.bytes().map(|byte| format!("%{byte:02X}"));
    escaped.collect()
}

fn url(what: &str, path: &str, more: &str) -> String {
    format!("{SERVER}/{what}?path={}{more}", escaped(path))
}

fn write(daemon: &Daemon, path: &str, more: &str, bytes: &[u8]) -> Reply {
    let digest = content_digest(&sum(bytes));
    let headers = [("content-digest", digest.as_str())];
    daemon.request("PUT", &url("content", path, more), &headers, bytes)
}

fn read(daemon: &Daemon, path: &str) -> Reply {
    daemon.get(&url("content", path, ""))
}

fn list(daemon: &Daemon, path: &str) -> Vec<Value> {
    let mut page = daemon.get(&url("files", path, "")).expect(200);
    let mut all = page["value"].as_array().unwrap().clone();
    while let Some(next) = page["nextLink"].as_str() {
        page = daemon.get(next).expect(200);
        all.extend(page["value"].as_array().unwrap().clone());
    }
    all
}

fn names(listed: &[Value]) -> Vec<&str> {
    listed
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect()
}

/// A large file, and its way to a daemon in chunks.
struct Large {
    bytes: Vec<u8>,
    path: &'static str,
    upload: &'static str,
}

impl Large {
    fn new(path: &'static str, upload: &'static str, seed: u8) -> Self {
        let size = 2 * CHUNK_BYTES + 12_345;
        let pattern: Vec<u8> = (0..251).map(|at: u8| at ^ seed).collect();
        let size = usize::try_from(size).unwrap();
        let mut bytes = pattern.repeat(size / 251 + 1);
        bytes.truncate(size);
        Self {
            bytes,
            path,
            upload,
        }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.bytes.len() as u64).unwrap()
    }

    fn chunk(&self, index: u64) -> (u64, &[u8]) {
        let chunk = self.layout().chunk(index).unwrap();
        let number = |number: u64| usize::try_from(number).unwrap();
        let (first, length) = (number(chunk.offset), number(chunk.length));
        (chunk.offset, &self.bytes[first..first + length])
    }

    fn url(&self, more: &str) -> String {
        url(&format!("uploads/{}", self.upload), self.path, more)
    }

    fn send(&self, daemon: &Daemon, index: u64) -> Reply {
        let (offset, bytes) = self.chunk(index);
        self.send_as(daemon, offset, bytes, &content_digest(&sum(bytes)))
    }

    fn send_as(&self, daemon: &Daemon, offset: u64, bytes: &[u8], digest: &str) -> Reply {
        let more = format!("&size={}&offset={offset}", self.bytes.len());
        daemon.request(
            "PUT",
            &self.url(&more),
            &[("content-digest", digest)],
            bytes,
        )
    }

    fn whole(&self) -> Digest {
        let chunks = (0..self.layout().count()).map(|index| sum(self.chunk(index).1));
        sum(&chunks.collect::<Vec<_>>().concat())
    }

    fn complete(&self, daemon: &Daemon, more: &str) -> Reply {
        let whole = hex(&self.whole());
        daemon.post(&self.url(&format!("&size={}&sha256={whole}{more}", self.bytes.len())))
    }

    fn received(&self, daemon: &Daemon) -> Vec<u64> {
        let progress = daemon.get(&self.url("")).expect(200);
        assert_eq!(progress["size"], self.bytes.len());
        let chunks = progress["chunks"].as_array().unwrap().iter();
        chunks
            .map(|chunk| chunk["offset"].as_u64().unwrap())
            .collect()
    }
}

#[test]
fn small_files_are_written_listed_and_read() {
    let (daemon, folder) = serving();
    for path in ["ünï/cödé 文件.txt", "empty", "a/b/c/script.sh"] {
        let more = "&mode=0755&modified=2020-01-02T03:04:05.678Z";
        assert_eq!(write(&daemon, path, more, path.as_bytes()).status, 204);
    }
    assert_eq!(write(&daemon, "empty", "&overwrite=true", b"").status, 204);
    daemon
        .put(&url("directories", "/nothing/in it", ""), &json!(null))
        .expect(204);
    assert_eq!(names(&list(&daemon, "/")), ["a", "empty", "nothing", "ünï"]);
    assert_eq!(names(&list(&daemon, "nothing/in it")), [""; 0]);
    let script = &list(&daemon, "a/b/c")[0];
    assert_eq!(
        (
            &script["type"],
            &script["size"],
            &script["mode"],
            &script["modified"]
        ),
        (
            &json!("file"),
            &json!(15),
            &json!("0755"),
            &json!("2020-01-02T03:04:05.678Z")
        )
    );
    let empty = read(&daemon, "empty");
    assert_eq!((empty.status, empty.bytes.len()), (200, 0));
    let whole = read(&daemon, "a/b/c/script.sh");
    assert_eq!((whole.status, whole.text()), (200, "a/b/c/script.sh"));
    assert_eq!(whole.header("etag"), script["etag"].as_str().unwrap());
    assert_eq!(
        whole.header("content-digest"),
        content_digest(&sum(b"a/b/c/script.sh"))
    );
    assert_eq!(
        read(&daemon, "ünï/cödé 文件.txt").bytes,
        "ünï/cödé 文件.txt".as_bytes()
    );
    assert_eq!(
        fs::read(folder.join("ünï/cödé 文件.txt")).unwrap().len(),
        23
    );
    let itself = daemon.get(&url("files", "a/b", "&itself=true")).expect(200);
    assert_eq!(itself["value"][0]["type"], "directory");
    let root = daemon.get(&url("files", "/", "&itself=true")).expect(200);
    assert_eq!(root["value"][0]["type"], "directory");
}

#[test]
fn parts_have_validators_and_digests() {
    let (daemon, folder) = serving();
    write(&daemon, "f", "", b"0123456789");
    let etag = read(&daemon, "f").header("etag").to_owned();
    let part = |range: &str, if_range: &str| {
        let headers = [("range", range), ("if-range", if_range)];
        daemon.request("GET", &url("content", "f", ""), &headers, b"")
    };
    let some = part("bytes=2-4", &etag);
    assert_eq!((some.status, some.text()), (206, "234"));
    assert_eq!(some.header("content-range"), "bytes 2-4/10");
    assert_eq!(some.header("content-digest"), content_digest(&sum(b"234")));
    assert_eq!(part("bytes=2-4", "\"other\"").status, 200);
    part("bytes=10-", &etag).expect_error(416, "InvalidRange");
    let head = daemon.request("HEAD", &url("content", "f", ""), &[], b"");
    assert_eq!((head.status, head.header("etag")), (200, etag.as_str()));
    assert_eq!(head.header("content-length"), "10");
    write(&daemon, "f", "&overwrite=true", b"abcdefghij");
    let changed = part("bytes=2-4", &etag);
    assert_eq!((changed.status, changed.text()), (200, "abcdefghij"));
    // Too much for a digest, as that is known only at the end.
    let large = fs::File::create(folder.join("large")).unwrap();
    large.set_len(CHUNK_BYTES + 1).unwrap();
    assert_eq!(read(&daemon, "large").header("content-digest"), "");
}

#[test]
fn nothing_is_replaced_unasked_or_half() {
    let (daemon, folder) = serving();
    write(&daemon, "f", "", b"old");
    write(&daemon, "f", "", b"new").expect_error(409, "FileExists");
    let wrong = [("content-digest", content_digest(&sum(b"other")))];
    let headers: Vec<(&str, &str)> = wrong
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let target = url("content", "f", "&overwrite=true");
    let reply = daemon.request("PUT", &target, &headers, b"new");
    reply.expect_error(400, "ContentDigestMismatch");
    daemon
        .request("PUT", &target, &[], b"new")
        .expect_error(400, "InvalidContentDigest");
    let long = vec![0; (8 << 20) + 1];
    write(&daemon, "long", "", &long).expect_error(413, "RequestBodyTooLarge");
    daemon
        .put(&url("directories", "d", ""), &json!(null))
        .expect(204);
    write(&daemon, "d", "&overwrite=true", b"x").expect_error(409, "IsADirectory");
    write(&daemon, "f/x", "", b"x").expect_error(409, "NotADirectory");
    assert_eq!(fs::read(folder.join("f")).unwrap(), b"old");
    let left: BTreeSet<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["d", "f"].map(Into::into).into());
    assert_eq!(write(&daemon, "f", "&overwrite=true", b"new").status, 204);
    assert_eq!(fs::read(folder.join("f")).unwrap(), b"new");
    for (more, target) in [
        ("&mode=9", "mode"),
        ("&mode=1777", "mode"),
        ("&modified=now", "modified"),
        ("&overwrite=1", "overwrite"),
    ] {
        let error = write(&daemon, "g", more, b"").expect(400)["error"].clone();
        assert_eq!(error["target"], target);
    }
}

#[test]
fn an_upload_is_gone_on_with_after_a_restart() {
    let (mut daemon, folder) = serving();
    let large = Large::new("models/large.bin", "upload-one", 0);
    daemon
        .get(&large.url(""))
        .expect_error(404, "UploadNotFound");
    assert_eq!(large.send(&daemon, 2).status, 204);
    assert_eq!(large.send(&daemon, 0).status, 204);
    daemon.restart();
    assert_eq!(large.received(&daemon), [0, 2 * CHUNK_BYTES]);
    assert_eq!(list(&daemon, "models").len(), 0, "nothing half is visible");
    large
        .complete(&daemon, "")
        .expect_error(409, "UploadIncomplete");
    // A damaged chunk does not count, and takes away what was there before.
    let (offset, bytes) = large.chunk(0);
    let mut damaged = bytes.to_vec();
    damaged[77] ^= 1;
    let reply = large.send_as(&daemon, offset, &damaged, &content_digest(&sum(bytes)));
    reply.expect_error(400, "ContentDigestMismatch");
    assert_eq!(large.received(&daemon), [2 * CHUNK_BYTES]);
    let short = large.send_as(&daemon, offset, &bytes[1..], &content_digest(&sum(bytes)));
    short.expect_error(400, "InvalidChunkLength");
    let odd = large.send_as(&daemon, 5, bytes, &content_digest(&sum(bytes)));
    assert_eq!(odd.expect(400)["error"]["target"], "offset");
    for index in [0, 1] {
        assert_eq!(large.send(&daemon, index).status, 204);
    }
    let wrong = format!("&size={}&sha256={}", large.bytes.len(), "0".repeat(64));
    daemon
        .post(&large.url(&wrong))
        .expect_error(409, "UploadDigestMismatch");
    let other_size = format!("&size=5&sha256={}", "0".repeat(64));
    daemon
        .post(&large.url(&other_size))
        .expect_error(409, "UploadDiffers");
    assert_eq!(large.complete(&daemon, "&mode=640").status, 204);
    let file = folder.join("models/large.bin");
    assert_eq!(fs::read(&file).unwrap(), large.bytes);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.join("models")).unwrap().count(), 1);
    large
        .complete(&daemon, "")
        .expect_error(404, "UploadNotFound");
}

#[test]
fn two_uploads_to_one_name_do_not_mix() {
    let (daemon, folder) = serving();
    let (one, two) = (
        Large::new("f", "upload-one", 1),
        Large::new("f", "upload-two", 2),
    );
    for index in 0..3 {
        assert_eq!(one.send(&daemon, index).status, 204);
        assert_eq!(two.send(&daemon, index).status, 204);
    }
    assert_eq!(one.complete(&daemon, "").status, 204);
    two.complete(&daemon, "").expect_error(409, "FileExists");
    assert_eq!(fs::read(folder.join("f")).unwrap(), one.bytes);
    // It can still be completed when its owner decides so.
    assert_eq!(two.complete(&daemon, "&overwrite=true").status, 204);
    assert_eq!(fs::read(folder.join("f")).unwrap(), two.bytes);
    let given_up = Large::new("g", "upload-three", 3);
    given_up.send(&daemon, 0);
    daemon.delete(&given_up.url("")).expect(200);
    daemon.delete(&given_up.url("")).expect(204);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn no_path_leads_out() {
    let (daemon, folder) = serving();
    let outside = daemon.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink("../outside", folder.join("out")).unwrap();
    symlink("/etc/passwd", folder.join("absolute")).unwrap();
    for path in ["..", "../outside/secret", "a/../../outside/secret", "x\0y"] {
        read(&daemon, path).expect_error(400, "InvalidPath");
        write(&daemon, path, "", b"x").expect_error(400, "InvalidPath");
        daemon
            .get(&url("files", path, ""))
            .expect_error(400, "InvalidPath");
        daemon
            .delete(&url("files", path, "&recursive=true"))
            .expect_error(400, "InvalidPath");
    }
    for path in ["out/secret", "absolute"] {
        read(&daemon, path).expect_error(403, "PathEscapesDirectory");
    }
    daemon
        .get(&url("files", "out", ""))
        .expect_error(403, "PathEscapesDirectory");
    for path in ["out/new", "out/deep/new"] {
        write(&daemon, path, "", b"x").expect_error(403, "PathEscapesDirectory");
        daemon
            .put(&url("directories", path, ""), &json!(null))
            .expect_error(403, "PathEscapesDirectory");
    }
    daemon
        .delete(&url("files", "out/secret", ""))
        .expect_error(403, "PathEscapesDirectory");
    let large = Large::new("out/large", "upload-one", 0);
    large
        .send(&daemon, 0)
        .expect_error(403, "PathEscapesDirectory");
    // A leading slash is the file server's own.
    read(&daemon, "/etc/passwd").expect_error(404, "FileNotFound");
    for target in ["../outside", "/etc/passwd", "out/secret"] {
        let link = url("links", "new", &format!("&target={}", escaped(target)));
        daemon
            .put(&link, &json!(null))
            .expect_error(403, "PathEscapesDirectory");
    }
    for reserved in ["/", ".lote-upload-x", "a/.lote-upload-x/b"] {
        write(&daemon, reserved, "", b"x").expect_error(400, "InvalidPath");
    }
    // What has the name of a link is replaced, not what the link leads to.
    assert_eq!(write(&daemon, "out", "&overwrite=true", b"x").status, 204);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
    let kinds: Vec<Value> = list(&daemon, "/")
        .iter()
        .map(|file| file["type"].clone())
        .collect();
    assert_eq!(kinds, ["link", "file"]);
}

#[test]
fn a_directory_that_becomes_a_link_meanwhile_leads_nowhere() {
    let (daemon, folder) = serving();
    let outside = daemon.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let (here, aside) = (folder.join("d"), daemon.folder.path().join("aside"));
    fs::create_dir(&here).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                fs::rename(&here, &aside).unwrap();
                let _ = symlink(&outside, &here);
                let _ = fs::remove_file(&here);
                // The daemon may have made it anew meanwhile.
                let _ = fs::remove_dir_all(&here);
                fs::rename(&aside, &here).unwrap_or_else(|_| {
                    let _ = fs::remove_dir_all(&aside);
                    let _ = fs::create_dir(&here);
                });
            }
        });
        for number in 0..200 {
            write(&daemon, &format!("d/f{number}"), "", b"x");
            daemon.delete(&url("files", &format!("d/f{number}"), ""));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn links_inside_are_made_and_followed() {
    let (daemon, folder) = serving();
    write(&daemon, "a/b/f", "", b"x");
    let link = url("links", "latest", &format!("&target={}", escaped("a/b")));
    daemon.put(&link, &json!(null)).expect(204);
    daemon
        .put(&link, &json!(null))
        .expect_error(409, "FileExists");
    daemon
        .put(&format!("{link}&overwrite=true"), &json!(null))
        .expect(204);
    assert_eq!(read(&daemon, "latest/f").text(), "x");
    assert_eq!(names(&list(&daemon, "latest")), ["f"]);
    let listed = list(&daemon, "/");
    assert_eq!(
        (&listed[1]["type"], &listed[1]["target"]),
        (&json!("link"), &json!("a/b"))
    );
    daemon
        .delete(&url("files", "latest", "&recursive=true"))
        .expect(200);
    assert!(folder.join("a/b/f").exists());
}

#[test]
fn files_and_directories_are_removed() {
    let (daemon, folder) = serving();
    for path in ["f", "d/e/g"] {
        write(&daemon, path, "", b"x");
    }
    daemon.delete(&url("files", "f", "")).expect(200);
    daemon.delete(&url("files", "f", "")).expect(204);
    daemon
        .delete(&url("files", "d", ""))
        .expect_error(409, "DirectoryNotEmpty");
    daemon
        .delete(&url("files", "d", "&recursive=true"))
        .expect(200);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    daemon
        .delete(&url("files", "/", "&recursive=true"))
        .expect_error(400, "InvalidPath");
}

#[test]
fn twenty_thousand_files_come_in_pages() {
    let (daemon, folder) = serving();
    for number in 0..20_000 {
        fs::write(folder.join(format!("f{number:05}")), "").unwrap();
    }
    let all = list(&daemon, "/");
    let expected: Vec<String> = (0..20_000).map(|number| format!("f{number:05}")).collect();
    assert_eq!(names(&all), expected);
}

/// A small file system of its own, taken down at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .status();
        mount
            .is_ok_and(|status| status.success())
            .then(|| Self(path.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_nothing_half() {
    let daemon = Daemon::start();
    daemon.furnish();
    let folder = daemon.folder.path().join("small");
    let Some(_tmpfs) = Tmpfs::mount(&folder, "18m") else {
        println!("SKIPPED: a_full_disk_leaves_nothing_half: cannot mount");
        return;
    };
    serve(&daemon, NODE, &folder);
    let large = Large::new("large", "upload-one", 0);
    // Enough room at the beginning, and not any more later.
    assert_eq!(large.send(&daemon, 0).status, 204);
    fs::write(folder.join("other"), vec![0; 9 << 20]).unwrap();
    let error = large.send(&daemon, 1).expect_error(507, "FileServerFull");
    assert!(error["message"].as_str().unwrap().contains("full"));
    assert_eq!(large.received(&daemon), [0], "what was there still is");
    write(&daemon, "small", "", &vec![1; 4 << 20]).expect_error(507, "FileServerFull");
    assert_eq!(names(&list(&daemon, "/")), ["other"]);
    daemon.delete(&large.url("")).expect(200);
    // Known before anything is sent.
    let second = Large::new("large", "upload-two", 0);
    let error = second.send(&daemon, 0).expect_error(507, "FileServerFull");
    assert!(
        error["message"].as_str().unwrap().contains("MiB are free"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_file_server_has_the_size_that_it_was_made_with() {
    let (daemon, _) = serving();
    let (node, uid) = (NodeName::new(NODE), uid(&daemon));
    let key = key::exported(&node, &uid);
    let mut report: ExportReport = daemon.read(&key).unwrap();
    report.usage = Some(StorageUsage {
        used_bytes: (1 << 30) - 10,
        free_bytes: 1 << 40,
    });
    daemon.write(&key, &report);
    assert_eq!(write(&daemon, "f", "", b"0123456789").status, 204);
    write(&daemon, "g", "", b"0123456789a").expect_error(507, "FileServerFull");
    Large::new("h", "upload-one", 0)
        .send(&daemon, 0)
        .expect_error(507, "FileServerFull");
}

#[test]
fn a_file_server_without_a_place_says_so() {
    let daemon = Daemon::start();
    daemon.furnish();
    daemon
        .get(&url("files", "/", ""))
        .expect_error(404, "FileServerNotFound");
    let folder = daemon.folder.path().join("export");
    fs::create_dir(&folder).unwrap();
    serve(&daemon, NODE, &folder);
    let (node, uid) = (NodeName::new(NODE), uid(&daemon));
    let failed = lote_model::job::ErrorRecord::new("ServerFailed", "the server has ended");
    report(&daemon, &node, &uid, ExportState::Failed(failed));
    let error = daemon
        .get(&url("files", "/", ""))
        .expect_error(503, "FileServerNotServing");
    assert!(error["message"].as_str().unwrap().contains("has ended"));
    let mut export: Export = daemon.read(&key::export(&node, &uid)).unwrap();
    export.phase = ExportPhase::Withdraw { erase: false };
    daemon.write(&key::export(&node, &uid), &export);
    daemon
        .get(&url("files", "/", ""))
        .expect_error(409, "FileServerBeingDeleted");
    let mut status: FileServerStatus = daemon.read(&key::file_server_status(&path())).unwrap();
    status.node = None;
    daemon.write(&key::file_server_status(&path()), &status);
    daemon
        .get(&url("files", "/", ""))
        .expect_error(409, "FileServerNotReady");
    daemon.delete(SERVER).expect(202);
    daemon
        .get(&url("files", "/", ""))
        .expect_error(409, "FileServerBeingDeleted");
}

#[test]
fn files_belong_to_the_workspaces_user() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: files_belong_to_the_workspaces_user: not root");
        return;
    }
    let daemon = Daemon::start_configured(|config| config.read_as_job_user = true);
    daemon.furnish();
    // The way to the export may be closed to users.
    fs::set_permissions(daemon.folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let folder = daemon.folder.path().join("export");
    fs::create_dir(&folder).unwrap();
    serve(&daemon, NODE, &folder);
    write(&daemon, "f", "", b"x").expect_error(403, "FileNotPermitted");
    let workspace: WorkspaceRecord = daemon.read(&key::workspace(&workspace_path())).unwrap();
    let UnixId(owner) = workspace.unix_id;
    std::os::unix::fs::chown(&folder, Some(owner), Some(owner)).unwrap();
    assert_eq!(write(&daemon, "a/f", "", b"x").status, 204);
    let large = Large::new("b/large", "upload-one", 0);
    for index in 0..3 {
        assert_eq!(large.send(&daemon, index).status, 204);
    }
    assert_eq!(large.complete(&daemon, "").status, 204);
    for path in ["a", "a/f", "b", "b/large"] {
        let metadata = fs::metadata(folder.join(path)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (owner, owner), "{path}");
    }
    fs::write(folder.join("roots"), "secret").unwrap();
    fs::set_permissions(folder.join("roots"), fs::Permissions::from_mode(0o600)).unwrap();
    read(&daemon, "roots").expect_error(403, "FileNotPermitted");
}

#[test]
fn abandoned_uploads_are_removed() {
    let (mut daemon, folder) = serving();
    fs::create_dir(folder.join("d")).unwrap();
    let old = folder.join("d/.lote-upload-abandoned");
    let new = folder.join("d/.lote-upload-goes-on");
    let ago = |days: i64| daemon.now() - jiff::SignedDuration::from_hours(24 * days);
    for (path, time) in [(&old, ago(8)), (&new, ago(6))] {
        fs::File::create(path)
            .unwrap()
            .set_modified(time.into())
            .unwrap();
    }
    daemon.restart();
    wait_until("the upload is gone", || !old.exists());
    assert!(new.exists());
}

#[test]
fn writing_is_not_for_readers_nor_for_other_workspaces() {
    let guarded = Guarded::start();
    let folder = tempfile::tempdir().unwrap();
    let body = json!({"properties": {"vmSize": "cpu",
        "sshConfiguration": {"userAccountSettings": {"adminUserName": "ops"}},
        "dataDisks": {"diskSizeInGB": 1, "diskCount": 1, "storageAccountType": "Standard_LRS"}}});
    guarded
        .send(Some(&guarded.root), "PUT", SERVER, &body)
        .expect(202);
    let status = FileServerStatus {
        uid: uid(&guarded.daemon),
        state: ProvisioningState::Succeeded,
        state_since: guarded.daemon.now(),
        errors: vec![],
        mount_settings: None,
        node: Some(NodeName::new(NODE)),
    };
    guarded
        .daemon
        .write(&key::file_server_status(&path()), &status);
    export(&guarded.daemon, NODE, folder.path());
    fs::write(folder.path().join("f"), "x").unwrap();
    let scoped = |role: &str, workspace: &str| {
        guarded.token(&json!({"role": role, "scope": {"group": "lab", "workspace": workspace}}))
    };
    let (reader, other) = (scoped("reader", "ws"), scoped("admin", "other"));
    let file = url("files", "f", "");
    guarded
        .send(Some(&reader), "GET", &url("content", "f", ""), &Value::Null)
        .bytes
        .as_slice()
        .eq(b"x")
        .then_some(())
        .unwrap();
    guarded.expect_refused(Some(&reader), "DELETE", &file, &Value::Null, 403);
    guarded.expect_refused(
        Some(&reader),
        "PUT",
        &url("content", "g", ""),
        &json!("x"),
        403,
    );
    for method in ["GET", "DELETE"] {
        guarded.expect_refused(Some(&other), method, &file, &Value::Null, 403);
    }
    let elsewhere = file.replace("/ws/", "/other/");
    guarded
        .send(Some(&other), "GET", &elsewhere, &Value::Null)
        .expect_error(404, "FileServerNotFound");
    guarded
        .send(Some(&guarded.root), "DELETE", &file, &Value::Null)
        .expect(200);
    let audit = guarded.audit();
    let line = audit.last().unwrap();
    assert_eq!(
        (&line["file"], &line["permission"]),
        (&json!("f"), &json!("workspaces/fileservers/files/write"))
    );
}

/// Two daemons, of which the second serves the file server.
fn pair() -> (Pair, PathBuf) {
    let pair = Pair::start();
    let folder = pair.two.folder.path().join("export");
    fs::create_dir(&folder).unwrap();
    serve(&pair.one, "two", &folder);
    (pair, folder)
}

#[test]
fn another_daemon_passes_everything_on() {
    let (pair, folder) = pair();
    let daemon = &pair.one;
    assert_eq!(write(daemon, "a/ü", "", b"0123456789").status, 204);
    write(daemon, "a/ü", "", b"x").expect_error(409, "FileExists");
    assert_eq!(names(&list(daemon, "a")), ["ü"]);
    let target = url("content", "a/ü", "");
    let part = daemon.request("GET", &target, &[("range", "bytes=2-4")], b"");
    assert_eq!((part.status, part.text()), (206, "234"));
    assert_eq!(part.header("content-digest"), content_digest(&sum(b"234")));
    let same = pair
        .two
        .request("GET", &target, &[("range", "bytes=2-4")], b"");
    assert_eq!(part.header("etag"), same.header("etag"));
    let none = daemon.request("GET", &target, &[("range", "bytes=10-")], b"");
    none.expect_error(416, "InvalidRange");
    assert_eq!(none.header("content-range"), "bytes */10");
    let head = daemon.request("HEAD", &target, &[], b"");
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
    let large = Large::new("large", "upload-one", 5);
    let head = daemon.request("HEAD", &url("files", "a", ""), &[], b"");
    assert_eq!(head.status, 200);
    // The name of an upload is no way to say more to the other daemon.
    for name in ["01234567%3Fuid%3Dother", "..%2F..%2Ffiles", "short"] {
        let reply = daemon.get(&url(&format!("uploads/{name}"), "f", ""));
        reply.expect_error(400, "InvalidUploadName");
    }
    let other = url("content", "a/ü", "&UID=other&uid=another");
    assert_eq!(daemon.get(&other).text(), "0123456789");
    // Refused before it was read, and answered nevertheless.
    let reply = large.send_as(daemon, 0, large.chunk(0).1, "none");
    reply.expect_error(400, "InvalidContentDigest");
    for (index, asked) in (0..).zip([&pair.one, &pair.two, &pair.one]) {
        assert_eq!(large.send(asked, index).status, 204);
    }
    assert_eq!(large.received(daemon).len(), 3);
    assert_eq!(large.complete(daemon, "").status, 204);
    assert_eq!(fs::read(folder.join("large")).unwrap(), large.bytes);
    assert_eq!(read(daemon, "large").bytes, large.bytes);
    daemon
        .put(&url("directories", "d", ""), &json!(null))
        .expect(204);
    let link = url("links", "l", "&target=large");
    daemon.put(&link, &json!(null)).expect(204);
    daemon.delete(&url("files", "d", "")).expect(200);
    daemon.delete(&url("files", "d", "")).expect(204);
    read(daemon, "../x").expect_error(400, "InvalidPath");
    symlink("/etc", folder.join("out")).unwrap();
    read(daemon, "out/passwd").expect_error(403, "PathEscapesDirectory");
}

#[test]
fn pages_go_through_another_daemon() {
    let (pair, folder) = pair();
    for number in 0..2_500 {
        fs::write(folder.join(format!("{number:04}")), "").unwrap();
    }
    assert_eq!(list(&pair.one, "/").len(), 2_500);
}

#[test]
fn a_peer_serves_what_it_exports_itself() {
    let (mut pair, folder) = pair();
    fs::write(folder.join("f"), "x").unwrap();
    let node = NodeName::new("two");
    let record: Export = pair.one.read(&key::export(&node, &uid(&pair.one))).unwrap();
    pair.one
        .commit(lote_store::Transaction::new().delete(key::export(&node, &record.uid)));
    read(&pair.one, "f").expect_error(409, "FileServerNotHere");
    pair.one.write(&key::export(&node, &record.uid), &record);
    assert_eq!(read(&pair.one, "f").text(), "x");
    pair.two.stop();
    read(&pair.one, "f").expect_error(502, "NodeUnreachable");
}

#[test]
fn a_chunk_that_breaks_off_does_not_count() {
    let (daemon, folder) = serving();
    let large = Large::new("f", "upload-one", 0);
    assert_eq!(large.send(&daemon, 0).status, 204);
    for already_there in [true, false] {
        let mut connection = TcpStream::connect(daemon.address).unwrap();
        let (offset, bytes) = large.chunk(u64::from(!already_there));
        let head = format!(
            "PUT {}&size={}&offset={offset} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\
             content-digest: {}\r\n\r\n",
            large.url(""),
            large.bytes.len(),
            bytes.len(),
            content_digest(&sum(bytes))
        );
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(&bytes[..bytes.len() / 2]).unwrap();
        let incomplete = folder.join(".lote-upload-upload-one");
        wait_until("half of it is written", || {
            let mut there = vec![0; 9];
            let at = offset + bytes.len() as u64 / 2 - 9;
            let file = fs::File::open(&incomplete);
            let read = file.and_then(|file| file.read_exact_at(&mut there, at));
            read.is_ok() && there == bytes[bytes.len() / 2 - 9..bytes.len() / 2]
        });
        drop(connection);
    }
    // Until the daemon has noticed, the chunks are being written.
    wait_until("both are free again", || {
        [0, 1]
            .iter()
            .all(|index| large.send(&daemon, *index).status == 204)
    });
    assert_eq!(large.send(&daemon, 2).status, 204);
    assert_eq!(large.complete(&daemon, "").status, 204);
    assert_eq!(fs::read(folder.join("f")).unwrap(), large.bytes);
}

#[test]
fn a_client_and_its_successor_do_not_disturb_each_other() {
    let (daemon, folder) = serving();
    let large = Large::new("f", "upload-one", 9);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            for index in 0..3 {
                let (daemon, large) = (&daemon, &large);
                scope.spawn(move || {
                    let reply = large.send(daemon, index);
                    assert!([204, 503].contains(&reply.status), "{}", reply.text());
                });
            }
        }
    });
    for index in 0..3 {
        assert_eq!(large.send(&daemon, index).status, 204);
    }
    let done: Vec<u16> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| large.complete(&daemon, "").status));
        both.map(|one| one.join().unwrap()).into()
    });
    assert_eq!(
        done.iter().filter(|status| **status == 204).count(),
        1,
        "{done:?}"
    );
    assert_eq!(fs::read(folder.join("f")).unwrap(), large.bytes);
}
