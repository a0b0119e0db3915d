//! Images that are pulled from a registry, which wants a password.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use lote_tests::client::{detail, first_error};
use lote_tests::daemon::Daemon;
use lote_tests::images::{Shelf, run};
use lote_tests::{PATIENCE, wait_for};
use serde_json::json;

use super::{can_run, job, left, printed};

/// `user:hunter2-of-registry` as htpasswd has it, by bcrypt of the cheapest kind.
const HTPASSWD: &str = "user:$2b$04$srAgYM9DQXa3fc16dc.YR.BIE0ccak1U8FHpZ91Tstmdob2xil1Iq\n";

/// The password.
const PASSWORD: &str = "hunter2-of-registry";

/// Debian's registry on loopback.
struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    fn start(shelf: &Shelf, test: &str) -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let htpasswd = shelf.path("htpasswd");
        std::fs::write(&htpasswd, HTPASSWD).unwrap();
        let config = shelf.path("registry.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n\
             auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            shelf.path("registry").display(),
            htpasswd.display()
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(shelf.path("registry.log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let Ok(child) = child else {
            crate::skip(test, "docker-registry is not installed");
            return None;
        };
        let registry = Self { child, port };
        wait_for("the registry to answer", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(registry)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn an_image_is_pulled_with_a_password_that_nobody_sees() {
    let test = "an_image_is_pulled_with_a_password_that_nobody_sees";
    if !can_run(test) {
        return;
    }
    let shelf = Shelf::new();
    let Some(registry) = Registry::start(&shelf, test) else {
        return;
    };
    let layout = shelf.layout("layout", &shelf.files("files"), &[]);
    let source = format!("oci:{}:image", layout.display());
    let target = format!("docker://{}/team/box:1", registry.host());
    let credentials = format!("user:{PASSWORD}");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "--quiet",
            "--dest-tls-verify=false",
            "--dest-creds",
            &credentials,
            &source,
            &target,
        ],
    );
    let daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let of = |password: Option<&str>| {
        let mut job = job("team/box:1", "cat /etc/release");
        let settings = &mut job["containerSettings"]["imageSourceRegistry"];
        settings["serverUrl"] = json!(format!("http://{}", registry.host()));
        if let Some(password) = password {
            settings["credentials"] = json!({"username": "user", "password": password});
        }
        job
    };
    let text = printed(&client, &experiment, "right", &of(Some(PASSWORD)));
    assert_eq!(text, "the image of a test\n");
    let path = format!("{experiment}/jobs/right");
    let log = client.output(&path, "stdouterr", "execution.log").unwrap();
    assert!(
        log.contains("pulling image") && log.contains("unpacked"),
        "{log}"
    );
    // The image is here now; who may not read it at the registry does not get it for that.
    for (name, password) in [("wrong", Some("wrong-password")), ("none", None)] {
        let path = client.submit(&experiment, name, &of(password));
        let ended = client.wait_for_end(&path);
        let error = first_error(&ended);
        assert_eq!(error["code"], "FailedStartingContainer", "{error}");
        assert_eq!(detail(&error, "imageName"), "team/box:1");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("authentication required") || message.contains("unauthorized"),
            "{message}"
        );
        assert!(!error.to_string().contains("wrong-password"), "{error}");
    }
    let text = printed(&client, &experiment, "again", &of(Some(PASSWORD)));
    assert_eq!(text, "the image of a test\n");
    let log = client.output(
        &format!("{experiment}/jobs/again"),
        "stdouterr",
        "execution.log",
    );
    assert!(log.unwrap().contains("is here already"));
    assert!(!daemon.log().contains(PASSWORD));
    assert_eq!(left(&daemon), Vec::<std::path::PathBuf>::new());
}

/// Programs of a daemon that fetch an image.
fn fetching(daemon: &Daemon) -> Vec<i32> {
    let marker = format!("{}/images", daemon.data().display());
    lote_tests::processes::mentioning(&marker)
}

#[test]
fn a_pull_ends_with_its_job_and_with_its_daemon() {
    let test = "a_pull_ends_with_its_job_and_with_its_daemon";
    if !can_run(test) {
        return;
    }
    // A registry that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = Daemon::start(&[]);
    let client = daemon.client();
    let experiment = client.experiment("e");
    let mut pulling = job("team/box:1", "true");
    let url = format!("http://{}", silent.local_addr().unwrap());
    let settings = &mut pulling["containerSettings"]["imageSourceRegistry"];
    settings["serverUrl"] = json!(url);
    settings["credentials"] = json!({"username": "user", "password": "never-to-be-seen"});
    let path = client.submit(&experiment, "unwanted", &pulling);
    wait_for("the pull", PATIENCE, || {
        (!fetching(&daemon).is_empty()).then_some(())
    });
    let doing = wait_for("the job to say so", PATIENCE, || {
        let job = client.job(&path);
        job["lote"]["preparing"][0]["doing"]
            .as_str()
            .map(str::to_owned)
    });
    assert!(doing.starts_with("asking for image docker://"), "{doing}");
    let seen = lote_tests::processes::mentioning("never-to-be-seen");
    assert_eq!(
        seen,
        Vec::<i32>::new(),
        "the password is on no command line"
    );
    client.post(&format!("{path}/terminate"));
    let error = first_error(&client.wait_for_end(&path));
    assert_eq!(error["code"], "JobTerminated");
    wait_for("the end of the pull", PATIENCE, || {
        fetching(&daemon).is_empty().then_some(())
    });
    let path = client.submit(&experiment, "killed", &pulling);
    wait_for("the pull", PATIENCE, || {
        (!fetching(&daemon).is_empty()).then_some(())
    });
    daemon.kill();
    wait_for("the end of the pull", PATIENCE, || {
        fetching(&daemon).is_empty().then_some(())
    });
    daemon.restart();
    let client = daemon.client();
    client.post(&format!("{path}/terminate"));
    client.wait_for_end(&path);
    wait_for("everything to be gone", PATIENCE, || {
        left(&daemon).is_empty().then_some(())
    });
    wait_for("half an image to be gone", PATIENCE, || {
        let unfinished = std::fs::read_dir(daemon.data().join("images/unfinished"));
        (unfinished.into_iter().flatten().count() == 0).then_some(())
    });
}
