//! A server with three users of two tenants, and an application whose token opens their mailboxes.

use postrider_sandbox::{
    authority::{Bearer, TokenAuthority},
    imap::{Config, ImapServer, Levers, Scope},
    mailboxes::{Access, Mailboxes},
};
use time::OffsetDateTime;

use crate::client::{Client, xoauth2};

pub(crate) const ANN: &str = "ann@contoso.test";
pub(crate) const BOB: &str = "bob@contoso.test";
pub(crate) const EVE: &str = "eve@fabrikam.test";
pub(crate) const MAIL: &[u8] =
    b"From: bob@example.org\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n";
pub(crate) const EXPIRED: &str = "* BYE Session invalidated - AccessTokenExpired";

pub(crate) struct World {
    pub(crate) server: ImapServer,
    pub(crate) authority: TokenAuthority,
}

/// Three users, each with the token "app" of an application that lasts.
pub(crate) async fn world(config: Config) -> World {
    let authority = TokenAuthority::new();
    authority.accept("app", Bearer::Application, None);
    let mailboxes = Mailboxes::new();
    for user in [ANN, BOB, EVE] {
        mailboxes.add_account(user, Access::tokens(&authority));
    }
    let server = ImapServer::start(config, mailboxes).await.unwrap();
    World { server, authority }
}

impl World {
    pub(crate) fn levers(&self, change: impl FnOnce(&mut Levers)) {
        self.server.levers(Scope::Server, change);
    }

    pub(crate) fn deliver(&self, user: &str) -> u32 {
        let now = OffsetDateTime::now_utc();
        let mailboxes = self.server.mailboxes();
        mailboxes.deliver(user, "INBOX", MAIL, now).unwrap()
    }

    pub(crate) async fn connect(&self) -> Client {
        let mut client = Client::plain(self.server.address()).await;
        client.line().await;
        client
    }

    pub(crate) async fn try_login(&self, user: &str) -> (Client, String) {
        let mut client = self.connect().await;
        let lines = client
            .ask(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(user, "app")))
            .await;
        let last = lines.last().unwrap().clone();
        (client, last)
    }

    pub(crate) async fn login(&self, user: &str) -> Client {
        let (client, last) = self.try_login(user).await;
        assert!(last.starts_with("t OK"), "{last}");
        client
    }

    pub(crate) async fn watching(&self, user: &str) -> Client {
        let mut client = self.login(user).await;
        client.ask_ok("EXAMINE INBOX").await;
        client
    }

    pub(crate) async fn idling(&self, user: &str) -> Client {
        let mut client = self.watching(user).await;
        client.send("i IDLE").await;
        client.until("+ ").await;
        client
    }
}
