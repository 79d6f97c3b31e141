//! What others look at: Prometheus, systemd, a probe.

use std::{
    io::Write,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::Duration,
};

use crate::world::{Settings, World};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_clean_and_probes_answer() {
    let world = World::watching(Settings::default()).await;
    world.burst(0, 3);
    world.expect_all().await;
    let text = world.metrics().await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.is_empty(), "{told}");
    assert!(!text.contains("example.org"), "no personal data in metrics");
    for path in ["livez", "readyz"] {
        let answer = reqwest::get(world.http(path)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let nothing_else = reqwest::get(world.http("v1/status")).await.unwrap();
    assert_eq!(nothing_else.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_ready_watchdog_reload_and_stop() {
    let mut world = World::new(Settings::default()).await;
    let path = world.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    world
        .environment
        .push(("NOTIFY_SOCKET".to_owned(), path.display().to_string()));
    world.start();
    let told = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = socket
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{wanted} was not told: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(wanted) {
                return text;
            }
        }
    };
    told("READY=1");
    let beat = told("WATCHDOG=1");
    assert!(beat.contains("STATUS=1/1 watching"), "{beat}");
    world.signal("-HUP");
    let reload = told("RELOADING=1");
    assert!(reload.contains("MONOTONIC_USEC="), "{reload}");
    told("READY=1");
    world.signal("-TERM");
    told("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_errors_hold_no_secret_and_no_address() {
    let world = World::watching(Settings {
        mailboxes: 2,
        ..Settings::default()
    })
    .await;
    world.burst(0, 3);
    world.expect_all().await;
    world.receiver.down().await;
    world.burst(1, 3);
    world
        .expect("the breaker open", |world| {
            world
                .ask(&["endpoints", "list"])
                .is_ok_and(|json| json["endpoints"][0]["state"] == "open")
        })
        .await;
    let log = world.log();
    for never in [
        crate::world::PASSWORD,
        crate::world::SECRET,
        "box0@example.org",
        "Subject",
    ] {
        assert!(!log.contains(never), "{never} in\n{log}");
    }
    for path in std::fs::read_dir(world.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        ) & 0o777;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("postrider.db") {
            assert_eq!(mode, 0o600, "{name}");
        } else if name == "admin.sock" {
            assert_eq!(mode, 0o660, "{name}");
        }
    }
}
