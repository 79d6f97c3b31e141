//! The Dovecot that the other tests lean on does what they need it for.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postrider_sandbox::mail::{Odd, plain};

use super::raw_client::RawClient;
use crate::support::dovecot::{Dovecot, Hibernate, Settings};

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";
const PASSWORDS: Settings<'static> = Settings {
    hibernate: Hibernate::Never,
    passwords: &[(ANN, "secret")],
    app_tokens: &[],
};
const HOUR: Duration = Duration::from_secs(3600);

fn xoauth2(user: &str, token: &str) -> String {
    let text = format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}");
    format!("AUTHENTICATE XOAUTH2 {}", STANDARD.encode(text))
}

fn oauthbearer(user: &str, token: &str) -> String {
    let text =
        format!("n,a={user},\u{1}host=localhost\u{1}port=993\u{1}auth=Bearer {token}\u{1}\u{1}");
    format!("AUTHENTICATE OAUTHBEARER {}", STANDARD.encode(text))
}

async fn connect(dovecot: &Dovecot) -> RawClient {
    RawClient::connect(dovecot.imaps_port(), dovecot.tls()).await
}

async fn login(dovecot: &Dovecot, command: &str) -> RawClient {
    let mut client = connect(dovecot).await;
    let answer = client.ask(command).await;
    assert!(answer.starts_with("t OK"), "{answer}: {}", dovecot.log());
    client
}

/// A wrong token is answered with a challenge, and with NO after the empty answer to it.
async fn is_refused(dovecot: &Dovecot, command: &str) {
    let mut client = connect(dovecot).await;
    client.send(&format!("t {command}")).await;
    let challenge = client.line().await;
    assert!(challenge.starts_with("+ ey"), "{challenge}");
    client.send("").await;
    let answer = client.until("t ").await;
    assert!(
        answer.starts_with("t NO [AUTHENTICATIONFAILED]"),
        "{answer}"
    );
}

#[tokio::test]
async fn every_way_to_log_in_works_and_is_refused_with_a_wrong_secret() {
    let app_tokens = &["app.token.1", "app.token.2"];
    let mut dovecot = Dovecot::start(Settings {
        app_tokens,
        ..PASSWORDS
    })
    .await;
    let ca = std::fs::read_to_string(dovecot.ca_file()).unwrap();
    assert_eq!(ca, dovecot.tls().ca_pem());

    login(&dovecot, &format!("LOGIN {ANN} secret")).await;
    let refused = connect(&dovecot)
        .await
        .ask(&format!("LOGIN {ANN} wrong"))
        .await;
    assert!(
        refused.starts_with("t NO [AUTHENTICATIONFAILED]"),
        "{refused}"
    );
    let port = dovecot.starttls_port();
    let mut upgraded = RawClient::connect_by_starttls(port, dovecot.tls()).await;
    assert!(
        upgraded
            .ask(&format!("LOGIN {ANN} secret"))
            .await
            .starts_with("t OK")
    );

    for user in [ANN, BOB] {
        login(&dovecot, &xoauth2(user, "app.token.1")).await;
        login(&dovecot, &oauthbearer(user, "app.token.2")).await;
        is_refused(&dovecot, &xoauth2(user, "app.token.3")).await;
    }
    let token = dovecot.user_token(ANN, HOUR);
    login(&dovecot, &xoauth2(ANN, &token)).await;
    login(&dovecot, &oauthbearer(ANN, &token)).await;
    is_refused(&dovecot, &xoauth2(BOB, &token)).await;
    is_refused(&dovecot, &xoauth2(ANN, &dovecot.expired_user_token(ANN))).await;

    dovecot.set_app_tokens(&["app.token.3"]).await;
    dovecot.set_passwords(&[(ANN, "new")]).await;
    is_refused(&dovecot, &xoauth2(ANN, "app.token.1")).await;
    login(&dovecot, &xoauth2(ANN, "app.token.3")).await;

    dovecot.refuse_logins(&[ANN]).await;
    is_refused(&dovecot, &xoauth2(ANN, "app.token.3")).await;
    login(&dovecot, &xoauth2(BOB, "app.token.3")).await;
    dovecot.refuse_logins(&[]).await;
    login(&dovecot, &format!("LOGIN {ANN} new")).await;
}

#[tokio::test]
async fn mail_by_lmtp_is_announced_in_idle() {
    for hibernate in [Hibernate::Never, Hibernate::Soon] {
        let dovecot = Dovecot::start(Settings {
            hibernate,
            ..PASSWORDS
        })
        .await;
        let mut client = login(&dovecot, &format!("LOGIN {ANN} secret")).await;
        assert!(client.ask("EXAMINE INBOX").await.starts_with("t OK"));
        client.send("i IDLE").await;
        client.until("+ ").await;
        if hibernate == Hibernate::Soon {
            dovecot.wait_for_hibernated(1).await;
        }
        dovecot.deliver(ANN, &plain(1, 5000)).await;
        client.until("* 1 EXISTS").await;
        client.send("DONE").await;
        client.until("i OK").await;
    }
}

#[tokio::test]
async fn odd_messages_are_delivered() {
    let dovecot = Dovecot::start(Settings::default()).await;
    let mut lmtp = dovecot.lmtp().await;
    for (number, odd) in (1..).zip(Odd::ALL) {
        lmtp.deliver(ANN, &odd.make(number)).await;
    }
    lmtp.deliver(BOB, b"Subject: dots\r\n\r\n.\r\n..\r\nno end of line")
        .await;
    assert_eq!(dovecot.messages(ANN).await, Odd::ALL.len());
    assert_eq!(dovecot.messages(BOB).await, 1);
    dovecot.expunge(ANN, "INBOX", "UID 1:6").await;
    assert_eq!(dovecot.messages(ANN).await, Odd::ALL.len() - 6);
}

#[tokio::test]
async fn sessions_end_by_kick_stop_and_kill_and_it_comes_back_with_its_mail() {
    let mut dovecot = Dovecot::start(PASSWORDS).await;
    dovecot.deliver(ANN, &plain(1, 1000)).await;
    for way in ["kick", "stop", "kill"] {
        let mut client = login(&dovecot, &format!("LOGIN {ANN} secret")).await;
        client.ask("EXAMINE INBOX").await;
        client.send("i IDLE").await;
        client.until("+ ").await;
        match way {
            "kick" => dovecot.kick(ANN).await,
            "stop" => dovecot.stop().await,
            _ => dovecot.kill().await,
        }
        let last = client.line().await;
        let ends = last.is_empty() || last.starts_with("* BYE");
        assert!(ends, "{way}: {last}");
        assert!(way != "kill" || last.is_empty(), "{last}");
        if way != "kick" {
            dovecot.start_again().await;
        }
    }
    assert_eq!(dovecot.messages(ANN).await, 1);
}

#[tokio::test]
async fn an_idling_session_does_not_notice_a_changed_uidvalidity() {
    let dovecot = Dovecot::start(PASSWORDS).await;
    dovecot.deliver(ANN, &plain(1, 1000)).await;
    let before = dovecot.uidvalidity(ANN).await;
    let mut client = login(&dovecot, &format!("LOGIN {ANN} secret")).await;
    client.send("t EXAMINE INBOX").await;
    client.until(&format!("* OK [UIDVALIDITY {before}]")).await;
    client.until("t OK").await;
    client.send("i IDLE").await;
    client.until("+ ").await;
    let after = dovecot.change_uidvalidity(ANN).await;
    assert_ne!(before, after);
    client.send("DONE").await;
    client.until("i OK").await;
    client.send("t EXAMINE INBOX").await;
    client.until(&format!("* OK [UIDVALIDITY {after}]")).await;
    client.until("t OK").await;

    dovecot.create_folder(ANN, "Archive").await;
    dovecot.create_folder(ANN, "Archive").await;
    assert!(client.ask("EXAMINE Archive").await.starts_with("t OK"));
}
