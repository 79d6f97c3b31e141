//! Memory per idle TLS mailbox, on the sandbox's server with a certificate chain of 4 KB, which a
//! client keeps for as long as the connection lives. The server is in this process, so what the
//! kernel counts for the daemon is the daemon's own.

use std::{path::Path, time::Duration};

use postrider_sandbox::{
    authority::TokenAuthority,
    imap::{Config, ImapServer, Scope, TlsMode},
    mail,
    mailboxes::{Access, Mailboxes},
    receiver::Receiver,
    tls::{Chain, Tls},
    token_endpoint::{TokenConfig, TokenEndpoint},
};
use time::OffsetDateTime;

use crate::{
    Size,
    daemon::{Daemon, Memory, SECRET, Setup},
};

pub(crate) struct Row {
    pub(crate) mailboxes: usize,
    pub(crate) chain_bytes: usize,
    /// After the start, every session in IDLE.
    pub(crate) fresh: Memory,
    /// After every session was replaced twice.
    pub(crate) replaced: Memory,
    /// After that, and after ten mails passed each mailbox.
    pub(crate) worn: Memory,
}

/// Each session is replaced before its token ends; long enough for the logins that this takes.
const TOKEN_LIFE: Duration = Duration::from_secs(25);
const TOKEN_LIFE_PER_MAILBOX: Duration = Duration::from_millis(7);
const REPLACEMENTS: u64 = 2;
const MAILS: usize = 10;
const MAIL_BYTES: usize = 5 * 1024;
const LIMIT: Duration = Duration::from_secs(240);
/// Between the last thing that happened and the look at the memory.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn measure(size: Size, folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for count in size.memory_mailboxes {
        let row = one(*count, folder).await;
        println!(
            "memory: {count} mailboxes, {:.1} MiB after the start, {:.1} MiB with other sessions, {:.1} MiB after mail",
            row.fresh.pss / 1_048_576.0,
            row.replaced.pss / 1_048_576.0,
            row.worn.pss / 1_048_576.0
        );
        rows.push(row);
    }
    rows
}

async fn one(count: usize, folder: &Path) -> Row {
    let authority = TokenAuthority::new();
    let mailboxes = Mailboxes::new();
    let users: Vec<String> = (0..count).map(|n| format!("box{n}@example.org")).collect();
    for user in &users {
        mailboxes.add_account(user, Access::tokens(&authority));
    }
    let tls = Tls::generate_with(Chain::Realistic).unwrap();
    let (ca_pem, chain_bytes) = (tls.ca_pem().to_owned(), tls.chain_bytes());
    let config = Config::exchange(TlsMode::Implicit(tls));
    let server = ImapServer::start(config, mailboxes.clone()).await.unwrap();
    let settings = TokenConfig {
        lifetime: TOKEN_LIFE + TOKEN_LIFE_PER_MAILBOX * u32::try_from(count).unwrap(),
        ..TokenConfig::default()
    };
    let tokens = TokenEndpoint::start(settings.clone(), authority)
        .await
        .unwrap();
    let receiver = Receiver::start(SECRET).await.unwrap();
    let secret = &settings.secrets[0];
    let credential = format!(
        "type = \"microsoft\"\ntenant = \"{}\"\nclient_id = \"{}\"\nclient_secret = {{ file = \"./client-secret\" }}\nauthority = \"{}\"",
        settings.tenant,
        settings.client_id,
        tokens.authority_url()
    );
    let setup = Setup {
        imaps_port: server.port(),
        ca_pem: &ca_pem,
        credential: &credential,
        client_secret: Some(secret),
        hook: &receiver.url(),
        max_in_flight: 16,
        start: "new",
        mailboxes: &users,
    };
    let mut daemon = Daemon::start(folder, &setup);
    at_rest(&server, count, count as u64, &mut daemon).await;
    let fresh = daemon.memory();
    let replaced = |times: u64| count as u64 * (times + 1);
    at_rest(&server, count, replaced(REPLACEMENTS - 1), &mut daemon).await;
    // The sessions that are there now are replaced once more, by such as last.
    tokens.change(|config| config.lifetime = Duration::from_secs(24 * 3600));
    at_rest(&server, count, replaced(REPLACEMENTS), &mut daemon).await;
    let others = daemon.memory();
    for turn in 0..MAILS {
        receiver.clear();
        for (n, user) in users.iter().enumerate() {
            let raw = mail::plain((turn * count + n) as u64, MAIL_BYTES);
            mailboxes
                .deliver(user, "INBOX", raw, OffsetDateTime::now_utc())
                .unwrap();
        }
        let all = receiver.wait_for(count, LIMIT).await;
        assert!(
            all,
            "{} of {count} arrived\n{}",
            receiver.distinct_ids(),
            daemon.log()
        );
    }
    at_rest(&server, count, replaced(REPLACEMENTS), &mut daemon).await;
    assert!(server.violations().is_empty() && receiver.rejections().is_empty());
    Row {
        mailboxes: count,
        chain_bytes,
        fresh,
        replaced: others,
        worn: daemon.memory(),
    }
}

/// So many logins were made, each mailbox has one session, and it idles.
async fn at_rest(server: &ImapServer, mailboxes: usize, logins: u64, daemon: &mut Daemon) {
    let rests = server.wait_until(Scope::Server, LIMIT, |counters| {
        counters.logins >= logins && counters.idle == mailboxes && counters.sessions == mailboxes
    });
    let rests = rests.await;
    daemon.still_runs();
    assert!(
        rests,
        "{:?}\n{}",
        server.counters(Scope::Server),
        daemon.log()
    );
    tokio::time::sleep(REST).await;
}
