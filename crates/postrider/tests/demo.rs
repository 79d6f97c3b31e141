//! `postrider demo` as anybody runs it: ends by itself, loses nothing, leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::Read as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[test]
fn the_demo_ends_by_itself_with_nothing_lost_and_nothing_left_behind() {
    let out = plays(&["demo"], Duration::from_secs(30));
    assert!(!out.contains("Exchange ends"), "{out}");
}

#[test]
fn a_day_with_exchange_ends_by_itself_with_nothing_lost() {
    let out = plays(&["demo", "--profile", "exchange"], Duration::from_secs(70));
    for told in [
        "legal is refused",
        "mailbox_permission_missing",
        "by the cycle",
        "4 sessions replaced",
        "the new secret brought the next token",
        "AccessTokenExpired",
        "Suggested Backoff Time",
    ] {
        assert!(out.contains(told), "{told}: {out}");
    }
}

/// What it prints, when it has ended by itself within the time that it promises.
fn plays(arguments: &[&str], limit: Duration) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_postrider"))
        .args(arguments)
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + limit;
    // What it prints fits into a pipe, so it never waits for us.
    let status = loop {
        if let Some(status) = demo.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() >= deadline {
            demo.kill().unwrap();
            demo.wait().unwrap();
            break None;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let (mut out, mut err) = (String::new(), String::new());
    demo.stdout.unwrap().read_to_string(&mut out).unwrap();
    demo.stderr.unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(0),
        "{out}\n{err}"
    );
    let lines: Vec<String> = out
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert!(lines.iter().any(|line| line == "lost 0"), "{out}");
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("the account adds up")),
        "{out}"
    );
    assert_eq!(err, "", "no noise");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    out
}
