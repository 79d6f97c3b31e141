//! Every way to log in, with tokens that Dovecot itself checks, and what happens when they end.

use std::{collections::BTreeMap, time::Duration};

use super::{
    figures::figure,
    world::{APP_SECRET, RECOVERY, Settings, World},
};
use crate::support::issuer::Issuer;

const HOUR: Duration = Duration::from_secs(3600);

fn app_tokens(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("app-token-{n}")).collect()
}

/// What the server notes of a user's logins.
fn logins(world: &World, user: &str, mechanism: &str) -> usize {
    let log = world.dovecot.log();
    let noted = |line: &&str| {
        line.contains("Login: user=<")
            && line.contains(&format!("user=<{user}>"))
            && line.contains(&format!("method={mechanism},"))
    };
    log.lines().filter(noted).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_log_in_brings_the_mail() {
    let tokens = app_tokens(1);
    let mut world = World::new(Settings {
        mailboxes: 6,
        app_tokens: tokens.clone(),
        ..Settings::default()
    })
    .await;
    let app = Issuer::start(APP_SECRET, [(tokens[0].clone(), HOUR)]).await;
    let own = world.dovecot.user_token(&world.users[2], HOUR);
    let single = Issuer::start(APP_SECRET, [(own, HOUR)]).await;
    let ca = world.dovecot.ca_file();
    let port = world.dovecot.imaps_port();
    let starttls = world.dovecot.starttls_port();
    let server = |port: u16, more: &str| {
        format!(
            "server = {{ host = \"localhost\", port = {port}, ca_file = \"{}\", {more} }}",
            ca.display()
        )
    };
    let token = "credential = \"app\"".to_owned();
    world.settings.more =
        app.credential("app", "APP_SECRET") + &single.credential("own", "APP_SECRET");
    world.settings.members = BTreeMap::from([
        (0, token.clone()),
        (1, token.clone()),
        (2, "credential = \"own\"".to_owned()),
        (
            3,
            format!("{token}, {}", server(port, "oauth = \"oauthbearer\"")),
        ),
        (5, server(starttls, "tls = \"starttls\"")),
    ]);
    world.start();
    world.expect_watching(6).await;
    for mailbox in 0..6 {
        world.burst(mailbox, 2).await;
    }
    world.expect_all().await;
    world.expect_account().await;
    let ways = [
        "XOAUTH2",
        "XOAUTH2",
        "XOAUTH2",
        "OAUTHBEARER",
        "PLAIN",
        "PLAIN",
    ];
    for (user, way) in world.users.iter().zip(ways) {
        assert_eq!(
            logins(&world, user, way),
            1,
            "{user} {way}: {}",
            world.dovecot.log()
        );
    }
    assert_eq!(app.issued().len(), 1, "one token serves three mailboxes");
    assert_eq!(world.repeats(), 0);
}

/// Dovecot tells its refusal of a token in a challenge, and waits for an answer to it before the NO:
/// XOAUTH2 wants an empty line, OAUTHBEARER a single 0x01.
#[tokio::test(flavor = "multi_thread")]
async fn the_challenge_of_a_refused_token_is_answered_and_kept_for_the_operator() {
    let wrong = std::iter::repeat_n(("no.such.token".to_owned(), HOUR), 20);
    let issuer = Issuer::start(APP_SECRET, wrong).await;
    let mut world = World::new(Settings {
        mailboxes: 3,
        more: issuer.credential("wrong", "APP_SECRET"),
        ..Settings::default()
    })
    .await;
    let bearer = format!(
        "credential = \"wrong\", server = {{ host = \"localhost\", port = {}, ca_file = \"{}\", oauth = \"oauthbearer\" }}",
        world.dovecot.imaps_port(),
        world.dovecot.ca_file().display()
    );
    world.settings.members =
        BTreeMap::from([(0, "credential = \"wrong\"".to_owned()), (1, bearer)]);
    world.start();
    world.expect_state("box2", "watching").await;
    for (key, status) in [("box0", "\"status\":\"401\""), ("box1", "invalid_token")] {
        world.expect_state(key, "auth_failed").await;
        let told = world.mailbox(key)["last_error"].clone();
        assert_eq!(told["cause"], "login_refused", "{told:#}");
        let detail = told["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(status), "{detail}");
    }
    world.burst(2, 2).await;
    world.expect_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_replaced_before_their_token_ends() {
    // The token is replaced at half its life, and each session before its token's end.
    const LIFE: Duration = Duration::from_secs(12);
    let tokens = app_tokens(3);
    let issuer = Issuer::start(APP_SECRET, tokens.iter().map(|it| (it.clone(), LIFE))).await;
    let mut world = World::watching(Settings {
        mailboxes: 5,
        credential: "app",
        more: issuer.credential("app", "APP_SECRET"),
        app_tokens: tokens.clone(),
        ..Settings::default()
    })
    .await;
    for round in 0..2 {
        let ends = issuer.issued()[round] + LIFE;
        while std::time::Instant::now() < ends {
            for mailbox in 0..5 {
                world.burst(mailbox, 1).await;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(200..900))).await;
        }
        for user in &world.users {
            assert!(
                logins(&world, user, "XOAUTH2") > round + 1,
                "{user} has a new session when token {round} ends"
            );
        }
        // What was valid is valid no more, so a session that comes back with it would be refused.
        let rest: Vec<&str> = tokens[round + 1..].iter().map(String::as_str).collect();
        world.dovecot.set_app_tokens(&rest).await;
    }
    world.expect_all().await;
    world.expect_watching(5).await;
    world.expect_account().await;
    assert!(!world.log().contains("login_refused"), "{}", world.log());
    assert_eq!(world.repeats(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_in_mid_session_is_replaced() {
    let tokens = app_tokens(2);
    let issuer = Issuer::start(APP_SECRET, tokens.iter().map(|it| (it.clone(), HOUR))).await;
    let mut world = World::watching(Settings {
        mailboxes: 5,
        credential: "app",
        more: issuer.credential("app", "APP_SECRET"),
        app_tokens: tokens.clone(),
        ..Settings::default()
    })
    .await;
    world.dovecot.set_app_tokens(&[&tokens[1]]).await;
    for user in &world.users {
        world.dovecot.kick(user).await;
    }
    for mailbox in 0..5 {
        world.burst(mailbox, 1).await;
    }
    let took = world
        .expect_within(RECOVERY, "all watched with the new token", |world| {
            issuer.issued().len() == 2 && world.in_state("watching") == 5
        })
        .await;
    figure("revoked_token_all_watched", took.as_secs_f64(), "s");
    world.expect_all().await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_for_a_while_is_watched_again_soon_after() {
    let world = World::watching(Settings {
        mailboxes: 3,
        ..Settings::default()
    })
    .await;
    let refused = world.users[1].clone();
    world.dovecot.refuse_logins(&[&refused]).await;
    world.dovecot.kick(&refused).await;
    world.expect_state("box1", "auth_failed").await;
    assert_eq!(
        world
            .metric("postrider_mailboxes{state=\"auth_failed\"}")
            .await,
        1.0
    );
    let told = world.mailbox("box1");
    assert_eq!(told["last_error"]["cause"], "login_refused", "{told:#}");
    for mailbox in 0..3 {
        world.burst(mailbox, 3).await;
    }
    world
        .expect("the others' mail arrives", |world| {
            world.receiver.distinct_ids() == 6
        })
        .await;
    world.dovecot.refuse_logins(&[]).await;
    let took = world
        .expect_within(RECOVERY, "watched again", |world| {
            world.in_state("watching") == 3
        })
        .await;
    figure("refused_login_watched_again", took.as_secs_f64(), "s");
    world.expect_all().await;
    world.expect_account().await;
    assert_eq!(
        logins(&world, &world.users[0], "PLAIN"),
        1,
        "the others keep their sessions"
    );
    assert_eq!(
        logins(&world, &world.users[2], "PLAIN"),
        1,
        "the others keep their sessions"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_wrong_for_ever_changes_nothing_for_the_others() {
    let mut world = World::new(Settings {
        mailboxes: 4,
        more: "[credentials.wrong]\ntype = \"password\"\npassword = { env = \"WRONG_PASSWORD\" }\n"
            .to_owned(),
        members: BTreeMap::from([
            (1, "credential = \"wrong\"".to_owned()),
            (3, "folders = [\"No such folder\"]".to_owned()),
        ]),
        ..Settings::default()
    })
    .await;
    world.start();
    world.expect_state("box1", "auth_failed").await;
    world.expect_state("box3", "backoff").await;
    world.expect_state("box0", "watching").await;
    world.expect_state("box2", "watching").await;
    for _ in 0..5 {
        world.burst(0, 2).await;
        world.burst(2, 2).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    world.expect_all().await;
    for (state, count) in [("watching", 2.0), ("auth_failed", 1.0), ("backoff", 1.0)] {
        let line = format!("postrider_mailboxes{{state=\"{state}\"}}");
        assert_eq!(world.metric(&line).await, count, "{state}");
    }
    let causes = [("box1", "login_refused"), ("box3", "folder_missing")];
    for (key, cause) in causes {
        let told = world.mailbox(key);
        assert_eq!(told["last_error"]["cause"], cause, "{told:#}");
        let hint = told["last_error"]["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty(), "{told:#}");
    }
    assert_eq!(logins(&world, &world.users[0], "PLAIN"), 1);
    assert_eq!(logins(&world, &world.users[2], "PLAIN"), 1);
}
