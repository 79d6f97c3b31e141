//! A server that is not ours and plays after no script of ours: hoodiecrow-imap, from npm. It takes
//! XOAUTH2 of `testuser` with `testtoken` alone.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use postrider_core::watch::{Failure, Part};
use postrider_imap::{error::Error, role::Role, session::Session, wait::WaitEnd};
use tokio::time::Instant;

use crate::{
    folders::cursor,
    reading::told,
    script::{AMPLE, Shelf, inbox, server, token, uids},
};

/// Listens on a port of its own choice, tells it, and appends a message for each line that it reads.
const SERVER: &str = r#"
const hoodiecrow = require("hoodiecrow-imap");
const server = hoodiecrow({
    plugins: ["ID", "SASL-IR", "XOAUTH2", "IDLE", "NAMESPACE", "SPECIAL-USE", "UNSELECT"],
    users: { testuser: { password: "testpass", xoauth2: { accessToken: "testtoken", sessionTimeout: 3600000 } } },
    storage: {
        "INBOX": { messages: [{ raw: "Subject: one\r\n\r\n1" }, { raw: "Subject: two\r\n\r\n2" }] },
        "": { separator: "/", folders: { "Werbung": { "special-use": "\\Junk" } } },
    },
});
server.listen(0, "127.0.0.1", () => console.log(server.server.address().port));
process.stdin.on("data", () => server.appendMessage("INBOX", [], "", "Subject: new\r\n\r\nn"));
process.stdin.on("end", () => process.exit());
"#;

struct Hoodiecrow {
    /// Ends when its standard input does, at the latest with this process.
    child: Child,
    port: u16,
}

impl Hoodiecrow {
    fn start() -> Self {
        let modules =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.node/node_modules/hoodiecrow-imap");
        assert!(
            modules.exists(),
            "hoodiecrow-imap is not installed; run scripts/install-test-tools.sh"
        );
        let mut child = Command::new("node")
            .args(["--no-deprecation", "-e", SERVER])
            .env("NODE_PATH", modules.parent().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts; run scripts/install-test-tools.sh");
        let mut port = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut port).unwrap();
        let port = port.trim().parse().unwrap();
        Self { child, port }
    }

    fn deliver(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        std::io::Write::write_all(stdin, b"\n").unwrap();
    }

    async fn open(&self, access: &str) -> Result<Session, Error> {
        let at = server(([127, 0, 0, 1], self.port).into());
        Session::open(&at, &token("testuser", access)).await
    }
}

impl Drop for Hoodiecrow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn hoodiecrow_takes_our_xoauth2_and_is_watched() {
    let mut hoodiecrow = Hoodiecrow::start();
    let mut session = hoodiecrow.open("testtoken").await.unwrap();
    let junk = session.folder_of(Role::Junk).await.unwrap();
    assert_eq!(junk.as_str(), "Werbung");
    let selected = session.examine(&inbox()).await.unwrap();
    assert_eq!(selected.exists, 2);
    let mut shelf = Shelf::default();
    let asked = uids([1, 2]);
    let read = session.read(&asked, Part::Whole, AMPLE, &mut shelf);
    let bodies = told(&read.await.unwrap().answers);
    assert_eq!(
        bodies,
        [
            "1 memory Subject: one\r\n\r\n1",
            "2 memory Subject: two\r\n\r\n2"
        ]
    );
    hoodiecrow.deliver();
    let until = Instant::now() + Duration::from_secs(10);
    let ended = session.wait(until, std::future::pending::<()>()).await;
    assert_eq!(ended.unwrap(), WaitEnd::Changed);
    let survey = session.survey(&cursor(2, [])).await.unwrap();
    assert_eq!(survey.uids, uids([3]));
    session.logout().await;
}

#[tokio::test]
async fn hoodiecrow_refuses_another_token_by_its_challenge() {
    let hoodiecrow = Hoodiecrow::start();
    let error = hoodiecrow.open("anothertoken").await.err().unwrap();
    assert_eq!(error.failure(), Failure::LoginRefused);
    let text = error.to_string();
    assert!(text.contains("\"status\":\"400\""), "{text}");
}
