//! Exchange Online's behaviour, fault by fault, each in a mailbox of its own and all at the same time
//! in one daemon: what the operator sees, what is tried again and when, and that nothing is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use postrider_sandbox::{
    imap::{
        Config, Goodbye, ImapServer, Levers, Profile, Refusal, Scope, ThrottleStyle, TlsMode,
        Ungranted,
    },
    mail,
    mailboxes::{Access, Renumber, names},
    token_endpoint::{TokenConfig, TokenEndpoint},
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    tenant::Tenant,
    world::{Settings, World},
};

/// What the server asks for, so that the recovery is the daemon's own time.
const BACKOFF: Duration = Duration::from_secs(3);

/// One fault, and what has to come of it.
struct Row {
    fault: &'static str,
    begin: fn(&Stand<'_>),
    /// What ends it; by itself, where it counts its times.
    end: fn(&Stand<'_>),
    sees: Sees,
    /// The mailbox has a credential of its own: a refusal that two mailboxes of one credential meet
    /// speaks of the token.
    credential: Credential,
    /// Seconds from a refused or throttled login, or the fault itself, to the next login.
    again: Option<(f64, f64)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Credential {
    Shared,
    Own,
}

/// What `postrider mailboxes` tells while the fault lasts.
#[derive(Clone, Copy)]
enum Sees {
    /// Nothing but a mailbox that is watched.
    Routine,
    /// This state and cause, and these words of the server's.
    Trouble(&'static str, &'static str, &'static str),
}

/// Where a fault happens.
struct Stand<'a> {
    world: &'a World,
    user: &'a str,
}

impl Stand<'_> {
    fn levers(&self, change: impl FnOnce(&mut Levers)) {
        self.world.server.levers(Scope::User(self.user), change);
    }

    fn drop_sessions(&self, goodbye: &Goodbye) {
        self.world
            .server
            .drop_sessions(Scope::User(self.user), goodbye);
    }

    fn access(&self, change: impl FnOnce(&mut Access)) {
        self.world.mailboxes.set_access(self.user, change).unwrap();
    }

    /// Ends the next session in place of a reply.
    fn ends_at(&self, command: &str, goodbye: Goodbye) {
        self.levers(|levers| levers.end_at_next(command, goodbye, 1));
    }

    fn throttles(&self, style: ThrottleStyle) {
        self.levers(|levers| levers.throttle_next(1, BACKOFF, style));
    }

    fn refuses(&self, refusal: Refusal, times: u32) {
        self.levers(|levers| levers.refuse_next_logins(refusal, times));
        self.drop_sessions(&Goodbye::Eof);
    }
}

fn itself(_: &Stand<'_>) {}

fn heals(at: &Stand<'_>) {
    at.levers(|levers| *levers = Levers::default());
}

fn is_granted(at: &Stand<'_>) {
    at.access(Access::grant);
    at.access(Access::enable_imap);
}

/// A fault of a session that works again after the next login, or at once.
const fn routine(fault: &'static str, begin: fn(&Stand<'_>), end: fn(&Stand<'_>)) -> Row {
    Row {
        fault,
        begin,
        end,
        sees: Sees::Routine,
        credential: Credential::Shared,
        again: None,
    }
}

const fn throttle(fault: &'static str, begin: fn(&Stand<'_>)) -> Row {
    Row {
        fault,
        begin,
        end: itself,
        sees: Sees::Trouble("throttled", "throttled", "Suggested Backoff Time: 3000"),
        credential: Credential::Shared,
        // What the server asks for, and the gate's own first wait of at most 30 s.
        again: Some((3.0, 32.0)),
    }
}

const fn refused(
    fault: &'static str,
    begin: fn(&Stand<'_>),
    end: fn(&Stand<'_>),
    says: &'static str,
) -> Row {
    Row {
        fault,
        begin,
        end,
        sees: Sees::Trouble("auth_failed", "login_refused", says),
        credential: Credential::Own,
        again: Some((4.0, 20.0)),
    }
}

const ROWS: &[Row] = &[
    refused(
        "AUTHENTICATE failed, twice",
        |at| at.refuses(Refusal::Credentials, 2),
        itself,
        "AUTHENTICATE failed.",
    ),
    refused(
        "AUTHENTICATE failed with LogonDenied",
        |at| at.refuses(Refusal::LogonDenied, 1),
        itself,
        "AuthFailed:LogonDenied",
    ),
    refused(
        "the grant is taken away, and the login refused",
        |at| {
            at.access(Access::revoke);
            at.drop_sessions(&Goodbye::Eof);
        },
        is_granted,
        "AUTHENTICATE failed.",
    ),
    refused(
        "the grant is taken away, and the user not connected",
        |at| {
            at.access(Access::revoke);
            at.levers(|levers| levers.ungranted = Ungranted::NotConnected);
            at.drop_sessions(&Goodbye::Eof);
        },
        is_granted,
        "User is authenticated but not connected.",
    ),
    refused(
        "IMAP is switched off for the mailbox",
        |at| {
            at.access(Access::disable_imap);
            at.drop_sessions(&Goodbye::Eof);
        },
        is_granted,
        "User is authenticated but not connected.",
    ),
    routine(
        "a login takes 3 seconds",
        |at| {
            at.levers(|levers| levers.login_delay = Duration::from_secs(3));
            at.drop_sessions(&Goodbye::Expired);
        },
        heals,
    ),
    routine(
        "AccessTokenExpired in IDLE",
        |at| at.drop_sessions(&Goodbye::Expired),
        itself,
    ),
    routine(
        "AccessTokenExpired in place of the reply to UID SEARCH",
        |at| at.ends_at("UID SEARCH", Goodbye::Expired),
        itself,
    ),
    routine(
        "AccessTokenExpired in place of the reply to UID FETCH",
        |at| at.ends_at("UID FETCH", Goodbye::Expired),
        itself,
    ),
    routine(
        "AccessTokenExpired in place of the reply to DONE",
        |at| at.ends_at("DONE", Goodbye::Expired),
        itself,
    ),
    routine(
        "the stream ends in place of the reply to DONE",
        |at| at.ends_at("DONE", Goodbye::Eof),
        itself,
    ),
    throttle("throttled with NO", |at| at.throttles(ThrottleStyle::No)),
    throttle("throttled with NO and BYE", |at| {
        at.throttles(ThrottleStyle::NoThenBye);
    }),
    throttle("throttled with BAD", |at| at.throttles(ThrottleStyle::Bad)),
    throttle("throttled with BAD and BYE", |at| {
        at.throttles(ThrottleStyle::BadThenBye);
    }),
    Row {
        sees: Sees::Trouble("backoff", "connection", "Server Unavailable. 15"),
        again: Some((0.5, 20.0)),
        ..routine(
            "Server Unavailable. 15 in place of the reply to DONE",
            |at| at.ends_at("DONE", Goodbye::Unavailable),
            itself,
        )
    },
    Row {
        sees: Sees::Trouble("backoff", "connection", "Server Unavailable. 15"),
        again: Some((0.5, 20.0)),
        ..routine(
            "Server Unavailable. 15 in place of the reply to UID SEARCH",
            |at| at.ends_at("UID SEARCH", Goodbye::Unavailable),
            itself,
        )
    },
    routine(
        "IDLE announces nothing",
        |at| at.levers(|levers| levers.silent_idle = true),
        itself,
    ),
    routine(
        "EXISTS comes before the + of IDLE",
        |at| {
            at.levers(|levers| levers.exists_before_plus = true);
            at.drop_sessions(&Goodbye::Expired);
        },
        itself,
    ),
    routine(
        "EXISTS comes between DONE and its OK only",
        |at| at.levers(|levers| levers.exists_after_done = true),
        itself,
    ),
    Row {
        sees: Sees::Trouble("backoff", "connection", "ending IDLE"),
        ..routine(
            "DONE is never answered",
            |at| at.levers(|levers| levers.ignore_done = true),
            heals,
        )
    },
    routine(
        "IDLE is cut every 2 seconds",
        |at| {
            at.levers(|levers| levers.idle_max = Some((Duration::from_secs(2), Goodbye::Eof)));
            at.drop_sessions(&Goodbye::Eof);
        },
        heals,
    ),
    routine(
        "the half-broken IMAP4rev2 is offered",
        |at| {
            at.levers(|levers| levers.profile = Some(Arc::new(Profile::exchange_rev2())));
            at.drop_sessions(&Goodbye::Expired);
        },
        itself,
    ),
    routine(
        "SEARCH is answered with ESEARCH",
        |at| at.levers(|levers| levers.answer_esearch = true),
        itself,
    ),
    routine(
        "response codes without the OK before them",
        |at| {
            at.levers(|levers| levers.codes_without_ok = true);
            at.drop_sessions(&Goodbye::Expired);
        },
        itself,
    ),
    routine(
        "UIDVALIDITY 14 becomes 15, and all UIDs others",
        |at| {
            let mailboxes = &at.world.mailboxes;
            mailboxes
                .set_uidvalidity(at.user, "INBOX", 15, Renumber::From(9000))
                .unwrap();
        },
        itself,
    ),
    routine(
        "thousands of UIDs are left out",
        |at| {
            at.world
                .mailboxes
                .skip_uids(at.user, "INBOX", 70_000)
                .unwrap();
        },
        itself,
    ),
    routine(
        "sizes are wrong, and bytes differ at each fetch",
        |at| {
            at.levers(|levers| {
                levers.size_error_percent = -8;
                levers.rebuild_messages = true;
            });
        },
        itself,
    ),
    Row {
        sees: Sees::Trouble("throttled", "connection_limit", "Too many connections."),
        again: Some((10.0, 60.0)),
        ..routine(
            "too many connections",
            |at| {
                at.levers(|levers| levers.connections_max = Some(0));
                at.drop_sessions(&Goodbye::Eof);
            },
            heals,
        )
    },
];

/// The mailbox of a row: key, and address.
fn place(number: usize, shared: &mut usize, credential: Credential) -> (String, String) {
    match credential {
        Credential::Shared => {
            let key = format!("box{shared}");
            *shared += 1;
            (key.clone(), format!("{key}@example.org"))
        }
        Credential::Own => (
            format!("own{number}"),
            format!("own{number}@contoso.example"),
        ),
    }
}

fn places() -> Vec<(String, String)> {
    let mut shared = 0;
    let rows = ROWS.iter().enumerate();
    rows.map(|(number, row)| place(number, &mut shared, row.credential))
        .collect()
}

/// A further group in the configuration, with one mailbox and a credential of its own.
fn own_group(key: &str, user: &str, port: u16, world: &World, credential: &str) -> String {
    let dir = world.dir.path().display();
    format!(
        "[credentials.{key}]\n{credential}\
         [groups.{key}]\nserver = {{ host = \"localhost\", port = {port}, tls = \"implicit\", ca_file = \"{dir}/ca.pem\" }}\n\
         credential = \"{key}\"\nfolders = [\"INBOX\"]\nendpoints = [\"tickets\"]\n{group}\
         [groups.{key}.mailboxes]\n{key} = \"{user}\"\n",
        group = world.settings.group,
    )
}

/// The tenant with a mailbox for each row, watched; the endpoints have to be kept.
async fn start() -> (Tenant, Vec<TokenEndpoint>) {
    let shared = ROWS
        .iter()
        .filter(|row| row.credential == Credential::Shared)
        .count();
    let settings = Settings {
        mailboxes: shared,
        group: "idle_cycle = \"5s\"\nexamine_every = \"10s\"\n".to_owned(),
        profile: Profile::exchange(),
        ..Settings::default()
    };
    let mut tenant = Tenant::new(settings, TokenConfig::default()).await;
    let mut endpoints = Vec::new();
    let mut more = "[limits]\nlogins_per_second = 100\nlogin_burst = 100\n".to_owned();
    for (row, (key, user)) in ROWS.iter().zip(places()) {
        if row.credential == Credential::Own {
            let endpoint = tenant.another_endpoint().await;
            let credential = tenant.credential_at(&endpoint);
            endpoints.push(endpoint);
            let world = &tenant.world;
            world
                .mailboxes
                .add_account(&user, Access::tokens(&tenant.authority));
            more += &own_group(&key, &user, world.proxy.port(), world, &credential);
        }
        let mailboxes = &tenant.world.mailboxes;
        mailboxes
            .set_uidvalidity(&user, "INBOX", 14, Renumber::Keep)
            .unwrap();
    }
    tenant.world.settings.more = more;
    tenant.world.start();
    tenant.world.expect_watching(ROWS.len()).await;
    (tenant, endpoints)
}

fn deliver(world: &World, user: &str, count: usize) {
    for _ in 0..count {
        let number = world.next_number();
        let raw = mail::plain(number, 900);
        world
            .post()
            .deliver(user, number, raw, OffsetDateTime::now_utc());
    }
}

/// Whether `mailboxes list` tells of this mailbox what the row expects.
fn is_seen(sees: Sees, mailbox: &Value) -> bool {
    match sees {
        Sees::Routine => true,
        Sees::Trouble(state, cause, says) => {
            let trouble = &mailbox["last_error"];
            let words = trouble.to_string();
            mailbox["state"] == state && trouble["cause"] == cause && words.contains(says)
        }
    }
}

/// Waits until each row's trouble has been told, whenever that is.
async fn expect_troubles(world: &World, places: &[(String, String)]) {
    let mut missing: BTreeSet<usize> = (0..ROWS.len()).collect();
    let mut last: BTreeMap<usize, Value> = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_secs(45);
    while !missing.is_empty() {
        world.assert_running();
        let list = world.ask(&["mailboxes", "list"]).unwrap_or_default();
        for mailbox in list["mailboxes"].as_array().into_iter().flatten() {
            let place = places
                .iter()
                .position(|(key, _)| mailbox["id"] == key.as_str());
            let Some(number) = place.filter(|number| missing.contains(number)) else {
                continue;
            };
            if is_seen(ROWS[number].sees, mailbox) {
                missing.remove(&number);
            } else {
                last.insert(number, mailbox.clone());
            }
        }
        let open: Vec<String> = missing
            .iter()
            .map(|number| {
                let told = last.get(number).cloned().unwrap_or_default();
                format!(
                    "{}: {} {}",
                    ROWS[*number].fault, told["state"], told["last_error"]
                )
            })
            .collect();
        assert!(
            Instant::now() < deadline,
            "not told: {open:#?}\n{}",
            world.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_exchange_is_told_outlived_and_loses_nothing() {
    let (tenant, _endpoints) = start().await;
    let world = &tenant.world;
    let places = places();
    for (_, user) in &places {
        deliver(world, user, 1);
    }
    world.expect_all().await;
    let began = tokio::time::Instant::now();
    for (row, (_, user)) in ROWS.iter().zip(&places) {
        (row.begin)(&Stand { world, user });
        deliver(world, user, 2);
    }
    expect_troubles(world, &places).await;
    for (row, (_, user)) in ROWS.iter().zip(&places) {
        (row.end)(&Stand { world, user });
        deliver(world, user, 1);
    }
    world.expect_all_within(Duration::from_secs(60)).await;
    world.expect_watching(ROWS.len()).await;
    expect_retries(world, &places, began);
    expect_told(world, &places).await;
    world.expect_account().await;
    assert_eq!(world.receiver.repeats(), 0);
    assert_eq!(world.receiver.distinct_ids(), ROWS.len() * 4);
}

/// Nobody hammers a server that refuses or throttles, and nobody forgets it.
fn expect_retries(world: &World, places: &[(String, String)], began: tokio::time::Instant) {
    for (row, (_, user)) in ROWS.iter().zip(places) {
        let Some((least, most)) = row.again else {
            continue;
        };
        let attempts = world.server.login_attempts(Scope::User(user));
        let after: Vec<_> = attempts.iter().filter(|one| one.at >= began).collect();
        // Where "not connected", the front end accepts the login all the same.
        let fails_at_login = row.credential == Credential::Own || !after[0].accepted;
        let gap = match after[..] {
            [first, next, ..] if fails_at_login => Some(next.at - first.at),
            [first, ..] if !fails_at_login => Some(first.at - began),
            _ => None,
        };
        let gap = gap.map(|gap| gap.as_secs_f64());
        assert!(
            gap.is_some_and(|gap| (least..=most).contains(&gap)),
            "{}: tried again after {gap:?} s, not {least} to {most}; {after:?}",
            row.fault
        );
    }
}

/// Log, metrics and events say the same as the status.
async fn expect_told(world: &World, places: &[(String, String)]) {
    let log = world.log();
    for (row, (key, _)) in ROWS.iter().zip(places) {
        // The log has one line a minute for a cause, however many mailboxes it concerns.
        if let Sees::Trouble(_, cause, _) = row.sees {
            let line = match cause {
                "throttled" => "the server asks for slowness; waiting".to_owned(),
                cause => format!("\"cause\":\"{cause}\""),
            };
            assert!(log.contains(&line), "{}: no line {line}\n{log}", row.fault);
        }
        if row.credential == Credential::Own {
            for event in ["mailbox.auth_failed", "mailbox.recovered"] {
                world
                    .expect(&format!("{event} of {key}"), |world| {
                        let list =
                            world.ask(&["events", "list", "--type", event, "--mailbox", key]);
                        list.is_ok_and(|list| {
                            list["events"].as_array().is_some_and(|all| all.len() == 1)
                        })
                    })
                    .await;
            }
        }
    }
    assert!(world.metric("postrider_imap_throttled_seconds_total").await >= 4.0 * 3.0);
    let by_cycle = "postrider_messages_found_by_total{found_by=\"cycle\"}";
    assert!(world.metric(by_cycle).await >= 2.0);
}

/// A server more, on the same mailboxes.
async fn front_end(tenant: &Tenant, profile: Profile) -> ImapServer {
    let config = Config::new(TlsMode::Implicit(tenant.world.tls.clone()), profile);
    ImapServer::start(config, tenant.world.mailboxes.clone())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_front_end_is_watched_with_folders_in_the_users_language() {
    let settings = Settings {
        mailboxes: 1,
        profile: Profile::exchange(),
        ..Settings::default()
    };
    let mut tenant = Tenant::new(settings, TokenConfig::default()).await;
    let bare = front_end(&tenant, Profile::exchange()).await;
    bare.levers(Scope::Server, |levers| {
        let hidden = ["SASL-IR", "MOVE", "NAMESPACE", "ID", "UNSELECT", "LITERAL+"];
        levers.hidden_capabilities = hidden.map(str::to_owned).to_vec();
    });
    let odd = front_end(&tenant, Profile::exchange()).await;
    odd.levers(Scope::Server, |levers| {
        levers.unquoted_names = true;
        levers.codes_without_ok = true;
    });
    let servers = [
        ("bare", bare, names::EXCHANGE_JAPANESE),
        ("odd", odd, names::EXCHANGE_GERMAN),
        (
            "tcpproxy",
            front_end(&tenant, Profile::exchange_tcpproxy()).await,
            names::EXCHANGE_FRENCH,
        ),
        (
            "rev2",
            front_end(&tenant, Profile::exchange_rev2()).await,
            names::EXCHANGE_ENGLISH,
        ),
    ];
    let world = &tenant.world;
    let credential = tenant.credential_at(&tenant.tokens);
    let mut more = String::new();
    for (key, server, folders) in &servers {
        let user = format!("{key}@example.org");
        world
            .mailboxes
            .add_account(&user, Access::tokens(&tenant.authority));
        world.mailboxes.add_folders(&user, folders).unwrap();
        world.mailboxes.add_folder(&user, "Café (R&D)").unwrap();
        let group = own_group(key, &user, server.port(), world, &credential);
        more += &group.replace("[\"INBOX\"]", "[\"INBOX\", \"\\\\Junk\", \"Café (R&D)\"]");
    }
    tenant.world.settings.more = more;
    tenant.world.start();
    tenant.world.expect_watching(1 + servers.len()).await;
    let world = &tenant.world;
    for (key, _, folders) in &servers {
        let user = format!("{key}@example.org");
        let junk = folders
            .iter()
            .find(|(_, role)| *role == Some(names::Role::Junk));
        for folder in ["INBOX", junk.unwrap().0, "Café (R&D)"] {
            let number = world.next_number();
            let raw = mail::plain(number, 700);
            let now = OffsetDateTime::now_utc();
            world.post().deliver_to(&user, folder, number, raw, now);
        }
    }
    world.deliver(0);
    world.expect_all().await;
    world.expect_account().await;
    for (key, server, _) in &servers {
        assert!(
            server.violations().is_empty(),
            "{key}: {:?}",
            server.violations()
        );
    }
    assert_eq!(
        tenant.tokens.counters().requests,
        1,
        "one token for all of them"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_tenant_is_left_alone_and_others_do_not_notice() {
    let settings = Settings {
        mailboxes: 6,
        profile: Profile::exchange(),
        ..Settings::default()
    };
    let mut tenant = Tenant::new(settings, TokenConfig::default()).await;
    let user = "other@fabrikam.example";
    tenant
        .world
        .mailboxes
        .add_account(user, Access::tokens(&tenant.authority));
    let endpoint = tenant.another_endpoint().await;
    let credential = tenant.credential_at(&endpoint);
    let port = tenant.world.proxy.port();
    tenant.world.settings.more = own_group("other", user, port, &tenant.world, &credential);
    tenant.world.start();
    tenant.world.expect_watching(7).await;
    let world = &tenant.world;
    let scope = Scope::Domain("example.org");
    world.server.levers(scope, |levers| {
        levers.throttle_logins = true;
        levers.throttle_for(Duration::from_secs(6), ThrottleStyle::BadThenBye);
    });
    let began = Instant::now();
    for mailbox in 0..6 {
        world.deliver(mailbox);
    }
    world
        .expect("all six throttled", |world| {
            let list = world.ask(&["mailboxes", "list"]).unwrap_or_default();
            let all = list["mailboxes"].as_array().cloned().unwrap_or_default();
            all.iter().filter(|one| one["state"] == "throttled").count() == 6
        })
        .await;
    deliver(world, user, 3);
    let arrived = world.receiver.wait_for(3, Duration::from_secs(3)).await;
    assert!(arrived, "the other tenant's mail comes at once");
    assert!(began.elapsed() < Duration::from_secs(6), "in the meantime");
    world.expect_all_within(Duration::from_secs(60)).await;
    world.expect_watching(7).await;
    // Each was told once, and waited for as long as it was told: that nobody asks twice is not
    // promised of a clock that the server rounds.
    let throttled = world.server.counters(scope).throttled;
    assert!((6..=12).contains(&throttled), "{throttled} were throttled");
    world.expect_account().await;
}
