//! `lote file-server ls|put|get|rm`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lote_model::transfer::CHUNK_BYTES;

use crate::file_stub::{Fault, FileStub};
use crate::terminal::{Run, Terminal};

fn large() -> Vec<u8> {
    let size = usize::try_from(4 * CHUNK_BYTES + 77).unwrap();
    let pattern: Vec<u8> = (0..253).collect();
    let mut bytes = pattern.repeat(size / 253 + 1);
    bytes.truncate(size);
    bytes
}

fn run(stub: &FileStub, line: &str) -> Run {
    crate::terminal::run(&stub.url, line)
}

/// A local folder and a daemon.
fn prepared() -> (tempfile::TempDir, FileStub) {
    (tempfile::tempdir().unwrap(), FileStub::start())
}

#[test]
fn a_tree_goes_there_and_comes_back() {
    let (folder, stub) = prepared();
    let top = folder.path().join("data");
    fs::create_dir_all(top.join("ünï/empty directory".replace(' ', "_"))).unwrap();
    fs::write(top.join("ünï/文件"), "content").unwrap();
    fs::write(top.join("nothing"), "").unwrap();
    fs::write(top.join("large"), large()).unwrap();
    fs::write(top.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(top.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("ünï/文件", top.join("latest")).unwrap();
    let sent = run(
        &stub,
        &format!("file-server put nfs -r {}/. sets", top.display()),
    );
    assert_eq!(sent.code, 0, "{}", sent.err);
    assert!(sent.err.contains("sent 4 files"), "{}", sent.err);
    assert_eq!(stub.count("PUT directories"), 1);
    // What is at the goal, and what is in it.
    assert_eq!(stub.count("GET files"), 2);
    assert_eq!(stub.state().files["sets/large"].bytes, large());
    assert_eq!(stub.state().files["sets/run.sh"].mode, "0755");
    assert!(
        stub.state()
            .directories
            .contains("sets/ünï/empty_directory")
    );
    let back = folder.path().join("back");
    let fetched = run(
        &stub,
        &format!("file-server get nfs sets/. {} --parallel 3", back.display()),
    );
    assert_eq!(fetched.code, 0, "{}", fetched.err);
    assert_eq!(fs::read(back.join("large")).unwrap(), large());
    assert_eq!(fs::read_to_string(back.join("latest")).unwrap(), "content");
    assert!(back.join("latest").is_symlink() && back.join("ünï/empty_directory").is_dir());
    assert_eq!(fs::read(back.join("nothing")).unwrap(), b"");
    let mode = fs::metadata(back.join("run.sh"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o100, 0o100);
    // The same once more: nothing is moved.
    let before = stub.count("PUT content") + stub.count("PUT uploads");
    let line = format!(
        "file-server put nfs {}/large {}/nothing sets",
        top.display(),
        top.display()
    );
    let again = run(&stub, &line);
    assert!(again.err.contains("2 there already"), "{}", again.err);
    assert_eq!(
        stub.count("PUT content") + stub.count("PUT uploads"),
        before
    );
    let again = run(
        &stub,
        &format!(
            "file-server get nfs sets/large sets/nothing {}",
            back.display()
        ),
    );
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("2 there already"), "{}", again.err);
}

#[test]
fn things_go_where_cp_would_put_them() {
    let (folder, stub) = prepared();
    let file = folder.path().join("f");
    fs::write(&file, "x").unwrap();
    let file = file.display();
    for line in [
        format!("file-server put nfs {file}"),
        format!("file-server put nfs {file} new"),
        format!("file-server put nfs {file} /d/"),
        format!("file-server put nfs {file} d/e/g"),
        format!("file-server put nfs {file} d"),
    ] {
        run(&stub, &line);
    }
    let there: Vec<String> = stub.state().files.keys().cloned().collect();
    assert_eq!(there, ["d/e/g", "d/f", "f", "new"]);
    let to = folder.path().join("to");
    fs::create_dir(&to).unwrap();
    assert_eq!(
        run(&stub, &format!("file-server get nfs d {}", to.display())).code,
        0
    );
    assert!(to.join("d/e/g").is_file());
    let all = folder.path().join("all");
    assert_eq!(
        run(&stub, &format!("file-server get nfs / {}", all.display())).code,
        0
    );
    assert!(all.join("new").is_file() && all.join("d/f").is_file());
    let missing = run(&stub, &format!("file-server get nfs none {}", to.display()));
    assert_eq!(missing.code, 3, "{}", missing.err);
}

#[test]
fn nothing_is_replaced_unasked() {
    let (folder, stub) = prepared();
    stub.put("f", b"there");
    let file = folder.path().join("f");
    fs::write(&file, "here").unwrap();
    let put = run(&stub, &format!("file-server put nfs {} f", file.display()));
    assert_eq!(put.code, 1);
    assert!(put.err.contains("--overwrite"), "{}", put.err);
    let get = run(&stub, &format!("file-server get nfs f {}", file.display()));
    assert_eq!(get.code, 1);
    assert!(get.err.contains("--overwrite"), "{}", get.err);
    assert_eq!(fs::read(&file).unwrap(), b"here");
    let put = run(
        &stub,
        &format!("file-server put --overwrite nfs {} f", file.display()),
    );
    assert_eq!(
        (put.code, stub.state().files["f"].bytes.as_slice()),
        (0, &b"here"[..]),
        "{}",
        put.err
    );
    stub.put("f", b"there again");
    let get = run(
        &stub,
        &format!("file-server get --overwrite nfs f {}", file.display()),
    );
    assert_eq!(get.code, 0, "{}", get.err);
    assert_eq!(fs::read(&file).unwrap(), b"there again");
}

#[test]
fn what_breaks_or_is_damaged_is_moved_again() {
    let (folder, stub) = prepared();
    let file = folder.path().join("f");
    fs::write(&file, large()).unwrap();
    stub.state().faults = vec![
        Fault::Unavailable("PUT uploads"),
        Fault::Breaks("GET files"),
        Fault::Unavailable("POST uploads"),
    ];
    let put = run(&stub, &format!("file-server put nfs {} f", file.display()));
    assert_eq!(put.code, 0, "{}", put.err);
    assert_eq!(stub.state().files["f"].bytes, large());
    stub.state().faults = vec![
        Fault::Damages("GET content"),
        Fault::Breaks("GET content"),
        Fault::Unavailable("GET content"),
    ];
    let back = folder.path().join("back");
    let get = run(&stub, &format!("file-server get nfs f {}", back.display()));
    assert_eq!(get.code, 0, "{}", get.err);
    assert_eq!(fs::read(&back).unwrap(), large());
    assert_eq!(stub.count("GET content"), 5 + 3);
}

#[test]
fn a_file_that_changes_on_its_way_is_not_mixed() {
    let (folder, stub) = prepared();
    stub.put("f", &large());
    stub.state().faults = vec![Fault::Changes("GET content")];
    let back = folder.path().join("back");
    let get = run(&stub, &format!("file-server get nfs f {}", back.display()));
    assert_eq!(get.code, 1);
    assert!(get.err.contains("changed while"), "{}", get.err);
    assert!(!back.exists());
    let get = run(&stub, &format!("file-server get nfs f {}", back.display()));
    assert_eq!(get.code, 0, "{}", get.err);
    assert_eq!(fs::read(&back).unwrap().len(), large().len() + 1);
}

#[test]
fn a_full_file_server_ends_it_all() {
    let (folder, stub) = prepared();
    let file = folder.path().join("f");
    fs::write(&file, large()).unwrap();
    stub.state().faults = vec![Fault::Full("PUT uploads")];
    let put = run(
        &stub,
        &format!("file-server put nfs --parallel 1 {} f", file.display()),
    );
    assert_eq!(put.code, 1);
    assert!(put.err.contains("FileServerFull"), "{}", put.err);
    assert_eq!(stub.count("DELETE uploads"), 1, "it makes room");
    assert_eq!(stub.count("PUT uploads"), 1);
}

#[test]
fn what_cannot_be_moved_is_told() {
    let (folder, stub) = prepared();
    let top = folder.path().join("top");
    fs::create_dir(&top).unwrap();
    fs::write(top.join("f"), "x").unwrap();
    symlink("/etc/passwd", top.join("out")).unwrap();
    let put = run(&stub, &format!("file-server put nfs {}", top.display()));
    assert_eq!(put.code, 1);
    assert!(put.err.contains("leads out of what is sent"), "{}", put.err);
    assert!(stub.state().files.contains_key("top/f"), "the others are");
    stub.state().links.insert("top/up".into(), "../../x".into());
    let back = folder.path().join("back");
    let get = run(
        &stub,
        &format!("file-server get nfs top/. {}", back.display()),
    );
    assert_eq!(get.code, 1);
    assert!(
        get.err.contains("leads out of what is fetched"),
        "{}",
        get.err
    );
    assert!(back.join("f").is_file() && !back.join("up").is_symlink());
}

#[test]
fn directories_are_listed_and_things_removed() {
    let (_, stub) = prepared();
    stub.put("a/f", b"12345");
    stub.state().links.insert("a/l".into(), "f".into());
    stub.state().directories.insert("a/d".into());
    assert_eq!(run(&stub, "file-server ls nfs a").out, "d/\nf\nl@\n");
    assert_eq!(run(&stub, "file-server ls nfs a/f").out, "f\n");
    let long = run(&stub, "file-server ls nfs -l a").out;
    assert!(
        long.contains("0644  5 B") && long.contains("l@ -> f"),
        "{long}"
    );
    let json = run(&stub, "file-server ls nfs a -o json").out;
    assert!(json.contains("\"etag\""), "{json}");
    let removed = run(&stub, "file-server rm nfs a/f");
    assert_eq!(removed.code, 0, "{}", removed.err);
    assert!(!stub.state().files.contains_key("a/f"));
    let unasked = run(&stub, "file-server rm -r nfs a");
    assert_eq!(unasked.code, 2, "{}", unasked.err);
}

#[test]
fn progress_is_one_line_on_a_terminal() {
    let (folder, stub) = prepared();
    stub.put("f", &large());
    let terminal = Terminal {
        live: true,
        ..Terminal::new()
    };
    let back = folder.path().join("back");
    let get = terminal.run(
        &stub.url,
        &format!("file-server get nfs f {}", back.display()),
    );
    assert_eq!(get.code, 0, "{}", get.err);
    assert!(
        get.err.contains(" MiB of 32.0 MiB") && get.err.contains("/s"),
        "{}",
        get.err
    );
}

const LINE: &str = "LOTE_TEST_LINE";
const URL: &str = "LOTE_TEST_URL";

/// Runs the command of its environment, in a process that can be killed.
#[test]
fn child() {
    let (Ok(url), Ok(line)) = (std::env::var(URL), std::env::var(LINE)) else {
        return;
    };
    let run = crate::terminal::run(&url, &line);
    panic!("it was to be killed before its end: {}", run.err);
}

fn spawn(stub: &FileStub, line: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "transfer::child", "--nocapture"])
        .envs([(URL, stub.url.as_str()), (LINE, line)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the command once two requests of a kind are answered and all its others hang.
fn interrupted(stub: &FileStub, kind: &'static str, line: &str) {
    stub.state().hang = Some((kind, 2));
    let mut child = spawn(stub, line);
    let deadline = Instant::now() + Duration::from_mins(1);
    // Four at once: two are answered, and four more wait.
    while stub.count(kind) < 5 {
        assert!(Instant::now() < deadline, "it does not get on");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut state = stub.state();
    state.hang = None;
    state.seen.clear();
}

#[test]
fn a_killed_upload_is_gone_on_with() {
    let (folder, stub) = prepared();
    let file = folder.path().join("f");
    fs::write(&file, large()).unwrap();
    let line = format!("file-server put nfs {} f", file.display());
    interrupted(&stub, "PUT uploads", &line);
    assert_eq!(stub.state().uploads.values().next().unwrap().1.len(), 2);
    let put = run(&stub, &line);
    assert_eq!(put.code, 0, "{}", put.err);
    assert_eq!(stub.count("PUT uploads"), 3, "two of five were there");
    assert_eq!(stub.state().files["f"].bytes, large());
}

#[test]
fn an_upload_of_a_changed_file_begins_anew() {
    let (folder, stub) = prepared();
    let file = folder.path().join("f");
    fs::write(&file, large()).unwrap();
    let line = format!("file-server put nfs {} f", file.display());
    interrupted(&stub, "PUT uploads", &line);
    let mut changed = large();
    changed[0] ^= 1;
    fs::write(&file, &changed).unwrap();
    let put = run(&stub, &line);
    assert_eq!(put.code, 0, "{}", put.err);
    assert_eq!(stub.count("PUT uploads"), 5);
    assert_eq!(stub.state().files["f"].bytes, changed);
}

fn part_of(path: &Path) -> u64 {
    let part = path.with_file_name("back.part");
    fs::metadata(part).map_or(0, |metadata| metadata.len())
}

#[test]
fn a_killed_download_is_gone_on_with() {
    let (folder, stub) = prepared();
    stub.put("f", &large());
    let back = folder.path().join("back");
    let line = format!("file-server get nfs f {}", back.display());
    interrupted(&stub, "GET content", &line);
    assert!(part_of(&back) > large().len() as u64 && !back.exists());
    let get = run(&stub, &line);
    assert_eq!(get.code, 0, "{}", get.err);
    let asked = stub.count("GET content");
    assert!((3..=5).contains(&asked), "{asked}");
    assert_eq!(fs::read(&back).unwrap(), large());
    assert_eq!(part_of(&back), 0);
}

#[test]
fn a_killed_download_of_a_changed_file_begins_anew() {
    let (folder, stub) = prepared();
    stub.put("f", &large());
    let back = folder.path().join("back");
    let line = format!("file-server get nfs f {}", back.display());
    interrupted(&stub, "GET content", &line);
    let mut changed = large();
    changed[0] ^= 1;
    stub.put("f", &changed);
    let get = run(&stub, &line);
    assert_eq!(get.code, 0, "{}", get.err);
    assert_eq!(stub.count("GET content"), 5);
    assert_eq!(fs::read(&back).unwrap(), changed);
}

#[test]
fn a_jobs_files_come_the_same_way() {
    let (folder, stub) = prepared();
    stub.put("stdout.txt", b"hello");
    stub.put("model/deep/large", &large());
    stub.put("model/empty", b"");
    let back = folder.path().join("back");
    stub.state().faults = vec![Fault::Damages("GET content")];
    let line = format!("job files get j model stdout.txt -O {}", back.display());
    let get = run(&stub, &line);
    assert_eq!(get.code, 0, "{}", get.err);
    assert_eq!(fs::read(back.join("model/deep/large")).unwrap(), large());
    assert_eq!(fs::read(back.join("stdout.txt")).unwrap(), b"hello");
    assert!(back.join("model/empty").is_file());
    let again = run(&stub, &line);
    assert!(again.err.contains("3 there already"), "{}", again.err);
    // What has grown is fetched anew, without being asked for.
    stub.put("stdout.txt", b"hello, world");
    let get = run(&stub, &format!("job files get j -O {}", back.display()));
    assert_eq!(get.code, 0, "{}", get.err);
    assert_eq!(fs::read(back.join("stdout.txt")).unwrap(), b"hello, world");
    // And so is one that grows meanwhile, as far as it goes. (The first answer is only asked
    // for its head.)
    stub.put("log", &large());
    let log = back.join("log");
    stub.state().faults = vec![Fault::Damages("GET content"), Fault::Changes("GET content")];
    let get = run(&stub, &format!("job files get j log -O {}", log.display()));
    assert_eq!(get.code, 0, "{}", get.err);
    assert!(get.err.contains("wrote"), "{}", get.err);
    assert_eq!(fs::read(&log).unwrap().len(), large().len() + 1);
}

#[test]
fn a_killed_download_of_a_jobs_file_is_gone_on_with() {
    let (folder, stub) = prepared();
    stub.put("f", &large());
    let back = folder.path().join("back");
    let line = format!("job files get j f -O {}", back.display());
    // One of the answers tells its state.
    interrupted(&stub, "GET content", &line);
    let get = run(&stub, &line);
    assert_eq!(get.code, 0, "{}", get.err);
    assert!((5..=6).contains(&stub.count("GET content")));
    assert_eq!(fs::read(&back).unwrap(), large());
}
