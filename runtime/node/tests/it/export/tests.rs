//! What clients of file servers rely on.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lote_model::export::{ExportPhase, ExportState, ExportStorage, NfsServer};
use lote_node::export::ServerChoice;
use nfs3_client::nfs3_types::nfs3::nfsstat3;

use super::client::{Client, Who};
use super::network::Network;
use super::server::{FileServerNode, contents, run, said, write_file};
use crate::support::{Test, is_alive, new_user, nfs_test, root_test};

pub const TESTS: &[Test] = &[
    nfs_test("export::a_foreign_client_reads_and_writes", foreign_client),
    nfs_test("export::files_belong_to_users", permissions),
    nfs_test("export::nothing_leads_out", no_way_out),
    nfs_test(
        "export::a_large_directory_is_listed_completely",
        large_directory,
    ),
    nfs_test("export::large_and_sparse_files", large_file),
    nfs_test("export::strangers_are_refused", strangers),
    nfs_test("export::two_clients_at_once", two_clients),
    nfs_test("export::transfers_outlive_server_and_daemon", transfers),
    nfs_test(
        "export::a_foreign_client_outlives_the_server",
        foreign_transfer,
    ),
    nfs_test(
        "export::the_server_is_kept_up_without_the_store",
        without_store,
    ),
    nfs_test("export::exports_come_and_go", come_and_go),
    nfs_test("export::what_cannot_be_exported_says_why", refusals),
    nfs_test("export::a_port_that_is_taken_is_waited_for", taken_port),
    nfs_test("export::a_disk_is_formatted_found_and_wiped", disk),
    root_test("export::a_server_that_is_missing_is_named", missing_server),
];

/// Runs a test, which may take two minutes on a busy machine.
fn on_node<F: Future<Output = ()>>(test: impl FnOnce(FileServerNode) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ended = tokio::time::timeout(Duration::from_mins(2), test(FileServerNode::new())).await;
        ended.expect("the test hangs");
    });
}

fn foreign_client() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        assert_eq!(point.server, NfsServer::Ganesha);
        assert_eq!(point.versions, ["4.2", "4.1", "4.0", "3"]);
        assert!(!point.size_limit.in_force, "{:?}", point.size_limit);
        let user = node.owner.0;
        let as_user = format!("&uid={user}&gid={user}");
        let (file, back) = (node.path("file"), node.path("back"));
        write_file(&file, 3 << 20, 7);
        let names = ["plain", "größe-文件-🙂"];
        for name in names {
            let target = node.url(&point, &format!("/{name}"), &as_user);
            said("nfs-cp", &[file.to_str().unwrap(), &target]);
            said("nfs-cp", &[&target, back.to_str().unwrap()]);
            assert_eq!(std::fs::read(&back).unwrap(), contents(3 << 20, 7));
            std::fs::remove_file(&back).unwrap();
            let written = std::fs::metadata(Path::new(&point.path).join(name)).unwrap();
            assert_eq!((written.uid(), written.gid()), (user, user));
        }
        let mut client = Client::new(&point, user).await;
        let root = client.root();
        client.rename(&root, "plain", "moved").await.unwrap();
        assert_eq!(
            client.look_up(&root, "plain").await,
            Err(nfsstat3::NFS3ERR_NOENT)
        );
        let listed = said("nfs-ls", &[&node.url(&point, "", &as_user)]);
        assert!(
            listed.contains("moved") && listed.contains(names[1]),
            "{listed}"
        );
        let listed = said("nfs-ls", &[&node.url_4(&point, "")]);
        // Version 4 tells users by number too.
        assert!(
            listed.contains(&user.to_string()) && listed.contains("moved"),
            "{listed}"
        );
    });
}

fn permissions() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        let (owner, other) = (node.owner.0, new_user().uid);
        let mut own = Client::new(&point, owner).await;
        let root = own.root();
        let secret = own.create(&root, "secret", 0o600).await.unwrap();
        own.write(&secret, 0, b"mine").await.unwrap();
        let shared = own.create(&root, "shared", 0o644).await.unwrap();
        own.write(&shared, 0, b"ours").await.unwrap();

        let mut strange = Client::new(&point, other).await;
        assert_eq!(
            strange.read(&secret, 0, 10).await,
            Err(nfsstat3::NFS3ERR_ACCES)
        );
        assert_eq!(strange.read(&shared, 0, 10).await.unwrap(), b"ours");
        assert_eq!(
            strange.write(&shared, 0, b"x").await,
            Err(nfsstat3::NFS3ERR_ACCES)
        );
        let refused = strange.create(&root, "file", 0o644).await;
        assert_eq!(refused, Err(nfsstat3::NFS3ERR_ACCES));

        // Root of a client is nobody here.
        let mut squashed = Client::new(&point, 0).await;
        assert_eq!(
            squashed.read(&secret, 0, 10).await,
            Err(nfsstat3::NFS3ERR_ACCES)
        );
        assert!(squashed.give_away(&shared, other).await.is_err());
        std::fs::set_permissions(&point.path, PermissionsExt::from_mode(0o777)).unwrap();
        let file = squashed.create(&root, "of-nobody", 0o644).await.unwrap();
        assert_eq!(squashed.attributes(&file).await.unwrap().uid, 65_534);
    });
}

fn no_way_out() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        let (exported, user) = (Path::new(&point.path), node.owner.0);
        let outside = node.path("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("file"), "secret").unwrap();
        std::fs::write(exported.join("inside"), "x").unwrap();
        symlink(&outside, exported.join("out")).unwrap();
        let mut client = Client::new(&point, user).await;
        let root = client.root();
        // A link is a link: the client gets its text, and nothing behind it.
        let link = client.look_up(&root, "out").await.unwrap();
        let below = client.look_up(&link, "file").await;
        assert_eq!(below, Err(nfsstat3::NFS3ERR_NOTDIR));
        assert!(client.read(&link, 0, 10).await.is_err());
        // Above the root there is the root, or nothing.
        if let Ok(above) = client.look_up(&root, "..").await {
            assert!(client.look_up(&above, "inside").await.is_ok());
        }
        // Names that no honest client sends.
        let absolute = outside.to_string_lossy().into_owned();
        let names = [
            "..//..//outside",
            "../outside",
            "../../outside",
            "../../../outside",
            "../../../../etc",
            "/etc/shadow",
            "/var/log",
            &absolute,
            "out/file",
            "out/",
        ];
        for name in names {
            if let Ok(found) = client.look_up(&root, name).await {
                let listed = client.list(&found).await;
                panic!("{name}: {listed:?}");
            }
        }
        for path in ["/../outside", "/out", "/.."] {
            let url = node.url(&point, path, "");
            let listed = run("nfs-ls", &[&url]);
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            assert!(!listed.contains("file"), "{path}: {listed}");
        }
    });
}

fn large_directory() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        let directory = Path::new(&point.path).join("many");
        std::fs::create_dir(&directory).unwrap();
        let mut expected: Vec<String> = (0..100_000).map(|index| index.to_string()).collect();
        for name in &expected {
            std::fs::write(directory.join(name), "").unwrap();
        }
        expected.sort_unstable();
        let mut client = Client::new(&point, node.owner.0).await;
        let root = client.root();
        let many = client.look_up(&root, "many").await.unwrap();
        let mut names = client.list(&many).await.unwrap();
        names.retain(|name| name != "." && name != "..");
        names.sort_unstable();
        assert!(names == expected, "{} names", names.len());
        let listed = said("nfs-ls", &[&node.url(&point, "/many", "")]);
        assert_eq!(listed.lines().count(), 100_000);
    });
}

fn large_file() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        let mut client = Client::new(&point, node.owner.0).await;
        let root = client.root();
        let file = client.create(&root, "large", 0o644).await.unwrap();
        let end = (4 << 30) - 5;
        client.write(&file, end, b"the end").await.unwrap();
        assert_eq!(client.attributes(&file).await.unwrap().size, end + 7);
        assert_eq!(client.read(&file, end, 100).await.unwrap(), b"the end");
        assert_eq!(client.read(&file, end - 4, 6).await.unwrap(), b"\0\0\0\0th");
        assert_eq!(client.read(&file, 1 << 31, 4).await.unwrap(), [0; 4]);
        let stored = std::fs::metadata(Path::new(&point.path).join("large")).unwrap();
        assert_eq!(stored.len(), end + 7);
        assert!(
            stored.blocks() * 512 < 1 << 20,
            "{} blocks",
            stored.blocks()
        );
    });
}

fn strangers() {
    on_node(async |mut node| {
        // The node itself is always a client; these are at other addresses.
        let Some(network) = Network::new(2) else {
            eprintln!("SKIPPED: export::strangers_are_refused: no network name spaces here");
            return;
        };
        node.address = network.gateway();
        let _daemon = node.start();
        let mut export = node.export("fs1");
        export.clients.push(network.address(0));
        let point = node.serve(&export).await;
        let urls = [node.url(&point, "", ""), node.url_4(&point, "")];
        for url in &urls {
            let listed = |client| {
                let child = network.start(client, "nfs-ls", &[url]);
                child.wait_with_output().unwrap().status.success()
            };
            assert!(listed(0), "{url}");
            assert!(!listed(1), "{url}");
        }
        // A port that anybody may use: who is not root has no other.
        for url in &urls {
            let nobody = ["--reuid=65534", "--clear-groups", "nfs-ls", url];
            assert!(!run("setpriv", &nobody).status.success(), "{url}");
            assert!(run("nfs-ls", &[url]).status.success(), "{url}");
        }

        // A client that is taken away is refused from then on, one that is added is not.
        export.clients = vec![network.address(1)];
        node.want(&export).await;
        for url in &urls {
            let mut is_changed = false;
            while !is_changed {
                let of = |client| network.start(client, "nfs-ls", &[url]);
                let (first, second) = (of(0).wait_with_output(), of(1).wait_with_output());
                let has_access = [first, second].map(|it| it.unwrap().status.success());
                is_changed = has_access == [false, true];
            }
        }
    });
}

fn two_clients() {
    on_node(async |mut node| {
        let Some(network) = Network::new(2) else {
            eprintln!("SKIPPED: export::two_clients_at_once: no network name spaces here");
            return;
        };
        node.address = network.gateway();
        let _daemon = node.start();
        let mut export = node.export("fs1");
        export.clients = vec![network.address(0), network.address(1)];
        let point = node.serve(&export).await;
        let user = node.owner.0;
        let as_user = format!("&uid={user}&gid={user}");
        let copy = |client: usize| {
            let file = node.path(&format!("file{client}"));
            write_file(&file, 32 << 20, u32::try_from(client).unwrap() + 1);
            let target = node.url(&point, &format!("/file{client}"), &as_user);
            network.start(client, "nfs-cp", &[file.to_str().unwrap(), &target])
        };
        let copies = [copy(0), copy(1)];
        for child in copies {
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
        }
        // Each reads what the other wrote.
        for (client, other) in [(0, 1), (1, 0)] {
            let source = node.url(&point, &format!("/file{other}"), &as_user);
            let child = network.start(client, "nfs-cat", &[&source]);
            let output = child.wait_with_output().unwrap();
            let expected = contents(32 << 20, u32::try_from(other).unwrap() + 1);
            assert!(output.stdout == expected, "client {client}");
        }
    });
}

const CHUNK: usize = 256 << 10;
const CHUNKS: u64 = 120;

/// Writes a file chunk by chunk; at some of them something happens.
async fn transfer(client: &mut Client, name: &str, mut at: impl AsyncFnMut(u64)) -> Vec<u8> {
    let root = client.root();
    let file = client.create(&root, name, 0o644).await.unwrap();
    let mut whole = Vec::new();
    for index in 0..CHUNKS {
        at(index).await;
        let chunk = contents(CHUNK, u32::try_from(index).unwrap() + 100);
        client
            .write(&file, index * CHUNK as u64, &chunk)
            .await
            .unwrap();
        whole.extend(chunk);
    }
    // By the handle of the start, also after all that happened.
    let end = client
        .read(&file, (CHUNKS - 1) * CHUNK as u64, 1 << 10)
        .await;
    assert_eq!(end.unwrap(), whole[whole.len() - CHUNK..][..1 << 10]);
    whole
}

fn transfers() {
    on_node(async |node| {
        let mut daemon = Some(node.start());
        let point = node.serve(&node.export("fs1")).await;
        let mut client = Client::new(&point, node.owner.0).await;
        let server = node.ganesha().unwrap();

        // The daemon dies and another one comes, an export comes and goes: nobody notices.
        let whole = transfer(&mut client, "calm", async |index| match index {
            20 => daemon = None,
            40 => daemon = Some(node.start()),
            60 => {
                node.want(&node.export("fs2")).await;
                node.served("fs2").await;
            }
            80 => {
                node.want_no_more("fs2").await;
                while node.report("fs2").await.is_some() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            _ => {}
        })
        .await;
        assert_eq!(client.reconnects, 0);
        assert_eq!(node.ganesha(), Some(server));
        let stored = Path::new(&point.path).join("calm");
        assert!(std::fs::read(stored).unwrap() == whole);

        // The server is killed: the client waits and goes on with its handles.
        let whole = transfer(&mut client, "rough", async |index| {
            if index == 30 || index == 90 {
                node.kill_ganesha();
            }
        })
        .await;
        assert!(client.reconnects >= 2);
        let stored = Path::new(&point.path).join("rough");
        assert!(std::fs::read(stored).unwrap() == whole);

        // Both at once; the next daemon starts the server again.
        drop(daemon.take());
        let killed = node.kill_ganesha();
        let copying = transfer(&mut client, "both", async |_| {});
        let restarted = async {
            while is_alive(killed.as_raw()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            node.start()
        };
        let (whole, _daemon) = tokio::join!(copying, restarted);
        let stored = Path::new(&point.path).join("both");
        assert!(std::fs::read(stored).unwrap() == whole);
    });
}

fn foreign_transfer() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        let user = node.owner.0;
        let target = node.url(&point, "/file", &format!("&uid={user}&gid={user}"));
        let file = node.path("file");
        let bytes = 200 << 20;
        write_file(&file, bytes, 5);
        let copy = Command::new("nfs-cp").arg(&file).arg(&target).spawn();
        let mut copy = copy.unwrap();
        let stored = Path::new(&point.path).join("file");
        while stored.metadata().map_or(0, |file| file.len()) < 20 << 20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node.kill_ganesha();
        let status = tokio::task::spawn_blocking(move || copy.wait());
        assert!(status.await.unwrap().unwrap().success());
        assert!(std::fs::read(stored).unwrap() == contents(bytes, 5));
    });
}

fn without_store() {
    on_node(async |node| {
        let _daemon = node.start();
        let point = node.serve(&node.export("fs1")).await;
        node.store.set_away(true);
        let killed = node.kill_ganesha();
        let mut client = loop {
            let who = Who {
                address: node.address.clone(),
                user: node.owner.0,
                privileged_port: true,
            };
            match Client::try_new(&point, &who).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert_ne!(node.ganesha(), Some(killed));
        let root = client.root();
        client.create(&root, "file", 0o644).await.unwrap();
        // What changed meanwhile is done when the store is back.
        node.want(&node.export("fs2")).await;
        node.store.set_away(false);
        node.served("fs2").await;
    });
}

fn come_and_go() {
    on_node(async |mut node| {
        let given = node.path("given");
        std::fs::create_dir(&given).unwrap();
        std::fs::set_permissions(&given, PermissionsExt::from_mode(0o2750)).unwrap();
        let somebody = new_user().uid;
        chown(&given, Some(somebody), Some(somebody)).unwrap();
        std::fs::write(given.join("old"), "x").unwrap();
        let own = node.path("own");
        std::fs::create_dir(&own).unwrap();
        node.config.directories = vec![own.clone(), given.clone()];
        let _daemon = node.start();
        let first = node.export("fs1");
        let mut second = node.export("fs2");
        second.storage = ExportStorage::Directory(given.to_string_lossy().into_owned());
        node.want(&first).await;
        let (first_point, second_point) = (node.served("fs1").await, node.serve(&second).await);
        assert_eq!(Path::new(&first_point.path), own.join("fs1"));
        let made = std::fs::metadata(&first_point.path).unwrap();
        assert_eq!((made.uid(), made.mode() & 0o7777), (node.owner.0, 0o755));
        let kept = std::fs::metadata(&second_point.path).unwrap();
        assert_eq!((kept.uid(), kept.mode() & 0o7777), (somebody, 0o2750));
        let usage = |report: &lote_model::export::ExportReport| report.usage;
        let usage = node.reported("fs2", usage).await;
        assert!(usage.free_bytes > 0);

        // Withdrawn: served no more, the files stay or go.
        std::fs::write(Path::new(&first_point.path).join("file"), "x").unwrap();
        let url = node.url(&first_point, "", "");
        assert!(run("nfs-ls", &[&url]).status.success());
        let withdraw = |erase| ExportPhase::Withdraw { erase };
        let mut gone = first.clone();
        gone.phase = withdraw(false);
        node.want(&gone).await;
        node.withdrawn("fs1").await;
        assert!(!run("nfs-ls", &[&url]).status.success());
        assert!(Path::new(&first_point.path).join("file").exists());
        node.want_no_more("fs1").await;

        let mut third = node.export("fs3");
        let third_point = node.serve(&third).await;
        std::fs::write(Path::new(&third_point.path).join("file"), "x").unwrap();
        third.phase = withdraw(true);
        second.phase = withdraw(true);
        node.want(&third).await;
        node.withdrawn("fs3").await;
        assert!(!Path::new(&third_point.path).exists());
        // With the last export the server goes.
        let server = node.ganesha().unwrap();
        node.want(&second).await;
        node.withdrawn("fs2").await;
        assert!(given.exists() && !given.join("old").exists());
        assert!(!is_alive(server.as_raw()));
        node.want_no_more("fs2").await;
        while node.report("fs2").await.is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

fn refusals() {
    on_node(async |mut node| {
        let place = node.path("place");
        std::fs::create_dir(&place).unwrap();
        symlink("/etc", place.join("link")).unwrap();
        node.config.directories = vec![place.clone()];
        let _daemon = node.start();
        let inside = |name: &str| place.join(name).to_string_lossy().into_owned();
        let disks = |path: &str| ExportStorage::Disks {
            paths: vec![path.into()],
            erase: true,
        };
        let taken = ExportStorage::Directory(inside("taken"));
        let mut first = node.export("fs0");
        first.storage = taken.clone();
        node.serve(&first).await;
        let cases = [
            (
                "fs1",
                ExportStorage::Directory("/etc".into()),
                "DirectoryNotAllowed",
            ),
            (
                "fs2",
                ExportStorage::Directory(inside("../etc")),
                "DirectoryNotAllowed",
            ),
            (
                "fs3",
                ExportStorage::Directory(inside("link")),
                "DirectoryNotAllowed",
            ),
            (
                "fs4",
                ExportStorage::Directory(inside("a\"b")),
                "DirectoryName",
            ),
            (
                "fs5",
                ExportStorage::Directory(inside("taken/below")),
                "DirectoryInUse",
            ),
            ("fs6", taken, "DirectoryInUse"),
            ("fs7", disks("/dev/null"), "DiskNotAllowed"),
        ];
        for (uid, storage, code) in cases {
            let mut export = node.export(uid);
            export.storage = storage;
            node.want(&export).await;
            let error = node.failed(uid).await;
            assert_eq!(error.code, code, "{uid}: {error:?}");
        }
        // None of them keeps the others from being served.
        assert!(matches!(
            node.report("fs0").await.unwrap().state,
            ExportState::Serving(_)
        ));
    });
}

fn taken_port() {
    on_node(async |node| {
        let port = ("127.0.0.1", node.config.nfs_port);
        let listener = std::net::TcpListener::bind(port).unwrap();
        let _daemon = node.start();
        node.want(&node.export("fs1")).await;
        let error = node.failed("fs1").await;
        assert_eq!(error.code, "NfsServerFailed", "{error:?}");
        let log = error
            .details
            .iter()
            .find(|it| it.name == "the server's log");
        assert!(!log.unwrap().value.is_empty());
        drop(listener);
        node.served("fs1").await;
    });
}

/// A loop device over a file.
struct Disk(String);

impl Disk {
    fn new(node: &FileServerNode) -> Option<Self> {
        let file = node.path("disk.img");
        std::fs::File::create(&file)
            .unwrap()
            .set_len(512 << 20)
            .unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .output();
        let made = made.ok().filter(|made| made.status.success())?;
        Some(Self(
            String::from_utf8(made.stdout).unwrap().trim().to_owned(),
        ))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("losetup")
            .args(["--detach", &self.0])
            .status()
            .ok();
    }
}

fn disk() {
    on_node(async |mut node| {
        let Some(disk) = Disk::new(&node) else {
            eprintln!("SKIPPED: export::a_disk_is_formatted_found_and_wiped: no loop devices here");
            return;
        };
        said("mkfs.ext4", &["-q", &disk.0]);
        node.config.disks = vec![disk.0.as_str().into()];
        let daemon = node.start();
        // Ganesha runs already when the disk is mounted.
        node.serve(&node.export("fs0")).await;
        let storage = |erase| ExportStorage::Disks {
            paths: vec![disk.0.clone()],
            erase,
        };
        let mut export = node.export("fs1");
        export.size_limit_bytes = 100 << 20;
        export.storage = storage(false);
        node.want(&export).await;
        assert_eq!(node.failed("fs1").await.code, "DiskInUse");
        export.storage = storage(true);
        let point = node.serve(&export).await;
        assert!(point.size_limit.in_force);
        let mut client = Client::new(&point, node.owner.0).await;
        let root = client.root();
        let file = client.create(&root, "file", 0o644).await.unwrap();
        client.write(&file, 0, b"on disk").await.unwrap();
        // No larger than asked for, although the disk is.
        let mut full = Err(nfsstat3::NFS3ERR_IO);
        let chunk = vec![1; 1 << 20];
        for index in 1..300 {
            full = client.write(&file, index << 20, &chunk).await;
            if full.is_err() {
                break;
            }
        }
        assert_eq!(full, Err(nfsstat3::NFS3ERR_NOSPC));

        // As after a reboot: nothing runs, nothing is mounted.
        drop(daemon);
        let killed = node.kill_ganesha();
        while is_alive(killed.as_raw()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mounted = node.path("data/export-disks/fs1");
        said("umount", &[mounted.to_str().unwrap()]);
        let _daemon = node.start();
        assert_eq!(client.read(&file, 0, 7).await.unwrap(), b"on disk");
        assert!(client.reconnects > 0);

        export.phase = ExportPhase::Withdraw { erase: true };
        node.want(&export).await;
        node.withdrawn("fs1").await;
        assert!(!mounted.exists());
        let left = run("blkid", &["--probe", &disk.0]);
        assert_eq!(left.status.code(), Some(2), "{left:?}");
    });
}

fn missing_server() {
    on_node(async |mut node| {
        if Path::new("/proc/fs/nfsd/threads").exists() {
            eprintln!("SKIPPED: export::a_server_that_is_missing_is_named: this kernel has one");
            return;
        }
        node.config.server = ServerChoice::Kernel;
        let _daemon = node.start();
        node.want(&node.export("fs1")).await;
        let error = node.failed("fs1").await;
        assert_eq!(error.code, "NfsServerMissing");
        assert!(error.message.contains("install"), "{error:?}");
    });
}
