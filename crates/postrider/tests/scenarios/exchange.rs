//! Exchange Online's behaviour, fault by fault, each in a mailbox of its own and all at the same time
//! in one daemon: what the operator sees, what is tried again and when, and that nothing is lost.

mod rows;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use postrider_sandbox::{
    imap::{Config, ImapServer, Profile, Scope, ThrottleStyle, TlsMode},
    mail,
    mailboxes::{Access, Renumber, names},
    token_endpoint::{TokenConfig, TokenEndpoint},
};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use self::rows::{Credential, ROWS, Sees, Stand};
use crate::{
    tenant::Tenant,
    world::{Settings, World},
};

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
         [groups.{key}]\nserver = {{ preset = \"exchange-online\", host = \"localhost\", port = {port}, tls = \"implicit\", ca_file = \"{dir}/ca.pem\" }}\n\
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
        Sees::Refusal(says, diagnosis) => {
            let trouble = &mailbox["last_error"];
            let has_fix = trouble["hint"].as_str().is_some_and(|fix| !fix.is_empty());
            mailbox["state"] == "auth_failed"
                && trouble["cause"] == "login_refused"
                && trouble["diagnosis"]["cause"] == diagnosis
                && trouble.to_string().contains(says)
                && has_fix
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
        let line = match row.sees {
            Sees::Routine => continue,
            Sees::Trouble(_, "throttled", _) => "the server asks for slowness; waiting".to_owned(),
            Sees::Trouble(_, cause, _) => format!("\"cause\":\"{cause}\""),
            Sees::Refusal(..) => "\"cause\":\"login_refused\"".to_owned(),
        };
        assert!(log.contains(&line), "{}: no line {line}\n{log}", row.fault);
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

/// Exchange's front ends, each with a mailbox whose folders are in another language.
async fn front_ends(tenant: &Tenant) -> [(&'static str, ImapServer, names::Names); 4] {
    let bare = front_end(tenant, Profile::exchange()).await;
    bare.levers(Scope::Server, |levers| {
        let hidden = ["SASL-IR", "MOVE", "NAMESPACE", "ID", "UNSELECT", "LITERAL+"];
        levers.hidden_capabilities = hidden.map(str::to_owned).to_vec();
    });
    let odd = front_end(tenant, Profile::exchange()).await;
    odd.levers(Scope::Server, |levers| {
        levers.unquoted_names = true;
        levers.codes_without_ok = true;
    });
    [
        ("bare", bare, names::EXCHANGE_JAPANESE),
        ("odd", odd, names::EXCHANGE_GERMAN),
        (
            "tcpproxy",
            front_end(tenant, Profile::exchange_tcpproxy()).await,
            names::EXCHANGE_FRENCH,
        ),
        (
            "rev2",
            front_end(tenant, Profile::exchange_rev2()).await,
            names::EXCHANGE_ENGLISH,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_front_end_is_watched_with_folders_in_the_users_language() {
    let settings = Settings {
        mailboxes: 1,
        profile: Profile::exchange(),
        ..Settings::default()
    };
    let mut tenant = Tenant::new(settings, TokenConfig::default()).await;
    let servers = front_ends(&tenant).await;
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
        world.mailboxes.add_folder(&user, "odd\u{1}").unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_is_waited_for_as_long_as_it_asks_and_an_hour_at_most() {
    // As they were seen; and one that nobody has seen.
    let asked: [u32; 6] = [89_117, 92_415, 178_755, 299_961, 3_000_000, 86_400_000];
    let settings = Settings {
        mailboxes: asked.len(),
        profile: Profile::exchange(),
        ..Settings::default()
    };
    let mut tenant = Tenant::new(settings, TokenConfig::default()).await;
    tenant.world.start();
    tenant.world.expect_watching(asked.len()).await;
    let world = &tenant.world;
    for (user, millis) in world.users.iter().zip(asked) {
        let backoff = Duration::from_millis(millis.into());
        world.server.levers(Scope::User(user), |levers| {
            levers.throttle_next(1, backoff, ThrottleStyle::BadThenBye);
        });
    }
    let began = OffsetDateTime::now_utc();
    for mailbox in 0..asked.len() {
        world.deliver(mailbox);
    }
    for (mailbox, millis) in asked.into_iter().enumerate() {
        let key = format!("box{mailbox}");
        world.expect_state(&key, "throttled").await;
        let told = world.mailbox(&key)["folders"][0]["next_try"].clone();
        let next = OffsetDateTime::parse(told.as_str().unwrap_or_default(), &Rfc3339).unwrap();
        let wait = (next - began).as_seconds_f64();
        let least = (f64::from(millis) / 1000.0).min(3_600.0);
        assert!(
            (least - 1.0..=least + 60.0).contains(&wait),
            "{millis} ms were asked for, it waits for {wait} s"
        );
    }
    let logins = world.server.counters(Scope::Server).logins;
    assert_eq!(logins, asked.len() as u64, "nobody tries in the meantime");
}
