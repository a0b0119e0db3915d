//! What a daemon that systemd has started tells it.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use lote_tests::PATIENCE;
use lote_tests::daemon::Daemon;

#[test]
fn systemd_hears_that_the_daemon_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).expect("a word of the daemon");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let environment = [
        "env",
        &format!("NOTIFY_SOCKET={}", path.display()),
        &format!("WATCHDOG_USEC={}", Duration::from_millis(600).as_micros()),
    ];
    let mut daemon = Daemon::start_prepared(&environment, &[]);
    assert_eq!(heard(), "STATUS=waiting for the store\n");
    let ready = heard();
    let node = &daemon.client().get("/v1/nodes").json["value"][0]["name"];
    assert!(ready.starts_with("READY=1\nSTATUS="), "{ready}");
    assert!(ready.contains(node.as_str().unwrap()), "{ready}");
    for _ in 0..3 {
        assert_eq!(heard(), "WATCHDOG=1\n");
    }
    daemon.stop();
    let last = std::iter::repeat_with(heard).find(|word| word != "WATCHDOG=1\n");
    assert_eq!(last.as_deref(), Some("STOPPING=1\n"));
}
